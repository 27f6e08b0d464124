import { pause } from '../transport.js';
import { waitAfter } from './again.js';
import type { Accepted } from './model.js';

/** Heartbeats within one lease. */
const HEARTBEATS = 3;
/** The longest wait of one heartbeat, in seconds: below what proxies cut. */
const LONGEST_BEAT_S = 20;

/** What keeps a run alive. */
interface Beats {
  /** How long the run stays open if the server hears nothing. */
  readonly leaseS: number;
  /** Sends a heartbeat, which the server answers after some seconds, or once the run is cancelled. */
  readonly beat: (waitS: number) => Promise<Accepted>;
  readonly heed: (beat: Accepted) => void;
  /** Whether the run is cancelled, so that no heartbeat waits for that any more. */
  readonly isCancelled: () => boolean;
  readonly signal: AbortSignal;
}

/**
 * Show the server that the writer of a run is alive, until the signal.
 *
 * @throws the refusal of a heartbeat, if it makes no sense to send another; the reason of the signal.
 */
export async function stayAlive(beats: Beats): Promise<void> {
  const { leaseS, beat, heed, isCancelled, signal } = beats;
  const pauseS = leaseS / HEARTBEATS;
  let failures = 0;
  while (!signal.aborted) {
    const waitS = isCancelled() ? 0 : Math.min(pauseS, LONGEST_BEAT_S);
    const begun = performance.now();
    try {
      heed(await beat(waitS));
      failures = 0;
    } catch (error) {
      const waitMs = waitAfter(failures++, error);
      if (waitMs === null) throw error;
      await pause(Math.min(waitMs, pauseS * 1000), signal);
      continue;
    }
    // A server that shuts down answers at once.
    if (isCancelled()) await pause(pauseS * 1000, signal);
    else if (performance.now() - begun < waitS * 500)
      await pause(Math.min(1, pauseS) * 1000, signal);
  }
}
