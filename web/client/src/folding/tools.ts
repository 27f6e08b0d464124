import type { Tool } from '../protocol.generated.js';
import { MAX_TOOLS, MAX_VALUE_CHARS } from './bounds.generated.js';
import { type Draft, type Fields, given, type Law, some, sparse } from './draft.js';
import { asText, length, pick, placeAfter } from './values.js';

/** What calls of tools change in the state of a run. */

function call(draft: Draft, fields: Fields): void {
  const index = callToWrite(draft, fields, fields.name('call_id'));
  if (!isOfAttempt(draft, index, fields)) return;
  const name = toolAt(draft, index).tool || fields.name('tool', 'tool_name');
  const [args, dropped] = fields.kept(pick(fields.data, 'args'), MAX_VALUE_CHARS);
  draft.edit('tools', index, {
    tool: some(name),
    called_at: fields.time,
    args: given(args),
    args_dropped: some(dropped),
    args_text: undefined,
  });
}

function delta(draft: Draft, fields: Fields): void {
  const callId = fields.name('call_id');
  const piece = pick(fields.data, 'text', 'content');
  if (!callId || typeof piece !== 'string') return;
  const index = callToWrite(draft, fields, callId);
  if (!isOfAttempt(draft, index, fields)) return;
  const tool = toolAt(draft, index);
  if (tool.called_at !== undefined || tool.ended_at !== undefined) return;
  const whole = (tool.args_text ?? '') + asText(piece);
  const over = whole.length <= MAX_VALUE_CHARS ? 0 : Math.max(0, length(whole) - MAX_VALUE_CHARS);
  draft.edit('tools', index, {
    args_text: some(over ? whole.slice(0, placeAfter(whole, MAX_VALUE_CHARS)) : whole),
    args_dropped: some((tool.args_dropped ?? 0) + over),
  });
  draft.drop('chars', over);
}

function result(draft: Draft, fields: Fields): void {
  const callId = fields.name('call_id');
  const known = callId ? callWith(draft, callId) : runningCall(draft, fields);
  const index = known < 0 ? newCall(draft, fields, callId) : known;
  if (!isOfAttempt(draft, index, fields)) return;
  const ok = pick(fields.data, 'ok');
  const [value, dropped] = fields.kept(pick(fields.data, 'result', 'content'), MAX_VALUE_CHARS);
  draft.edit('tools', index, {
    ended_at: fields.time,
    ok: typeof ok === 'boolean' ? ok : undefined,
    result: given(value),
    result_dropped: some(dropped),
  });
}

/**
 * The place of the call that an event describes. A call from before a crash is made again; only a
 * result may still belong to it.
 */
function callToWrite(draft: Draft, fields: Fields, callId: string): number {
  const index = callWith(draft, callId);
  if (index >= 0 && toolAt(draft, index).seq >= draft.state.recovered_seq) return index;
  if (index >= 0) draft.own('tools').splice(index, 1);
  return newCall(draft, fields, callId);
}

/** Whether an event is of a call's last attempt; a higher one begins the call again. */
function isOfAttempt(draft: Draft, index: number, fields: Fields): boolean {
  const attempt = fields.attempt();
  const tool = toolAt(draft, index);
  if (attempt > (tool.attempt ?? 1)) {
    const { seq, call_id, tool: name, node, agent } = tool;
    const again = { seq, call_id, tool: name, node, agent, attempt };
    draft.own('tools')[index] = sparse<Tool>(again);
  }
  return attempt === (toolAt(draft, index).attempt ?? 1);
}

const toolAt = (draft: Draft, index: number): Tool => draft.state.tools[index] as Tool;

function callWith(draft: Draft, callId: string): number {
  return callId ? lastIndex(draft.state.tools, (tool) => tool.call_id === callId) : -1;
}

/** The place of the last unfinished call without an id of this tool in this place, or -1. */
function runningCall(draft: Draft, fields: Fields): number {
  const name = fields.name('tool', 'tool_name');
  return lastIndex(
    draft.state.tools,
    (tool) =>
      tool.ended_at === undefined &&
      !tool.call_id &&
      (tool.tool ?? '') === name &&
      (tool.node ?? '') === fields.node &&
      (tool.agent ?? '') === fields.agent,
  );
}

function lastIndex(tools: readonly Tool[], has: (tool: Tool) => boolean): number {
  let index = tools.length - 1;
  while (index >= 0 && !has(tools[index] as Tool)) index--;
  return index;
}

function newCall(draft: Draft, fields: Fields, callId: string): number {
  const tools = draft.own('tools');
  if (tools.length >= MAX_TOOLS) {
    const finished = tools.findIndex((tool) => tool.ended_at !== undefined);
    tools.splice(Math.max(0, finished), 1);
    draft.drop('tools');
  }
  const entry = sparse<Tool>({
    seq: fields.seq,
    call_id: some(callId),
    tool: some(fields.name('tool', 'tool_name')),
    node: some(fields.node),
    agent: some(fields.agent),
  });
  return tools.push(entry) - 1;
}

export const TOOLS: Readonly<Record<string, Law>> = {
  tool_call: call,
  tool_call_delta: delta,
  tool_result: result,
};
