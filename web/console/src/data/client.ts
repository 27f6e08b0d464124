/** The one client of the console: it notices when the server asks for its access token. */

import { signal } from '@preact/signals';
import { Client } from '@runcast/client';
import { parseExact } from './json';
import { release } from './release';

/** Whether the server asks for its access token. */
export const isSignedOut = signal(false);

/** Where runcast is served, with a slash at the end; it may be mounted below a path. */
export const BASE = new URL('./', globalThis.location?.href ?? 'http://localhost/').href;

/** What views use of a client of the server. */
export type ConsoleClient = Client;

export const client: ConsoleClient = new Client({
  url: BASE,
  fetch: noticing,
  parse: parseExact,
});

async function noticing(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const response = await release(input, init);
  if (response.status === 401) isSignedOut.value = true;
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
