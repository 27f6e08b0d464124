import type { RunStatus } from '../protocol.generated.js';
import { MAX_NAME_CHARS, TERMINAL } from './bounds.generated.js';
import { asText, pick, placeAfter } from './values.js';

/** The statuses of a run, and which event leads to which; see `runcast.events.lifecycle`. */

const FROM_OTHERS = ['message', 'interrupt_response', 'interrupt_resolved'];
const QUESTIONS = ['interrupt_request', 'interrupt_waiting', 'interrupt_resolved'];

export const isTerminal = (type: string): type is (typeof TERMINAL)[number] =>
  (TERMINAL as readonly string[]).includes(type);

/** Whether a type may change the status of a run that is no longer queued. */
export const isDecisive = (type: string): boolean =>
  type === 'started' || isTerminal(type) || QUESTIONS.includes(type);

/** The id of the question that an event's data names. */
export function questionOf(data: unknown): string {
  const text = asText(pick(data, 'interrupt_id'));
  return text.length > MAX_NAME_CHARS ? text.slice(0, placeAfter(text, MAX_NAME_CHARS)) : text;
}

function next(status: RunStatus, type: string): RunStatus {
  if (isTerminal(type)) return type;
  if (status === 'waiting') {
    return type === 'interrupt_resolved' || type === 'started' ? 'running' : status;
  }
  if (type === 'interrupt_request') return 'waiting';
  return status === 'queued' && !FROM_OTHERS.includes(type) ? 'running' : status;
}

/**
 * The status after one more event of a run that has not ended.
 *
 * @param open the ids of the open questions.
 * @param question what `questionOf` says of the event.
 */
export function advance(
  before: RunStatus,
  open: readonly string[],
  type: string,
  question: string,
): RunStatus {
  const status = next(before, type);
  // Asked again, by an attempt that began when another question was answered.
  if (type === 'interrupt_waiting') return open.includes(question) ? 'waiting' : status;
  const isClosing = type === 'interrupt_resolved' && before === 'waiting';
  // Other questions are still open.
  return isClosing && open.some((each) => each !== question) ? 'waiting' : status;
}
