import type { RunEvent } from '../events.js';
import type { Dropped, Snapshot } from '../protocol.generated.js';
import {
  EMPTY,
  ENTRIES,
  MAX_DEPTH,
  MAX_MESSAGE_CHARS,
  MAX_NAME_CHARS,
  MAX_TYPES,
} from './bounds.generated.js';
import { asNumber, asText, isDeeper, length, pick, placeAfter } from './values.js';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Entry<T> = T extends readonly (infer E)[] ? E : never;
type Own<T> = T extends readonly (infer E)[] ? E[] : Mutable<T>;

/** The names of the lists of a snapshot, and of its records. */
type Lists = {
  [K in keyof Snapshot]: Snapshot[K] extends readonly unknown[] ? K : never;
}[keyof Snapshot];
type Records = 'labels' | 'counts' | 'dropped';

type Changes<T> = { readonly [K in keyof T]?: T[K] | undefined };

/** Changes a snapshot by one event. */
export type Law = (draft: Draft, fields: Fields) => void;

/**
 * A snapshot that is being changed. What was published is never changed: a list is copied when it
 * is changed for the first time after that, and an entry is replaced by another object.
 */
export class Draft {
  readonly state: Mutable<Snapshot>;
  #types: number;
  #owned = new Set<string>();
  #published: Snapshot | null;

  /** @param start as `publish` returns it, or `ofThisVersion`. */
  constructor(start: Snapshot) {
    this.state = { ...start };
    this.#published = start;
    this.#types = Object.keys(start.counts).length;
  }

  /** The state now, which never changes later. */
  publish(): Snapshot {
    this.#published ??= { ...this.state };
    this.#owned.clear();
    return this.#published;
  }

  /** A list or a record of the state, to be changed. */
  own<K extends Lists | Records>(name: K): Own<Snapshot[K]> {
    if (!this.#owned.has(name)) {
      this.#owned.add(name);
      const shared = this.state[name] as unknown;
      const copy = Array.isArray(shared) ? [...shared] : { ...(shared as object) };
      (this.state as Record<string, unknown>)[name] = copy;
    }
    return this.state[name] as unknown as Own<Snapshot[K]>;
  }

  /** Replace an entry of a list by one with other fields. */
  edit<K extends Lists>(name: K, index: number, changes: Changes<Entry<Snapshot[K]>>): void {
    const list = this.own(name) as unknown[];
    list[index] = sparse({ ...(list[index] as object), ...changes });
  }

  /** Append to a list, and drop its first entries beyond `most`. */
  push<K extends Lists>(
    name: K,
    entry: Entry<Snapshot[K]>,
    most: number,
    kind: keyof Dropped,
  ): void {
    const list = this.own(name) as unknown[];
    list.push(entry);
    if (list.length > most) this.drop(kind, list.splice(0, list.length - most).length);
  }

  /** Count what was dropped. */
  drop(kind: keyof Dropped, count = 1): void {
    if (count) this.own('dropped')[kind] += count;
  }

  /** Begin to change the state by an event of this type. */
  count(type: string): void {
    this.#published = null;
    const counts = this.own('counts');
    if (Object.hasOwn(counts, type)) put(counts, type, (counts[type] as number) + 1);
    else if (this.#types < MAX_TYPES) {
      this.#types++;
      put(counts, type, 1);
    } else this.drop('types');
  }
}

/** A snapshot, maybe of another version, with exactly the fields that this version knows. */
export function ofThisVersion(given: Snapshot): Snapshot {
  const known = { ...EMPTY, dropped: { ...EMPTY.dropped } } as unknown as Record<string, unknown>;
  for (const name of Object.keys(EMPTY) as (keyof Snapshot)[]) {
    if (given[name] !== undefined && name !== 'dropped') known[name] = given[name];
  }
  for (const name of Object.keys(EMPTY.dropped) as (keyof Dropped)[]) {
    (known.dropped as Mutable<Dropped>)[name] = given.dropped?.[name] ?? 0;
  }
  for (const [name, fields] of Object.entries(ENTRIES)) {
    known[name] = (known[name] as object[]).map((entry) =>
      Object.keys(entry).every((field) => fields.includes(field))
        ? entry
        : Object.fromEntries(Object.entries(entry).filter(([field]) => fields.includes(field))),
    );
  }
  return known as unknown as Snapshot;
}

/** Set a field whose name may be any, such as `__proto__`. */
export function put<T>(record: Record<string, T>, name: string, value: T): void {
  if (name !== '__proto__') record[name] = value;
  else
    Object.defineProperty(record, name, {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
}

/** An entry without the fields that are undefined: as in JSON, where defaults are left out. */
export function sparse<T extends object>(entry: { [K in keyof T]: T[K] | undefined }): T {
  for (const name in entry) if (entry[name] === undefined) delete entry[name];
  return entry as T;
}

/** A value, or undefined where an entry leaves it out: "", 0 and false. */
export const some = <T>(value: T): NonNullable<T> | undefined =>
  (value as NonNullable<T>) || undefined;

/** A value, or undefined for null. */
export const given = <T>(value: T): NonNullable<T> | undefined => value ?? undefined;

/** The fields of one event, cut to the bounds. Each cut is counted when the field is read. */
export class Fields {
  readonly data: unknown;
  readonly duration: unknown;
  readonly seq: number;
  readonly time: number;
  readonly type: string;
  readonly node: string;
  readonly agent: string;
  readonly #draft: Draft;

  constructor(draft: Draft, event: RunEvent) {
    this.#draft = draft;
    this.data = event.data;
    this.duration = event.duration;
    this.seq = event.seq;
    this.time = asNumber(event.time) ?? 0;
    this.type = this.cut(event.type);
    this.node = this.cut(event.node);
    this.agent = this.cut(event.agent);
  }

  /** The first of these fields as a name, or "". */
  name(...names: readonly string[]): string {
    return this.cut(pick(this.data, ...names));
  }

  /** Which try the event is part of, from 1. */
  attempt(): number {
    return this.count('attempt') || 1;
  }

  /** A field as a whole number from 0; 0 if it is something else. */
  count(name: string): number {
    const number = asNumber(pick(this.data, name));
    const isWhole = Number.isInteger(number) && Math.abs(number as number) <= 2 ** 53;
    return isWhole && (number as number) > 0 ? (number as number) : 0;
  }

  /** The event's text for people: its data if that is a string, else a field. */
  message(...names: readonly string[]): string {
    const { data } = this;
    const text = typeof data === 'string' ? data : pick(data, ...names, 'message', 'content');
    return this.cut(text, MAX_MESSAGE_CHARS);
  }

  cut(value: unknown, mostChars = MAX_NAME_CHARS): string {
    const text = asText(value);
    const over = text.length <= mostChars ? 0 : length(text) - mostChars;
    if (over <= 0) return text;
    this.#draft.drop('chars', over);
    return text.slice(0, placeAfter(text, mostChars));
  }

  /** A value, or the beginning of its text, and how many characters were cut. */
  kept(value: unknown, mostChars: number): [value: unknown, dropped: number] {
    if (value === null || value === undefined) return [null, 0];
    if (typeof value === 'boolean') return [value, 0];
    const text = asText(value);
    const over = text.length <= mostChars ? 0 : Math.max(0, length(text) - mostChars);
    if (over) {
      this.#draft.drop('chars', over);
      return [text.slice(0, placeAfter(text, mostChars)), over];
    }
    if (typeof value === 'string') return [text, 0];
    return [isDeeper(value, MAX_DEPTH) ? text : value, 0];
  }
}
