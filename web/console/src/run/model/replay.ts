import type { RunEvent } from '@runcast/client';
import type { RunLog } from './log';

/** The state of a run while it is computed; the client's `Fold` is one. */
export interface Folded<State> {
  readonly snapshot: State;
  apply(event: RunEvent): unknown;
  /** Another one that goes its own way from here. */
  copy(): Folded<State>;
}

const FIRST_INTERVAL = 256;
/** Most checkpoints. They share what did not change between them. */
const MAX_CHECKPOINTS = 128;

/**
 * The state of a run at any of its events.
 *
 * A checkpoint is kept every `interval` events; if there are too many, every second one is dropped
 * and the interval doubles. So any moment costs at most `interval` events to compute, and the
 * memory does not grow with the run. The state at the moment asked for last is kept, so that
 * playing forward applies each event once.
 */
export class Replay<State> {
  readonly #log: RunLog;
  readonly #begin: () => Folded<State>;
  #checkpoints: { readonly count: number; readonly folded: Folded<State> }[] = [];
  #interval = FIRST_INTERVAL;
  #epoch: number;
  #present: { count: number; folded: Folded<State> };
  /** How many events were applied, to show what a moment costs. */
  applied = 0;

  constructor(log: RunLog, begin: () => Folded<State>) {
    this.#log = log;
    this.#begin = begin;
    this.#epoch = log.epoch;
    this.#present = { count: 0, folded: begin() };
  }

  get checkpoints(): number {
    return this.#checkpoints.length;
  }

  get interval(): number {
    return this.#interval;
  }

  /** Return the state after the events up to `seq`. */
  at(seq: number): State {
    if (this.#epoch !== this.#log.epoch) this.#restart();
    const wanted = this.#log.countTo(seq);
    const known = this.#checkpoints.findLast((each) => each.count <= wanted);
    if (this.#present.count > wanted || (known && known.count > this.#present.count)) {
      this.#present = known
        ? { count: known.count, folded: known.folded.copy() }
        : { count: 0, folded: this.#begin() };
    }
    const present = this.#present;
    while (present.count < wanted) {
      present.folded.apply(this.#log.events[present.count] as RunEvent);
      present.count += 1;
      this.applied += 1;
      if (present.count % this.#interval === 0) this.#keep(present);
    }
    return present.folded.snapshot;
  }

  #restart(): void {
    this.#epoch = this.#log.epoch;
    this.#checkpoints = [];
    this.#interval = FIRST_INTERVAL;
    this.#present = { count: 0, folded: this.#begin() };
  }

  #keep({ count, folded }: { count: number; folded: Folded<State> }): void {
    if (count <= (this.#checkpoints.at(-1)?.count ?? 0)) return;
    this.#checkpoints.push({ count, folded: folded.copy() });
    if (this.#checkpoints.length <= MAX_CHECKPOINTS) return;
    this.#interval *= 2;
    this.#checkpoints = this.#checkpoints.filter((each) => each.count % this.#interval === 0);
  }
}
