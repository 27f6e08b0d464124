/** The one client of the console: it notices when the server asks for its access token. */

import { signal } from '@preact/signals';
import { BasicClient } from '@runcast/client';
import { parseExact } from './json';
import { isStream, whileShown } from './release';
import { checkAll, shared } from './shared/streams';

/** Whether the server asks for its access token. */
export const isSignedOut = signal(false);

/** Where runcast is served, with a slash at the end; it may be mounted below a path. */
export const BASE = new URL('./', globalThis.location?.href ?? 'http://localhost/').href;

/** What views use of a client of the server. */
export type ConsoleClient = BasicClient;

export const client: ConsoleClient = new BasicClient({
  url: BASE,
  fetch: noticing,
  parse: parseExact,
});

/** `fetch`, in which streams come over the connection of all windows, and end while this one is hidden. */
export async function sharing(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
  return isStream(init) ? shared(BASE, String(input), whileShown(init)) : fetch(input, init);
}

async function noticing(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const response = await sharing(input, init);
  if (response.status === 401 && !isSignedOut.value) {
    isSignedOut.value = true;
    checkAll();
  }
  return response;
}

/** Exchange the access token for a session. Returns why it was refused, "" if it was not. */
export async function signIn(token: string): Promise<string> {
  const response = await fetch(`${BASE}session`, { method: 'POST', body: token }).catch(() => null);
  if (response?.ok) {
    isSignedOut.value = false;
    return '';
  }
  const body: unknown = await response?.json().catch(() => null);
  const detail = (body as { detail?: unknown } | null)?.detail;
  return typeof detail === 'string' ? detail : `HTTP ${response?.status ?? 0}`;
}
