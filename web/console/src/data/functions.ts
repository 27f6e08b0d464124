/** The functions of the server, for every view that names them. */

import { signal } from '@preact/signals';
import type { FunctionDescription } from '@runcast/client';
import { client } from './client';

/** null until they are known. */
export const functions = signal<readonly FunctionDescription[] | null>(null);
/** Why they are not known; "" if nothing is wrong. */
export const functionsProblem = signal('');

/** Ask for the functions again, for example after the server was restarted. */
export async function loadFunctions(): Promise<void> {
  try {
    const found = await client.functions();
    // The same functions stay the same object, so that nothing is drawn again.
    if (JSON.stringify(found) !== JSON.stringify(functions.value)) functions.value = found;
    functionsProblem.value = '';
  } catch (error) {
    functionsProblem.value = error instanceof Error ? error.message : String(error);
  }
}
