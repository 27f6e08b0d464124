/** Reads the inputs out of a draft, and says what is wrong with it before anything is sent. */

import { exactNumber, parseExact } from '../data/json';
import { t } from '../i18n';
import type { Draft } from './draft';
import type { NumberShape, ObjectShape, Shape, TextShape } from './shape';

/** What is wrong, by the path of its field, like `owner.name` or `sources.0`. */
export type Problems = ReadonlyMap<string, string>;

/** The value of a field that is left out, so that the function's default counts. */
const LEFT_OUT = Symbol('left out');

/** Return the inputs of a draft. They are complete only if there are no problems. */
export function readInputs(
  shape: ObjectShape,
  draft: Draft,
): { inputs: Record<string, unknown>; problems: Problems } {
  const problems = new Map<string, string>();
  const inputs = readObject(shape, draft, '', problems);
  return { inputs, problems };
}

/** Return the path of a field inside another. */
export function inside(path: string, name: string | number): string {
  return path === '' ? String(name) : `${path}.${name}`;
}

/** Whether a value may be missing, so that the form has a box for that. */
export function canMiss(shape: Shape, isRequired: boolean): boolean {
  return shape.isNullable || (!isRequired && shape.given === undefined);
}

type Wrong = Map<string, string>;

function read(
  shape: Shape,
  draft: Draft,
  path: string,
  isRequired: boolean,
  wrong: Wrong,
): unknown {
  const none = () => {
    // Null is said where leaving the value out would mean something else.
    const isLeftOut = !isRequired && (shape.given === undefined || shape.given === null);
    if (shape.isNullable && !isLeftOut) return null;
    if (!isRequired) return LEFT_OUT;
    wrong.set(path, t('form.required'));
    return LEFT_OUT;
  };
  if ('isOff' in draft && draft.isOff && canMiss(shape, isRequired)) return none();
  switch (shape.kind) {
    case 'text': {
      const { text } = draft as { text: string };
      // An empty text is a value of its own, unless there is a better one.
      if (text === '' && (shape.isNullable || (!isRequired && !shape.given))) return none();
      return checkText(shape, text, path, wrong);
    }
    case 'number': {
      const { text } = draft as { text: string };
      return text.trim() === '' ? none() : readNumber(shape, text.trim(), path, wrong);
    }
    case 'json': {
      const { text } = draft as { text: string };
      return text.trim() === '' ? none() : readJson(text, path, wrong);
    }
    case 'flag': {
      const { flag } = draft as { flag: boolean | null };
      return flag ?? none();
    }
    case 'choice': {
      const { at } = draft as { at: number };
      return at < 0 ? none() : shape.values[at];
    }
    case 'choices':
      return (draft as { chosen: readonly number[] }).chosen.map((at) => shape.values[at]);
    case 'object':
      return readObject(shape, draft, path, wrong);
    case 'list':
      return readList(shape, draft, path, wrong);
    case 'map':
      return readMap(shape, draft, path, wrong);
    case 'union': {
      const { option, options } = draft as { option: number; options: Record<number, Draft> };
      const [inner, chosen] = [options[option], shape.options[option]];
      return inner && chosen ? read(chosen, inner, path, true, wrong) : none();
    }
  }
}

function readObject(
  shape: ObjectShape,
  draft: Draft,
  path: string,
  wrong: Wrong,
): Record<string, unknown> {
  const { fields } = draft as { fields: Record<string, Draft> };
  const found: [string, unknown][] = [];
  for (const each of shape.fields) {
    const inner = fields[each.name];
    if (!inner) continue;
    const value = read(each.shape, inner, inside(path, each.name), each.isRequired, wrong);
    if (value !== LEFT_OUT) found.push([each.name, value]);
  }
  return Object.fromEntries(found);
}

function readList(
  shape: Extract<Shape, { kind: 'list' }>,
  draft: Draft,
  path: string,
  wrong: Wrong,
): unknown[] {
  const { items } = draft as { items: readonly Draft[] };
  if (items.length < shape.least) wrong.set(path, t('form.few', { count: shape.least }));
  if (shape.most !== null && items.length > shape.most) {
    wrong.set(path, t('form.many', { count: shape.most }));
  }
  return items.map((item, at) => read(shape.item(at), item, inside(path, at), true, wrong));
}

function readMap(
  shape: Extract<Shape, { kind: 'map' }>,
  draft: Draft,
  path: string,
  wrong: Wrong,
): Record<string, unknown> {
  const { entries } = draft as { entries: readonly { name: string; value: Draft }[] };
  const names = new Set<string>();
  const found = entries.map(({ name, value }, at) => {
    if (names.has(name)) wrong.set(inside(path, at), t('form.twice', { name }));
    names.add(name);
    return [name, read(shape.value, value, inside(path, at), true, wrong)] as const;
  });
  return Object.fromEntries(found);
}

function checkText(shape: TextShape, text: string, path: string, wrong: Wrong): string {
  const length = [...text].length;
  if (length < shape.least) wrong.set(path, t('form.short', { count: shape.least }));
  else if (shape.most !== null && length > shape.most) {
    wrong.set(path, t('form.long', { count: shape.most }));
  } else if (shape.pattern && !matches(shape.pattern, text)) {
    wrong.set(path, t('form.pattern', { pattern: shape.pattern }));
  }
  return text;
}

function matches(pattern: string, text: string): boolean {
  try {
    return new RegExp(pattern, 'u').test(text);
  } catch {
    return true; // a pattern of another dialect; the server decides
  }
}

const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;

function readNumber(shape: NumberShape, text: string, path: string, wrong: Wrong): unknown {
  const isWhole = /^[+-]?\d+$/.test(text);
  const value = Number(text);
  if (!NUMBER.test(text) || !Number.isFinite(value) || (shape.isWhole && !isWhole)) {
    wrong.set(path, t(shape.isWhole ? 'form.whole' : 'form.number'));
    return LEFT_OUT;
  }
  const { least, most } = shape;
  const isLow = least !== null && (shape.isOverLeast ? value <= least : value < least);
  const isHigh = most !== null && (shape.isUnderMost ? value >= most : value > most);
  if (isLow || isHigh) wrong.set(path, t('form.bounds', { bounds: boundsOf(shape) }));
  return isWhole ? exactNumber(text.replace(/^\+/, '').replace(/^(-?)0+(?=\d)/, '$1')) : value;
}

/** Return the bounds of a number for people: `≥ 1, < 10`; empty if there are none. */
export function boundsOf({ least, most, isOverLeast, isUnderMost, step }: NumberShape): string {
  const parts: string[] = [];
  if (least !== null) parts.push(`${isOverLeast ? '>' : '≥'} ${least}`);
  if (most !== null) parts.push(`${isUnderMost ? '<' : '≤'} ${most}`);
  if (step !== null) parts.push(`÷ ${step}`);
  return parts.join(', ');
}

function readJson(text: string, path: string, wrong: Wrong): unknown {
  try {
    return parseExact(text);
  } catch {
    wrong.set(path, t('form.json'));
    return LEFT_OUT;
  }
}
