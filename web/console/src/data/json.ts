/** JSON in which whole numbers keep all their digits, which a JavaScript number may not hold. */

const exact = JSON as unknown as { rawJSON?(text: string): unknown };

/**
 * Return a number that is written digit by digit, as text and in JSON: a `Number` if a plain one
 * would lose some. A browser that cannot keep them gives a plain one.
 */
export function exactNumber(text: string): unknown {
  const number = Number(text);
  const isKept = !/^-?\d+$/.test(text) || Number.isSafeInteger(number);
  if (isKept || !exact.rawJSON) return number;
  const own = { toString: () => text, toJSON: () => exact.rawJSON?.(text) };
  return Object.assign(Object(number), own);
}

export function isExactNumber(value: unknown): boolean {
  return value instanceof Number;
}

/** Parse JSON. Throws `SyntaxError`. */
export function parseExact(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const revive = (_: string, value: unknown, context?: { source?: string }) =>
    typeof value === 'number' && context?.source ? exactNumber(context.source) : value;
  return JSON.parse(text, revive as (this: unknown, key: string, value: unknown) => unknown);
}
