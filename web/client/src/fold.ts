import type { RunEvent } from './events.js';
import { EMPTY, MAX_LABELS } from './folding/bounds.generated.js';
import { Draft, Fields, type Law, ofThisVersion, put } from './folding/draft.js';
import { ENDS } from './folding/ends.js';
import { NOTES } from './folding/notes.js';
import { QUESTIONS } from './folding/questions.js';
import { advance, isDecisive, isTerminal, questionOf } from './folding/status.js';
import { STEPS } from './folding/steps.js';
import { TEXTS } from './folding/texts.js';
import { TOOLS } from './folding/tools.js';
import { isObject, pick } from './folding/values.js';
import type { Snapshot } from './protocol.generated.js';

/**
 * The present state of a run, from its events, one at a time: the same as `state` of a snapshot of
 * the server, and tested by the same vectors (`conformance/fold.json`).
 *
 * No event can make it fail. Data of an unexpected shape changes only the counts. Events that were
 * seen before, and events without a `seq`, are ignored.
 */
export class Fold {
  #draft: Draft;

  /** @param start the state before the events, which is not changed. */
  constructor(start?: Snapshot) {
    this.#draft = new Draft(start ? ofThisVersion(start) : (EMPTY as unknown as Snapshot));
  }

  /** Add one more event; returns the fold. */
  apply(event: RunEvent): this {
    apply(this.#draft, event);
    return this;
  }

  /**
   * The state now. It never changes later. Parts that no event has changed are the same objects as
   * before, so that a page may compare them with `===`.
   */
  get snapshot(): Snapshot {
    return this.#draft.publish();
  }

  /** A fold that goes its own way from here; it shares what neither changes, so it costs nothing. */
  copy(): Fold {
    const copy = new Fold();
    copy.#draft = new Draft(this.snapshot);
    return copy;
  }
}

/** The state of a run after these events. */
export function fold(events: Iterable<RunEvent>, start?: Snapshot): Snapshot {
  const folded = new Fold(start);
  for (const event of events) folded.apply(event);
  return folded.snapshot;
}

const LAW: Readonly<Record<string, Law>> = {
  ...STEPS,
  ...TEXTS,
  ...TOOLS,
  ...QUESTIONS,
  ...NOTES,
  ...ENDS,
  started,
};

function apply(draft: Draft, event: RunEvent): void {
  const { state } = draft;
  if (!(event.seq > state.seq)) return;
  const fields = new Fields(draft, event);
  state.missed += fields.seq - state.seq - 1;
  state.seq = fields.seq;
  state.updated_at = fields.time;
  const { type } = fields;
  draft.count(type);
  if (isTerminal(state.status)) return; // nothing follows an ending
  if (state.status === 'queued' || isDecisive(type)) {
    const open = state.interrupts.map((each) => each.interrupt_id ?? '');
    state.status = advance(state.status, open, type, questionOf(fields.data));
  }
  if (Object.hasOwn(LAW, type)) (LAW[type] as Law)(draft, fields);
  if (isTerminal(state.status)) {
    state.ended_at = fields.time;
    state.interrupts_lapsed += state.interrupts.length;
    if (state.interrupts.length) draft.own('interrupts').length = 0;
  }
}

function started(draft: Draft, fields: Fields): void {
  const { state } = draft;
  // A resumed run starts again: it keeps its first time and function.
  if (state.started_at === null) state.started_at = fields.time;
  else state.attempt = Math.max(state.attempt + 1, fields.attempt());
  if (pick(fields.data, 'recovered') === true) recovered(draft, fields);
  state.function = state.function || fields.name('function');
  const labels = pick(fields.data, 'labels');
  if (!isObject(labels)) return;
  const entries = Object.entries(labels);
  draft.drop('labels', Math.max(0, entries.length - MAX_LABELS));
  for (const [key, value] of entries.slice(0, MAX_LABELS)) {
    const label = fields.cut(key);
    const own = draft.own('labels');
    if (Object.hasOwn(own, label) || Object.keys(own).length < MAX_LABELS)
      put(own, label, fields.cut(value));
    else draft.drop('labels');
  }
}

/** Begin an attempt after a crash: what the one before was at does not go on. */
function recovered(draft: Draft, fields: Fields): void {
  const { state } = draft;
  state.recovered_seq = fields.seq;
  draft.own('steps').length = 0;
  draft.own('bars').length = 0;
  state.progress = null;
  state.tools.forEach((tool, index) => {
    if (tool.ended_at === undefined && !tool.call_id) {
      draft.edit('tools', index, { ended_at: fields.time, ok: false });
    }
  });
}
