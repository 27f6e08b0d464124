/**
 * Streams of a page that nobody looks at are ended, and resumed when it is shown again.
 *
 * A page that is hidden for long is stopped by the browser, and what is sent to it would pile up.
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

/** Whether a request is for a stream. */
export function isStream({ headers }: RequestInit): boolean {
  return new Headers(headers).get('accept')?.includes('text/event-stream') === true;
}

/** A request whose answer ends while the page is hidden. Throws if the page is hidden now. */
export function whileShown(init: RequestInit): RequestInit {
  if (isReleased.value) throw new TypeError('the page is hidden');
  const signals = init.signal ? [init.signal, cut.signal] : [cut.signal];
  return { ...init, signal: AbortSignal.any(signals) };
}
