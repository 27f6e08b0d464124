import { RuncastError } from '../errors.js';

/** How long an answer may take, beside what it waits for, in seconds. */
export const ANSWER_S = 10;
/** The first and the longest wait before a request is sent again: a lease runs, in ms. */
const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 10_000;

/** How long to wait before a request goes again, in ms; null if it must not. */
export function waitAfter(failures: number, error: unknown): number | null {
  if (!(error instanceof RuncastError) || !error.retryable) return null;
  const waitMs = Math.min(FIRST_WAIT_MS * 2 ** failures, LONGEST_WAIT_MS);
  return Math.max(waitMs * (1 + Math.random() / 2), (error.retryAfterS ?? 0) * 1000);
}
