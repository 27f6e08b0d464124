import type { Answer } from '../answers.js';
import type { Interrupt } from '../protocol.generated.js';
import { asText, make, setText } from './dom.js';
import type { Part } from './parts.js';
import type { Texts } from './texts.js';

/** Sends an answer; throws if it was not accepted. */
export type Answering = (interruptId: string, answer: Answer) => Promise<unknown>;

/** A question, with its form. What a person typed stays until the question is closed. */
export function questionPart(
  texts: Texts,
  answer: Answering | undefined,
): (question: Interrupt) => Part<Interrupt> {
  return (question) => {
    const title = make('legend');
    const error = make('p', { class: 'error', role: 'alert' });
    error.hidden = true;
    const element = make('fieldset', { part: 'question' }, title);
    const show = (said: string) => {
      error.hidden = !said;
      setText(error, said);
    };
    const give = async (said: Answer): Promise<void> => {
      element.disabled = true;
      show('');
      try {
        await answer?.(question.interrupt_id ?? '', said);
      } catch (failure) {
        element.disabled = false;
        show(failure instanceof Error ? failure.message : String(failure));
      }
    };
    element.append(...(answer ? form(question, texts, give, show) : shown(question)), error);
    return {
      element,
      update({ message, action, is_answered: isAnswered }) {
        setText(title, message || action || '?');
        if (isAnswered) element.disabled = true;
      },
    };
  };
}

const hasArgs = ({ args }: Interrupt): boolean => args !== undefined;

const shown = (question: Interrupt): Node[] =>
  hasArgs(question) ? [make('pre', {}, asText(question.args))] : [];

function form(
  question: Interrupt,
  texts: Texts,
  give: (answer: Answer) => Promise<void>,
  fail: (message: string) => void,
): Node[] {
  const { config, args } = question;
  const allows = (name: string) =>
    typeof config !== 'object' || (config as Record<string, unknown> | null)?.[name] !== false;
  const parts: Node[] = [];
  // Cut arguments cannot be edited: what is missing would be lost.
  const mayEdit = allows('allow_edit') && hasArgs(question) && !question.args_dropped;
  const before = asText(args);
  const editor = make('textarea', { class: 'code', 'aria-label': texts.arguments });
  editor.value = before;
  const reply = make('textarea', { 'aria-label': texts.reply, placeholder: texts.reply });
  const button = (label: string, act: () => Promise<void> | void) =>
    make('button', { type: 'button', onclick: () => void act() }, label);
  const edited = (): unknown => {
    if (typeof args === 'string') return editor.value;
    try {
      return JSON.parse(editor.value);
    } catch (error) {
      fail(`${texts.badJson} ${(error as Error).message}`);
      return undefined;
    }
  };
  const isEdited = () => mayEdit && editor.value !== before;
  // What a person typed is never dropped: each button sends it, or says that it would not.
  const edit = async () => {
    if (reply.value) return fail(texts.unsentReply);
    const changed = edited();
    if (changed !== undefined) await give({ type: 'edit', args: changed });
  };
  if (mayEdit) parts.push(make('label', {}, texts.arguments, editor));
  else parts.push(...shown(question));
  if (question.args_dropped) {
    parts.push(make('p', { class: 'quiet' }, `… ${question.args_dropped} ${texts.cut}`));
  }
  if (allows('allow_respond')) parts.push(make('label', {}, texts.reply, reply));
  if (allows('allow_accept')) {
    const accept = button(texts.accept, async () => {
      if (isEdited()) await edit();
      else if (reply.value) fail(texts.unsentReply);
      else await give({ type: 'accept' });
    });
    parts.push(accept);
    editor.addEventListener('input', () => {
      setText(accept, editor.value === before ? texts.accept : texts.edit);
    });
  } else if (mayEdit) parts.push(button(texts.edit, edit));
  parts.push(button(texts.reject, () => give(rejection(reply.value))));
  if (allows('allow_respond')) {
    const respond = async () => {
      if (isEdited()) fail(texts.unsentEdit);
      else await give({ type: 'response', args: reply.value });
    };
    parts.push(button(texts.respond, respond));
  }
  return parts;
}

const rejection = (reason: string): Answer =>
  reason ? { type: 'reject', args: reason } : { type: 'reject' };
