import { RuncastError } from './errors.js';

/** What each record costs beside its bytes, about. */
const RECORD_BYTES = 16;
const utf8 = new TextEncoder();

/** Events of a run that the server has not stored yet, in their order, as lines of JSON. */
export class Outbox {
  readonly #mostBytes: number;
  #records: string[] = [];
  #sizes: number[] = [];
  #bytes = 0;
  #put = 0;
  #settled = 0;
  #refused = 0;
  #error: RuncastError | null = null;
  #full: RuncastError | null = null;
  #waiting: (() => void)[] = [];

  /** @param mostBytes the most bytes that wait; one event fits always. */
  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  /** Why nothing is taken any more; null while events are taken. */
  get error(): RuncastError | null {
    return this.#error;
  }

  /** What waits, and what was done so far. `refused` events are named in the run's log. */
  get statistics() {
    const stored = this.#settled - this.#refused;
    const waiting = this.#put - this.#settled;
    return { waiting, waitingBytes: this.#bytes, stored, refused: this.#refused };
  }

  /** Why the run takes only its end; null while it takes events. */
  get full(): RuncastError | null {
    return this.#full;
  }

  get isEmpty(): boolean {
    return this.#records.length === 0;
  }

  /**
   * Take an event.
   *
   * @throws RuncastError `overloaded` if there is no room; what ended the run, if it has ended.
   */
  put(record: string): void {
    if (this.#error ?? this.#full) throw this.#error ?? this.#full;
    const size = utf8.encode(record).length + RECORD_BYTES;
    if (this.#bytes && this.#bytes + size > this.#mostBytes) {
      throw new RuncastError(
        'overloaded',
        `expected room for an event, but ${this.#bytes} bytes wait for the server; await drain()`,
      );
    }
    this.#add(record, size);
  }

  /** Take the last event of a run, whether there is room or not. */
  putLast(record: string): void {
    if (this.#error) throw this.#error;
    this.#add(record, utf8.encode(record).length + RECORD_BYTES);
  }

  #add(record: string, size: number): void {
    this.#records.push(record);
    this.#sizes.push(size);
    this.#bytes += size;
    this.#put += 1;
    this.#wake();
  }

  /** The oldest events: at least one, if there is one. */
  first(most: number, mostBytes: number): readonly string[] {
    let bytes = 0;
    let count = 0;
    while (count < Math.min(most, this.#records.length)) {
      bytes += this.#sizes[count] as number;
      if (count && bytes > mostBytes) break;
      count += 1;
    }
    return this.#records.slice(0, count);
  }

  /** The oldest events are stored. */
  settle(count: number): void {
    this.#records.splice(0, count);
    for (const size of this.#sizes.splice(0, count)) this.#bytes -= size;
    this.#settled += count;
    this.#wake();
  }

  /** Put a line in the place of an event that the server refuses. */
  replace(index: number, record: string): void {
    const size = utf8.encode(record).length + RECORD_BYTES;
    this.#bytes += size - (this.#sizes[index] ?? size);
    this.#records[index] = record;
    this.#sizes[index] = size;
    this.#refused += 1;
  }

  /** The run takes no more events: drop what waits, except its end if it is there. */
  fill(error: RuncastError, hasEnd: boolean): void {
    this.#full = error;
    this.#records = hasEnd ? this.#records.slice(-1) : [];
    this.#sizes = hasEnd ? this.#sizes.slice(-1) : [];
    this.#bytes = this.#sizes[0] ?? 0;
    const dropped = this.#put - this.#settled - this.#records.length;
    this.#refused += dropped;
    this.#settled += dropped;
    this.#wake();
  }

  /** Take nothing any more. */
  end(error: RuncastError): void {
    this.#error ??= error;
    this.#wake();
  }

  /** Wait until a condition holds; it is looked at after each change. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Whether at least half of the room is free. */
  get hasRoom(): boolean {
    return this.#bytes <= this.#mostBytes / 2;
  }

  /** How many events were taken, and how many are no longer waiting. */
  get counts(): { readonly put: number; readonly settled: number } {
    return { put: this.#put, settled: this.#settled };
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
