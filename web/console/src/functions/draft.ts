/** What a person has typed into a form, as they typed it, and the inputs that it stands for. */

import { isExactNumber } from '../data/json';
import type { FieldShape, Shape } from './shape';

/** Plain JSON, so that the browser can keep it. `isOff` leaves a value that may be null away. */
export type Draft =
  | { readonly text: string }
  | { readonly flag: boolean | null }
  | { readonly at: number }
  | { readonly chosen: readonly number[]; readonly isOff: boolean }
  | { readonly fields: Readonly<Record<string, Draft>>; readonly isOff: boolean }
  | { readonly items: readonly Draft[]; readonly isOff: boolean }
  | { readonly entries: readonly MapEntry[]; readonly isOff: boolean }
  | { readonly option: number; readonly options: Readonly<Record<number, Draft>> };

export interface MapEntry {
  readonly name: string;
  readonly value: Draft;
}

/**
 * Return the draft of a value, or of the shape's default if the value is undefined.
 *
 * @param isRequired whether the value has to be there. What may be missing begins without a value.
 */
export function draftOf(shape: Shape, value: unknown = shape.given, isRequired = true): Draft {
  const mayMiss = shape.isNullable || !isRequired;
  switch (shape.kind) {
    case 'text':
      return { text: typeof value === 'string' ? value : '' };
    case 'number':
      return { text: typeof value === 'number' || isExactNumber(value) ? write(value) : '' };
    case 'json':
      return { text: value === undefined ? '' : write(value, 2) };
    case 'flag':
      return { flag: typeof value === 'boolean' ? value : mayMiss ? null : false };
    case 'choice':
      // The only value there is, such as the tag of a class, needs no choice.
      return {
        at: shape.values.length === 1 && !shape.isNullable ? 0 : indexOf(shape.values, value),
      };
    case 'choices': {
      const values = Array.isArray(value) ? value : [];
      const chosen = values.map((each) => indexOf(shape.values, each)).filter((at) => at >= 0);
      return { chosen, isOff: mayMiss && !Array.isArray(value) };
    }
    case 'object': {
      const isObject = isRecord(value);
      const fields = shape.fields.map((field) => {
        const given = isObject ? value[field.name] : undefined;
        return [field.name, draftOf(field.shape, given, field.isRequired)] as const;
      });
      return { fields: Object.fromEntries(fields), isOff: mayMiss && !isObject };
    }
    case 'list': {
      const values: unknown[] = Array.isArray(value) ? value : Array(shape.least).fill(undefined);
      const items = values.map((each, at) => draftOf(shape.item(at), each));
      return { items, isOff: mayMiss && !Array.isArray(value) };
    }
    case 'map': {
      const entries = Object.entries(isRecord(value) ? value : {});
      return {
        entries: entries.map(([name, each]) => ({ name, value: draftOf(shape.value, each) })),
        isOff: mayMiss && !isRecord(value),
      };
    }
    case 'union': {
      const found = shape.options.findIndex((option) => fits(option, value));
      const option = found >= 0 ? found : mayMiss || value === null ? -1 : 0;
      const inner = shape.options[option];
      return { option, options: inner ? { [option]: draftOf(inner, value) } : {} };
    }
  }
}

/** Whether a value looks like one of a shape; enough to choose among the options of a union. */
function fits(shape: Shape, value: unknown): boolean {
  switch (shape.kind) {
    case 'text':
      return typeof value === 'string';
    case 'number':
      return typeof value === 'number' || isExactNumber(value);
    case 'flag':
      return typeof value === 'boolean';
    case 'choice':
      return indexOf(shape.values, value) >= 0;
    case 'object':
      return (
        isRecord(value) && shape.fields.every((each) => !each.isRequired || each.name in value)
      );
    case 'map':
      return isRecord(value);
    case 'list':
    case 'choices':
      return Array.isArray(value);
    default:
      return value !== undefined && value !== null;
  }
}

/** Whether a draft that the browser kept still belongs to a shape, which may have changed. */
export function belongs(shape: Shape, draft: unknown): draft is Draft {
  if (!isRecord(draft)) return false;
  switch (shape.kind) {
    case 'text':
    case 'number':
    case 'json':
      return typeof draft.text === 'string';
    case 'flag':
      return typeof draft.flag === 'boolean' || draft.flag === null;
    case 'choice':
      return typeof draft.at === 'number' && draft.at < shape.values.length;
    case 'choices':
      return Array.isArray(draft.chosen) && draft.chosen.every((at) => at < shape.values.length);
    case 'object':
      return isRecord(draft.fields) && shape.fields.every((each) => hasField(each, draft.fields));
    case 'list':
      return (
        Array.isArray(draft.items) && draft.items.every((it, at) => belongs(shape.item(at), it))
      );
    case 'map':
      return (
        Array.isArray(draft.entries) &&
        draft.entries.every((each) => belongs(shape.value, each.value))
      );
    case 'union': {
      const { options } = draft;
      if (typeof draft.option !== 'number' || !isRecord(options)) return false;
      return Object.entries(options).every(([at, inner]) => {
        const option = shape.options[Number(at)];
        return option !== undefined && belongs(option, inner);
      });
    }
  }
}

function hasField({ name, shape }: FieldShape, fields: unknown): boolean {
  return isRecord(fields) && belongs(shape, fields[name]);
}

function indexOf(values: readonly unknown[], value: unknown): number {
  const text = write(value);
  return values.findIndex((each) => write(each) === text);
}

export function write(value: unknown, space?: number): string {
  return JSON.stringify(value, null, space) ?? '';
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !isExactNumber(value)
  );
}
