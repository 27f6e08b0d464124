/** What a person types and has not sent, kept by the browser so that a reload does not lose it. */

import { remember, remembered } from '../data/remembered';

const keyOf = (...parts: readonly string[]): string =>
  `draft.${parts.map(encodeURIComponent).join('/')}`;

export const loadDraft = (...parts: readonly string[]): string => remembered(keyOf(...parts)) ?? '';

/** Keep a draft; an empty one is forgotten. */
export function saveDraft(text: string, ...parts: readonly string[]): void {
  remember(keyOf(...parts), text || null);
}
