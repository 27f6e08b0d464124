import type { Text } from '../protocol.generated.js';
import { MAX_ALL_TEXT_CHARS, MAX_TEXT_CHARS, MAX_TEXTS } from './bounds.generated.js';
import { type Draft, type Fields, type Law, some, sparse } from './draft.js';
import { asText, length, pick, placeAfter } from './values.js';

/** What pieces of text change in the state of a run: answers, thoughts and reasoning. */

/** The characters of long texts, which would take long to count for each piece. */
const CHARS = new WeakMap<Text, number>();

function charsOf(entry: Text): number {
  let chars = CHARS.get(entry);
  if (chars === undefined) {
    chars = length(entry.text ?? '');
    CHARS.set(entry, chars);
  }
  return chars;
}

function piece(draft: Draft, fields: Fields): void {
  const { data, type, node, agent, seq } = fields;
  const given = typeof data === 'string' ? data : pick(data, 'text', 'content');
  if (typeof given !== 'string' || !given) return;
  const messageId = fields.name('message_id');
  const attempt = fields.attempt();
  let index = openText(draft, type, fields, messageId);
  const before = draft.state.texts[index];
  if (before && before.last_seq < draft.state.recovered_seq) {
    // A text with an id is written again; one without is another text.
    if (messageId) draft.own('texts').splice(index, 1);
    index = -1;
  }
  const known = draft.state.texts[index];
  const added = asText(given);
  if (known && attempt < (known.attempt ?? 1)) return; // a late piece of a try that was given up
  if (known && attempt === (known.attempt ?? 1)) {
    draft.own('texts')[index] = extended(draft, known, added, seq);
    return;
  }
  const fresh = {
    kind: type,
    first_seq: known?.first_seq ?? seq,
    last_seq: seq,
    node: some(node),
    agent: some(agent),
    message_id: some(messageId),
    attempt: attempt === 1 ? undefined : attempt,
  };
  if (!known) makeRoom(draft);
  const entry = extended(draft, sparse<Text>(fresh), added, seq);
  if (known) draft.own('texts')[index] = entry;
  else draft.own('texts').push(entry);
}

/** A text with one more piece, cut to its tail. */
function extended(draft: Draft, before: Text, added: string, seq: number): Text {
  const whole = (before.text ?? '') + added;
  const entry = { ...before, last_seq: seq, text: whole };
  if (whole.length <= MAX_TEXT_CHARS) return entry;
  const chars = charsOf(before) + length(added);
  const over = chars - MAX_TEXT_CHARS;
  CHARS.set(entry, Math.min(chars, MAX_TEXT_CHARS));
  if (over <= 0) return entry;
  entry.text = whole.slice(placeAfter(whole, over));
  entry.dropped = (before.dropped ?? 0) + over;
  draft.drop('chars', over);
  return entry;
}

function complete(draft: Draft, fields: Fields): void {
  const index = openText(draft, 'content', fields, fields.name('message_id'));
  const text = draft.state.texts[index];
  if (!text || text.last_seq < draft.state.recovered_seq) return;
  if (fields.attempt() >= (text.attempt ?? 1)) draft.edit('texts', index, { is_complete: true });
}

/**
 * The place of the text that a piece continues, or -1: the last text with the piece's key. A text
 * without a message id cannot be continued once it was completed.
 */
function openText(draft: Draft, kind: string, { node, agent }: Fields, messageId: string): number {
  const { texts } = draft.state;
  for (let index = texts.length - 1; index >= 0; index--) {
    const text = texts[index] as Text;
    if (
      text.kind === kind &&
      (text.message_id ?? '') === messageId &&
      (text.node ?? '') === node &&
      (text.agent ?? '') === agent
    ) {
      return text.is_complete && !text.message_id ? -1 : index;
    }
  }
  return -1;
}

function makeRoom(draft: Draft): void {
  const { texts } = draft.state;
  const units = texts.reduce((sum, { text }) => sum + (text?.length ?? 0), 0);
  if (texts.length < MAX_TEXTS && units <= MAX_ALL_TEXT_CHARS) return;
  const own = draft.own('texts');
  let chars = own.reduce((sum, text) => sum + charsOf(text), 0);
  while (own.length >= MAX_TEXTS || chars > MAX_ALL_TEXT_CHARS) {
    const oldest = own.reduce((one, other) => (other.last_seq < one.last_seq ? other : one));
    chars -= charsOf(oldest);
    draft.drop('chars', charsOf(oldest));
    draft.drop('texts');
    own.splice(own.indexOf(oldest), 1);
  }
}

export const TEXTS: Readonly<Record<string, Law>> = {
  content: piece,
  thinking: piece,
  reasoning: piece,
  content_complete: complete,
};
