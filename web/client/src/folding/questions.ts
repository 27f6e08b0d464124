import type { Answered, Interrupt } from '../protocol.generated.js';
import {
  MAX_ANSWERED,
  MAX_INTERRUPTS,
  MAX_QUESTION_CHARS,
  MAX_VALUE_CHARS,
} from './bounds.generated.js';
import { type Draft, type Fields, given, type Law, some, sparse } from './draft.js';
import { asNumber, isObject, pick } from './values.js';

/** What questions and their answers change in the state of a run. */

const ALLOWS = ['allow_accept', 'allow_edit', 'allow_respond'] as const;

function request(draft: Draft, fields: Fields): void {
  const { data } = fields;
  const [args, argsDropped] = fields.kept(pick(data, 'args'), MAX_QUESTION_CHARS);
  const asked = pick(data, 'config');
  let [config, configDropped] = fields.kept(asked, MAX_VALUE_CHARS);
  if (configDropped && isObject(asked)) {
    // A long config must not lift a prohibition.
    config = Object.fromEntries(
      ALLOWS.filter((name) => typeof asked[name] === 'boolean').map((name) => [name, asked[name]]),
    );
  }
  const expires = pick(data, 'expires_at');
  const interrupt = sparse<Interrupt>({
    seq: fields.seq,
    asked_at: fields.time,
    interrupt_id: some(fields.name('interrupt_id')),
    node: some(fields.node),
    agent: some(fields.agent),
    action: some(fields.name('action')),
    message: some(fields.message()),
    args: given(args),
    args_dropped: some(argsDropped),
    config: given(config),
    config_dropped: some(configDropped),
    expires_at: given(typeof expires === 'string' ? fields.cut(expires) : asNumber(expires)),
  });
  take(draft, interrupt.interrupt_id ?? ''); // asked again: keep the new question
  draft.push('interrupts', interrupt, MAX_INTERRUPTS, 'interrupts');
}

function response(draft: Draft, fields: Fields): void {
  const id = fields.name('interrupt_id');
  draft.state.interrupts.forEach((interrupt, index) => {
    if ((interrupt.interrupt_id ?? '') !== id || interrupt.is_answered) return;
    draft.edit('interrupts', index, { is_answered: true });
    draft.push('answered', answeredOf(fields, interrupt), MAX_ANSWERED, 'answered');
  });
}

/** A question with what an event says of its answer. */
function answeredOf(fields: Fields, question: Interrupt): Answered {
  const { data } = fields;
  const answer = pick(data, 'answer');
  const approved = pick(data, 'approved');
  const said = isObject(answer) ? pick(answer, 'args', 'content') : answer;
  const [args, dropped] = fields.kept(said, MAX_VALUE_CHARS);
  const { seq, asked_at, interrupt_id, node, agent, action, message } = question;
  return sparse<Answered>({
    ...{ seq, asked_at, interrupt_id, node, agent, action, message },
    answered_at: fields.time,
    answer: some(fields.cut(pick(answer, 'type'))),
    approved: typeof approved === 'boolean' ? approved : undefined,
    args: given(args),
    args_dropped: some(dropped),
    by: some(fields.name('by')),
  });
}

function resolved(draft: Draft, fields: Fields): void {
  const question = take(draft, fields.name('interrupt_id'));
  if (!question) return;
  draft.state.interrupts_resolved += 1;
  if (!question.is_answered) {
    // Its time was over, or it was closed in another way.
    draft.push('answered', answeredOf(fields, question), MAX_ANSWERED, 'answered');
  }
  draft.state.answered.forEach(({ seq }, index) => {
    if (seq !== question.seq) return;
    draft.edit('answered', index, { outcome: some(fields.name('outcome')) });
  });
}

function take(draft: Draft, id: string): Interrupt | undefined {
  const index = draft.state.interrupts.findIndex((each) => (each.interrupt_id ?? '') === id);
  return index < 0 ? undefined : draft.own('interrupts').splice(index, 1)[0];
}

export const QUESTIONS: Readonly<Record<string, Law>> = {
  interrupt_request: request,
  interrupt_response: response,
  interrupt_resolved: resolved,
};
