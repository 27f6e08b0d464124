import type { RunEvent } from '@runcast/client';

/** A JSON object, whose fields nobody has checked. */
export type Fields = Readonly<Record<string, unknown>>;

export const TEXT_TYPES: ReadonlySet<string> = new Set(['content', 'thinking', 'reasoning']);
export const TERMINAL: ReadonlySet<string> = new Set(['done', 'failed', 'cancelled']);

/** Whether a value has fields: objects and lists. A `Number` is one that keeps its digits. */
export const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !(value instanceof Number);

/** Return the first of these fields of an event's data that is there. */
export function pick(data: unknown, ...names: string[]): unknown {
  if (!isObject(data) || Array.isArray(data)) return undefined;
  for (const name of names) {
    const value = Object.hasOwn(data, name) ? data[name] : undefined;
    if (value !== undefined && value !== null) return value;
  }
  return undefined;
}

/** Return a value as text: strings as they are, other values as JSON, "" for nothing. */
export function asText(value: unknown): string {
  if (typeof value === 'string') return value;
  return value === undefined || value === null ? '' : JSON.stringify(value);
}

export const name = (event: RunEvent, ...names: string[]): string =>
  asText(pick(event.data, ...names));

/** Return the text of an event for people: its data if that is a string, else one of its fields. */
export const message = (event: RunEvent, ...names: string[]): string =>
  typeof event.data === 'string'
    ? event.data
    : asText(pick(event.data, ...names, 'message', 'content'));

/** Return which try the event is part of, from 1. */
export function attempt(event: RunEvent): number {
  const given = pick(event.data, 'attempt');
  return typeof given === 'number' && Number.isInteger(given) && given >= 1 ? given : 1;
}

export const asNumber = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) ? value : null;
