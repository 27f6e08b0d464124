/**
 * Streams of a page that nobody looks at are ended, and resumed when it is shown again.
 *
 * A browser opens at most six connections to a server with HTTP/1.1, over all its tabs. Without this,
 * the seventh tab that watches a run would wait for the others.
 */

import { signal } from '@preact/signals';

/** How long a page is hidden before its streams end: switching tabs for a moment costs nothing. */
export const HIDDEN_MS = 3000;

/** Whether the page is hidden and has given its streams up. */
export const isReleased = signal(globalThis.document?.hidden === true);

let cut = new AbortController();
let timer: ReturnType<typeof setTimeout> | undefined;

function look(): void {
  clearTimeout(timer);
  if (!document.hidden) isReleased.value = false;
  else timer = setTimeout(giveUp, HIDDEN_MS);
}

function giveUp(): void {
  isReleased.value = true;
  cut.abort(new Error('the page is hidden'));
  cut = new AbortController();
}

// The client resumes at the same event. It was registered later, so the streams are free by then.
globalThis.document?.addEventListener('visibilitychange', look);

/** `fetch`, but a stream ends while the page is hidden. */
export async function release(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
  if (!isStream(init)) return fetch(input, init);
  if (isReleased.value) throw new TypeError('the page is hidden');
  const signals = init.signal ? [init.signal, cut.signal] : [cut.signal];
  return fetch(input, { ...init, signal: AbortSignal.any(signals) });
}

function isStream({ headers }: RequestInit): boolean {
  return new Headers(headers).get('accept')?.includes('text/event-stream') === true;
}
