import { parseExact } from '../../data/json';
import { pick } from './fields';

/** A question's buttons. */
export type Press = 'accept' | 'reject' | 'response';

/** What a person typed so far. */
export interface Draft {
  /** The arguments as JSON text; null while they are as proposed. */
  readonly args: string | null;
  readonly said: string;
}

/** What is sent to the server. Source: docs/protocol.md. */
export interface Answer {
  readonly type: 'accept' | 'reject' | 'edit' | 'response';
  readonly args?: unknown;
}

/** Why nothing is sent yet; keys of strings. */
export type Objection = 'json' | 'said' | 'changed' | 'empty';

export interface Allowed {
  readonly accept: boolean;
  readonly edit: boolean;
  readonly respond: boolean;
}

export function allowedBy(config: unknown): Allowed {
  const isAllowed = (name: string): boolean => pick(config, `allow_${name}`) !== false;
  return { accept: isAllowed('accept'), edit: isAllowed('edit'), respond: isAllowed('respond') };
}

/** Return the answers that a question offers to choose from; empty if it takes any text. */
export function choicesOf(config: unknown): readonly unknown[] {
  const schema = pick(config, 'response_schema');
  const choices = pick(schema, 'enum') ?? pick(config, 'choices', 'options');
  if (Array.isArray(choices)) return choices.slice(0, 100);
  return pick(schema, 'type') === 'boolean' ? [true, false] : [];
}

/** Whether a response is JSON, because the question's schema says so. */
export function takesJson(config: unknown): boolean {
  const type = pick(pick(config, 'response_schema'), 'type');
  return typeof type === 'string' && type !== 'string';
}

/**
 * Return what a press sends, or why it sends nothing yet.
 *
 * Nothing that was typed is dropped without a word. Accepting changed arguments sends the changes:
 * an edit is what is accepted. A rejection takes what was typed along as its reason. Where the
 * answer has no place for something that was typed, the press is objected to, unless `isSure`.
 */
export function answerFor(
  press: Press,
  draft: Draft,
  question: { readonly args?: unknown; readonly config?: unknown },
  isSure = false,
): Answer | Objection {
  const changed = changesOf(draft, question.args);
  if (changed === 'json' && press === 'accept') return 'json';
  const said = draft.said.trim();
  if (press === 'accept') {
    if (said && !isSure) return 'said';
    return changed === null
      ? { type: 'accept' }
      : { type: 'edit', args: (changed as Parsed).value };
  }
  if (changed !== null && !isSure) return 'changed';
  if (press === 'reject') return said ? { type: 'reject', args: draft.said } : { type: 'reject' };
  if (!said) return 'empty';
  if (!takesJson(question.config)) return { type: 'response', args: draft.said };
  const value = parsed(said);
  return value === null ? 'json' : { type: 'response', args: value.value };
}

interface Parsed {
  readonly value: unknown;
}

/** Return the arguments if they were changed; null if they are as proposed. */
export function changesOf(draft: Draft, proposed: unknown): Parsed | 'json' | null {
  if (draft.args === null) return null;
  const value = draft.args.trim() === '' ? { value: null } : parsed(draft.args);
  if (value === null) return 'json';
  return canonical(value.value) === canonical(proposed ?? null) ? null : value;
}

function parsed(text: string): Parsed | null {
  try {
    return { value: parseExact(text) };
  } catch {
    return null;
  }
}

const canonical = (value: unknown): string => JSON.stringify(value) ?? 'null';

/** Return proposed arguments as the text that a person edits. */
export const textOf = (value: unknown): string => JSON.stringify(value ?? null, null, 2) ?? '';
