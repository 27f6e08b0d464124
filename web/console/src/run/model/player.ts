import type { RunLog } from './log';

export const SPEEDS = [0.5, 1, 2, 5, 10, 20, 50] as const;

/** Longest silence that is played, in seconds as they pass for who looks; the rest is skipped. */
export const MAX_SILENCE_S = 2;

/**
 * Return the moment of a run that is shown `elapsed` seconds after `time`.
 *
 * Silences are cut short: nobody watches a model think for a minute.
 */
export function advance(log: RunLog, time: number, elapsed: number, speed: number): number {
  const next = log.events[log.countTo(log.seqAt(time))];
  const moved = time + elapsed * speed;
  if (next === undefined || next.time <= moved) return Math.min(moved, log.end);
  const wait = (next.time - moved) / speed;
  return wait > MAX_SILENCE_S ? next.time - MAX_SILENCE_S * speed * 0.25 : moved;
}

/** Return the `seq` of the event that a key of the slider leads to; null for the newest. */
export function seekByKey(
  log: RunLog,
  seq: number,
  key: string,
  markers: readonly { readonly seq: number }[],
): number | null | undefined {
  const count = log.countTo(seq);
  const at = (index: number): number =>
    log.events[Math.min(Math.max(index, 0), log.events.length - 1)]?.seq ?? 0;
  const step = Math.max(1, Math.round(log.events.length / 20));
  switch (key) {
    case 'ArrowLeft':
    case 'ArrowDown':
      return at(count - 2);
    case 'ArrowRight':
    case 'ArrowUp':
      return count >= log.events.length ? null : at(count);
    case 'PageDown':
      return at(count - 1 - step);
    case 'PageUp':
      return count - 1 + step >= log.events.length ? null : at(count - 1 + step);
    case 'Home':
      return at(0);
    case 'End':
      return null;
    case '[':
    case 'p':
      return markers.findLast((marker) => marker.seq < seq)?.seq ?? at(0);
    case ']':
    case 'n':
      return markers.find((marker) => marker.seq > seq)?.seq ?? null;
    default:
      return undefined;
  }
}
