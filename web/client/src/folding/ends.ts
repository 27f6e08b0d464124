import type { Failure } from '../protocol.generated.js';
import { MAX_RESULT_CHARS } from './bounds.generated.js';
import { type Draft, type Fields, type Law, some, sparse } from './draft.js';
import { errorOf } from './notes.js';
import { isObject, pick } from './values.js';

/** What results and the end of a run change in its state. */

function done(draft: Draft, fields: Fields): void {
  const { data } = fields;
  // Data that has other fields is the result itself.
  const isOutcome =
    isObject(data) && Object.keys(data).every((name) => name === 'result' || name === 'summary');
  const result = isOutcome ? data.result : data;
  if (result !== null && result !== undefined) setResult(draft, fields, result);
  const [summary, dropped] = fields.kept(isOutcome ? data.summary : null, MAX_RESULT_CHARS);
  draft.state.summary = summary;
  draft.state.summary_dropped = dropped;
}

function failed(draft: Draft, fields: Fields): void {
  const retryable = some(pick(fields.data, 'retryable') === true);
  draft.state.failure = sparse<Failure>({ ...errorOf(fields), retryable } as Failure);
}

function cancelled(draft: Draft, fields: Fields): void {
  draft.state.cancel_reason = fields.message('reason');
}

function result(draft: Draft, fields: Fields): void {
  const { data } = fields;
  setResult(draft, fields, isObject(data) && Object.hasOwn(data, 'value') ? data.value : data);
}

function setResult(draft: Draft, fields: Fields, value: unknown): void {
  const [kept, dropped] = fields.kept(value, MAX_RESULT_CHARS);
  draft.state.result = kept;
  draft.state.result_dropped = dropped;
}

export const ENDS: Readonly<Record<string, Law>> = { done, failed, cancelled, result };
