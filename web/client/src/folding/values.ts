/** Readers for the fields of `data`, as `runcast.events.vocabulary` has them. They never throw. */

const NAMES_OF_PERCENT = ['percent', 'percentage', 'progress'] as const;
const LONE_SURROGATES = /\p{Surrogate}/gu;

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The first of these fields that is present and not null, or null. */
export function pick(data: unknown, ...names: readonly string[]): unknown {
  if (!isObject(data)) return null;
  for (const name of names) {
    const value = data[name];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

/** A value as text: strings unchanged, null as "", others as JSON. */
export function asText(value: unknown): string {
  if (typeof value === 'string') return value.replace(LONE_SURROGATES, '\uFFFD');
  if (value === null || value === undefined) return '';
  try {
    return JSON.stringify(value);
  } catch {
    return `<${typeof value}>`; // nested too deeply
  }
}

/** A finite number, null for anything else. */
export const asNumber = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) ? value : null;

/** The percentage done, 0 to 100, from a percentage field or from `current` and `total`. */
export function percentOf(data: unknown): number | null {
  for (const name of NAMES_OF_PERCENT) {
    const percent = asNumber(pick(data, name));
    if (percent !== null) return Math.min(100, Math.max(0, percent));
  }
  const current = asNumber(pick(data, 'current'));
  const total = asNumber(pick(data, 'total'));
  if (current === null || total === null || total <= 0) return null;
  return Math.min(100, Math.max(0, round((current / total) * 100, 2)));
}

/** Round as Python does: the exact value decides, and a tie goes to the even digit. */
export function round(value: number, digits: number): number {
  const halves = value * 2 ** (digits + 1);
  if (Number.isInteger(halves) && halves % 2 !== 0) {
    const below = Math.floor(value * 10 ** digits);
    return (below % 2 === 0 ? below : below + 1) / 10 ** digits;
  }
  return Number(value.toFixed(digits));
}

/** The number of characters, as Python counts them: code points. */
export function length(text: string): number {
  let count = text.length;
  for (let index = text.length - 1; index > 0; index--) {
    if ((text.charCodeAt(index) & 0xfc00) === 0xdc00) count--;
  }
  return count;
}

/** The place after the first characters of a text. */
export function placeAfter(text: string, chars: number): number {
  let place = 0;
  for (let left = chars; left > 0 && place < text.length; left--) {
    place += (text.charCodeAt(place) & 0xfc00) === 0xd800 ? 2 : 1;
  }
  return place;
}

/** Whether decoded JSON is nested more than `levels` deep. */
export function isDeeper(value: unknown, levels: number): boolean {
  let level = [value];
  for (let depth = 0; depth <= levels; depth++) {
    level = level.filter((each) => typeof each === 'object' && each !== null);
    if (!level.length) return false;
    level = level.flatMap((each) => Object.values(each as object));
  }
  return true;
}

/** Whether two JSON values are equal. */
export function isSame(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== 'object' || typeof other !== 'object' || !one || !other) return false;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const entries = Object.entries(one);
  return (
    entries.length === Object.keys(other).length &&
    entries.every(
      ([name, value]) =>
        Object.hasOwn(other, name) && isSame(value, (other as Record<string, unknown>)[name]),
    )
  );
}
