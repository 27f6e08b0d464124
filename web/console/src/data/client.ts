/** The one client of the console. It notices when the server asks for its access token. */

import { signal } from '@preact/signals';

/** Whether the server asks for its access token. */
export const isSignedOut = signal(false);

/** Where runcast is served; it may be mounted below a path. */
export const BASE = new URL('./', globalThis.location?.href ?? 'http://localhost/').href;

/** What views use of a client of the server. */
export interface ConsoleClient {
  readonly base: string;
}

export const client: ConsoleClient = { base: BASE };
