import type { RunEvent } from '@runcast/client';

/** A random number from a seed, so that a failure can be seen again. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Events numbered from 1, a second apart. */
export function log(...events: readonly Partial<RunEvent>[]): RunEvent[] {
  return events.map((event, at) => ({
    seq: at + 1,
    time: 1000 + at,
    type: 'log',
    data: null,
    ...event,
  }));
}
