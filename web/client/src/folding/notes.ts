import type { ErrorNote, LogLine, Unread, Usage } from '../protocol.generated.js';
import {
  MAX_COST,
  MAX_ERRORS,
  MAX_FILE_CHARS,
  MAX_FILES,
  MAX_INBOX_BYTES,
  MAX_LOGS,
  MAX_MESSAGES,
  MAX_USAGE,
} from './bounds.generated.js';
import { type Draft, type Fields, given, type Law, some, sparse } from './draft.js';
import { asNumber, isSame, pick } from './values.js';

/** What logs, errors, messages, usage and files change in the state of a run. */

function log(draft: Draft, fields: Fields): void {
  const line = sparse<LogLine>({
    seq: fields.seq,
    time: fields.time,
    level: some(fields.name('level', 'type')),
    message: some(fields.message()),
    logger: some(fields.name('logger')),
    node: some(fields.node),
    agent: some(fields.agent),
  });
  draft.push('logs', line, MAX_LOGS, 'logs');
}

/** The message and the code of an error. */
export const errorOf = (fields: Fields): { message?: string; code?: string } =>
  sparse({
    message: some(fields.message('error')),
    code: some(fields.name('code', 'error_code', 'error_type')),
  });

function errorSurvived(draft: Draft, fields: Fields): void {
  const note = sparse<ErrorNote>({
    seq: fields.seq,
    time: fields.time,
    ...errorOf(fields),
    node: some(fields.node),
    agent: some(fields.agent),
  } as ErrorNote);
  draft.push('errors', note, MAX_ERRORS, 'errors');
}

function message(draft: Draft, fields: Fields): void {
  const { messages } = draft.state;
  const id = fields.name('message_id');
  // Without an id it is an event of the function's own.
  if (!id || messages.some((each) => each.message_id === id)) return;
  if (messages.length >= MAX_MESSAGES) {
    draft.drop('messages');
    return;
  }
  const [data, dropped] = fields.kept(pick(fields.data, 'data'), MAX_INBOX_BYTES);
  const unread = sparse<Unread>({
    seq: fields.seq,
    time: fields.time,
    message_id: id,
    from: some(fields.name('from')),
    data: given(data),
    data_dropped: some(dropped),
  });
  draft.own('messages').push(unread);
}

function messageRead(draft: Draft, fields: Fields): void {
  const read = pick(fields.data, 'message_ids');
  if (!Array.isArray(read)) return;
  const before = draft.state.messages;
  const left = before.filter((each) => !read.includes(each.message_id));
  draft.state.messages_read += before.length - left.length;
  if (left.length < before.length) draft.own('messages').splice(0, before.length, ...left);
}

function usage(draft: Draft, fields: Fields): void {
  const model = some(fields.name('model'));
  const currency = some(fields.name('currency'));
  const agent = some(fields.agent);
  const used = draft.own('usage');
  let index = used.findIndex(
    (each) => each.model === model && each.agent === agent && each.currency === currency,
  );
  if (index < 0 && used.length >= MAX_USAGE) {
    draft.drop('usage');
    return;
  }
  if (index < 0) index = used.push(sparse<Usage>({ model, agent, currency })) - 1;
  const before = used[index] as Usage;
  const cost = asNumber(pick(fields.data, 'cost'));
  const isPriced = cost !== null && cost >= 0;
  const plus = (name: 'input_tokens' | 'output_tokens' | 'cached_tokens' | 'reasoning_tokens') =>
    some((before[name] ?? 0) + fields.count(name));
  draft.edit('usage', index, {
    calls: (before.calls ?? 0) + 1,
    input_tokens: plus('input_tokens'),
    output_tokens: plus('output_tokens'),
    cached_tokens: plus('cached_tokens'),
    reasoning_tokens: plus('reasoning_tokens'),
    cost: isPriced ? some(Math.min((before.cost ?? 0) + cost, MAX_COST)) : before.cost,
    unpriced: isPriced ? before.unpriced : (before.unpriced ?? 0) + 1,
  });
}

function files(draft: Draft, fields: Fields): void {
  const listed = pick(fields.data, 'files');
  if (!Array.isArray(listed)) return;
  draft.drop('files', Math.max(0, listed.length - MAX_FILES));
  for (const item of listed.slice(0, MAX_FILES)) {
    const [file] = fields.kept(item, MAX_FILE_CHARS);
    if (draft.state.files.some((each) => isSame(each, file))) continue;
    if (draft.state.files.length < MAX_FILES) draft.own('files').push(file);
    else draft.drop('files');
  }
}

export const NOTES: Readonly<Record<string, Law>> = {
  log,
  error: errorSurvived,
  message,
  message_read: messageRead,
  usage,
  files,
};
