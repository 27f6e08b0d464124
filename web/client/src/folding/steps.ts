import type { CompletedStep, Progress, Step } from '../protocol.generated.js';
import { MAX_BARS, MAX_COMPLETED_STEPS, MAX_STEPS } from './bounds.generated.js';
import { type Draft, type Fields, given, type Law, some, sparse } from './draft.js';
import { asNumber, percentOf, pick, round } from './values.js';

/** What steps and progress change in the state of a run. */

function begin(draft: Draft, fields: Fields): void {
  takeStep(draft, fields);
  const step = sparse<Step>({
    since: fields.time,
    node: some(fields.node),
    agent: some(fields.agent),
    message: some(fields.message()),
    step_id: some(fields.name('step_id')),
  });
  draft.push('steps', step, MAX_STEPS, 'steps');
}

function progressOfStep(draft: Draft, fields: Fields): void {
  const known = takeStep(draft, fields) ?? {
    since: fields.time,
    node: some(fields.node),
    agent: some(fields.agent),
    step_id: some(fields.name('step_id')),
  };
  const note = some(fields.message());
  const percent = given(percentOf(fields.data));
  draft.push('steps', sparse<Step>({ ...known, note, percent }), MAX_STEPS, 'steps');
}

function complete(draft: Draft, fields: Fields): void {
  const step = takeStep(draft, fields);
  let duration = asNumber(fields.duration);
  if (duration === null && step) duration = round(Math.max(0, fields.time - step.since), 3);
  const done = sparse<CompletedStep>({
    seq: fields.seq,
    ended_at: fields.time,
    node: some(fields.node),
    agent: some(fields.agent),
    message: some(step?.message),
    note: some(fields.message() || step?.note),
    since: step?.since,
    duration: given(duration),
    step_id: some(fields.name('step_id')),
  });
  draft.push('completed_steps', done, MAX_COMPLETED_STEPS, 'completed_steps');
}

/** Take out the open step of this place and id, if there is one. */
function takeStep(draft: Draft, fields: Fields): Step | undefined {
  const id = fields.name('step_id');
  const index = draft.state.steps.findIndex(
    (step) =>
      (step.node ?? '') === fields.node &&
      (step.agent ?? '') === fields.agent &&
      (step.step_id ?? '') === id,
  );
  return index < 0 ? undefined : draft.own('steps').splice(index, 1)[0];
}

function progress(draft: Draft, fields: Fields): void {
  const now = sparse<Progress>({
    current: given(asNumber(pick(fields.data, 'current', 'processed'))),
    total: given(asNumber(pick(fields.data, 'total'))),
    percent: given(percentOf(fields.data)),
    message: some(fields.message() || fields.name('status')),
    task: some(fields.name('task')),
  });
  draft.state.progress = now;
  if (now.task) {
    const { node, agent, seq } = fields;
    keepBar(draft, sparse<Progress>({ ...now, node: some(node), agent: some(agent), seq }));
  }
}

/** Put a bar in the place of the bar of its name, or after all others. */
function keepBar(draft: Draft, bar: Progress): void {
  const bars = draft.own('bars');
  const index = bars.findIndex(
    (each) => each.task === bar.task && each.node === bar.node && each.agent === bar.agent,
  );
  if (index >= 0) {
    bars[index] = bar;
    return;
  }
  if (bars.length >= MAX_BARS) {
    bars.splice(bars.indexOf(bars.reduce((one, other) => (isBefore(other, one) ? other : one))), 1);
    draft.drop('bars');
  }
  bars.push(bar);
}

/** Whether a bar is dropped before another one: finished bars first, then those that rest. */
function isBefore(one: Progress, other: Progress): boolean {
  const isOpen = ({ percent }: Progress) => (percent ?? 0) < 100;
  if (isOpen(one) !== isOpen(other)) return isOpen(other);
  return (one.seq ?? 0) < (other.seq ?? 0);
}

export const STEPS: Readonly<Record<string, Law>> = {
  step_start: begin,
  step_progress: progressOfStep,
  step_complete: complete,
  node_complete: complete,
  progress,
};
