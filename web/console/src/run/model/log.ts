import type { RunEvent } from '@runcast/client';

/** Events that cannot be shown, at the place where they are missing. */
export interface Lost {
  /** The last event held before the hole; 0 if the hole is at the beginning. */
  readonly after: number;
  /** How many events are missing. */
  readonly count: number;
  readonly reason: string;
}

/**
 * The events of a run that a page holds, in order of `seq`.
 *
 * The end grows while the run is watched. The beginning grows when earlier pages are loaded. Holes
 * are possible, because retention may have removed events.
 */
export class RunLog {
  readonly events: RunEvent[] = [];
  readonly lost: Lost[] = [];
  /** Changes whenever events were added, at either end. */
  version = 0;
  /** Changes whenever earlier events were added, so that indexes over the log have to begin again. */
  epoch = 0;
  /** The time of each event, made to never fall: clocks of several writers may disagree. */
  readonly #clock: number[] = [];

  /** The `seq` of the first event held; 1 if there are no events. */
  get first(): number {
    return this.events[0]?.seq ?? 1;
  }

  /** The `seq` of the last event held; 0 if there are no events. */
  get last(): number {
    return this.events.at(-1)?.seq ?? 0;
  }

  /** Add events that follow; events already held are ignored. Return the events added. */
  append(events: readonly RunEvent[], reason = 'trimmed'): RunEvent[] {
    const added: RunEvent[] = [];
    for (const event of events) {
      const last = this.last;
      if (event.seq <= last) continue;
      if (last > 0 && event.seq > last + 1) {
        this.lost.push({ after: last, count: event.seq - last - 1, reason });
      }
      this.events.push(event);
      this.#clock.push(Math.max(this.#clock.at(-1) ?? 0, timeOf(event)));
      added.push(event);
    }
    if (added.length > 0) this.version += 1;
    return added;
  }

  /** Add events that come before all others; events already held are ignored. */
  prepend(events: readonly RunEvent[]): void {
    const first = this.events.length > 0 ? this.first : Number.POSITIVE_INFINITY;
    const earlier = events.filter((event) => event.seq < first);
    if (earlier.length === 0) return;
    const all = [...earlier, ...this.events];
    this.events.length = this.#clock.length = this.lost.length = 0;
    this.append(all);
    this.version += 1;
    this.epoch += 1;
  }

  /** How many of the events held have a `seq` up to this one. */
  countTo(seq: number): number {
    return bisect(this.events.length, (at) => (this.events[at] as RunEvent).seq <= seq);
  }

  /** The event with this `seq`, if it is held. */
  at(seq: number): RunEvent | undefined {
    const event = this.events[this.countTo(seq) - 1];
    return event?.seq === seq ? event : undefined;
  }

  /** The `seq` of the last event until this time; 0 before the first one. */
  seqAt(time: number): number {
    const count = bisect(this.#clock.length, (at) => (this.#clock[at] as number) <= time);
    return this.events[count - 1]?.seq ?? 0;
  }

  /** The time of the last event up to this `seq`; that of the first event before it. */
  timeAt(seq: number): number {
    return this.#clock[Math.max(0, this.countTo(seq) - 1)] ?? 0;
  }

  get start(): number {
    return this.#clock[0] ?? 0;
  }

  get end(): number {
    return this.#clock.at(-1) ?? 0;
  }
}

const timeOf = (event: RunEvent): number => (Number.isFinite(event.time) ? event.time : 0);

/** Return how many of the numbers from 0 pass a test that the first ones pass and the rest do not. */
export function bisect(length: number, isBefore: (at: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
