import type { RunEvent } from '@runcast/client';
import { asText, attempt, name, pick, TERMINAL, TEXT_TYPES } from './fields';
import { bisect } from './log';

interface Placed {
  /** Unique in its story, and rising. */
  readonly id: number;
  readonly seq: number;
  readonly time: number;
  readonly node: string;
  readonly agent: string;
  /** The latest event that changed the item. */
  lastSeq: number;
}

/** A text that was written piece by piece; see `textAt`. */
export interface TextItem extends Placed {
  readonly kind: 'text';
  readonly type: string;
  /** All pieces, also those of attempts that were given up. */
  whole: string;
  /** For each piece, its event and where `whole` ended with it. */
  readonly seqs: number[];
  readonly ends: number[];
  /** Where the text began again. */
  readonly begins: { readonly seq: number; readonly from: number; readonly attempt: number }[];
  doneSeq: number | null;
}

export interface ToolItem extends Placed {
  readonly kind: 'tool';
  tool: string;
  attempt: number;
  /** The pieces of the arguments while a model writes them. */
  argsText: string;
  call: RunEvent | null;
  result: RunEvent | null;
}

export interface QuestionItem extends Placed {
  readonly kind: 'question';
  readonly asked: RunEvent;
  response: RunEvent | null;
  resolved: RunEvent | null;
}

export interface MessageItem extends Placed {
  readonly kind: 'message';
  readonly event: RunEvent;
  readSeq: number | null;
  readTime: number | null;
}

/** An event that stands for itself: an error, an attempt, a result so far, an ending, a type of its own. */
export interface NoteItem extends Placed {
  readonly kind: 'error' | 'attempt' | 'step' | 'result' | 'files' | 'ending' | 'event';
  readonly event: RunEvent;
}

export type Item = TextItem | ToolItem | QuestionItem | MessageItem | NoteItem;

const NOTES: ReadonlyMap<string, NoteItem['kind']> = new Map([
  ['error', 'error'],
  ['step_start', 'step'],
  ['result', 'result'],
  ['files', 'files'],
]);

/** Types that other parts of the page show, and that are no items. */
const ELSEWHERE: ReadonlySet<string> = new Set([
  'step_progress',
  'step_complete',
  'node_complete',
  'progress',
  'log',
  'usage',
  'interrupt_waiting',
  'message_read',
  'content_complete',
  'gap',
]);

/**
 * What happened in a run, in the order in which it began, from its events in order.
 *
 * Items remember when they changed, so that one story shows every moment: see `countAt` and
 * `textAt`. Nothing is dropped; how many events a page holds is the caller's bound.
 */
export class Story {
  readonly items: Item[] = [];
  version = 0;
  readonly #texts = new Map<string, TextItem>();
  readonly #tools = new Map<string, ToolItem>();
  readonly #loose = new Map<string, ToolItem[]>();
  readonly #questions = new Map<string, QuestionItem>();
  readonly #messages = new Map<string, MessageItem>();
  #recoveredSeq = 0;
  #isStarted = false;

  /** How many items had begun after the event `seq`. */
  countAt(seq: number): number {
    return bisect(this.items.length, (at) => (this.items[at] as Item).seq <= seq);
  }

  /** Take the next event. */
  add(event: RunEvent): void {
    const { type } = event;
    this.version += 1;
    if (TEXT_TYPES.has(type)) this.#text(event);
    else if (type === 'content_complete') this.#complete(event);
    else if (/^tool_(call|call_delta|result)$/.test(type)) this.#tool(event);
    else if (type === 'interrupt_request') this.#ask(event);
    else if (type === 'interrupt_response' || type === 'interrupt_resolved') this.#answer(event);
    else if (type === 'message' && name(event, 'message_id')) this.#message(event);
    else if (type === 'message_read') this.#read(event);
    else if (type === 'started') this.#started(event);
    else if (!ELSEWHERE.has(type)) {
      const kind = TERMINAL.has(type) ? 'ending' : (NOTES.get(type) ?? 'event');
      this.items.push({ ...this.#placed(event), kind, event });
    }
  }

  #placed(event: RunEvent): Placed {
    const { seq, time, node = '', agent = '' } = event;
    return { id: this.items.length, seq, time, node, agent, lastSeq: seq };
  }

  #started(event: RunEvent): void {
    if (this.#isStarted) this.items.push({ ...this.#placed(event), kind: 'attempt', event });
    if (pick(event.data, 'recovered') === true) this.#recoveredSeq = event.seq;
    this.#isStarted = true;
  }

  #text(event: RunEvent): void {
    const piece = typeof event.data === 'string' ? event.data : pick(event.data, 'text', 'content');
    if (typeof piece !== 'string' || !piece) return;
    const key = textKey(event, event.type);
    const number = attempt(event);
    let text = this.#texts.get(key);
    const isOver = text && text.doneSeq !== null && !name(event, 'message_id');
    if (text && (isOver || text.lastSeq < this.#recoveredSeq)) text = undefined;
    if (!text) {
      const begins = [{ seq: event.seq, from: 0, attempt: number }];
      const fresh = { type: event.type, whole: '', seqs: [], ends: [], begins, doneSeq: null };
      text = { ...this.#placed(event), kind: 'text', ...fresh };
      this.items.push(text);
      this.#texts.set(key, text);
    }
    const current = text.begins.at(-1)?.attempt ?? 1;
    if (number < current) return; // a late piece of a try that was given up
    if (number > current) {
      text.begins.push({ seq: event.seq, from: text.whole.length, attempt: number });
      text.doneSeq = null;
    }
    text.whole += piece;
    text.seqs.push(event.seq);
    text.ends.push(text.whole.length);
    text.lastSeq = event.seq;
  }

  #complete(event: RunEvent): void {
    const text = this.#texts.get(textKey(event, 'content'));
    if (!text || text.lastSeq < this.#recoveredSeq) return;
    if (attempt(event) >= (text.begins.at(-1)?.attempt ?? 1)) text.doneSeq ??= event.seq;
  }

  #tool(event: RunEvent): void {
    const id = name(event, 'call_id');
    const tool = name(event, 'tool', 'tool_name');
    const isResult = event.type === 'tool_result';
    if (event.type === 'tool_call_delta' && !id) return;
    const loose = [tool, event.node ?? '', event.agent ?? ''].join('\0');
    let item = id ? this.#tools.get(id) : isResult ? this.#loose.get(loose)?.pop() : undefined;
    const isAgain = item && (attempt(event) > item.attempt || item.seq < this.#recoveredSeq);
    if (item && isAgain && !isResult) item = undefined;
    if (!item) {
      const fresh = { tool, attempt: attempt(event), argsText: '', call: null, result: null };
      item = { ...this.#placed(event), kind: 'tool', ...fresh };
      this.items.push(item);
      if (id) this.#tools.set(id, item);
      else if (!isResult) this.#loose.set(loose, [...(this.#loose.get(loose) ?? []), item]);
    }
    if (attempt(event) < item.attempt) return;
    item.tool ||= tool;
    item.lastSeq = event.seq;
    if (isResult) item.result = event;
    else if (event.type === 'tool_call') item.call = event;
    else if (!item.call) item.argsText += asText(pick(event.data, 'text', 'content'));
  }

  #ask(event: RunEvent): void {
    const fresh = { asked: event, response: null, resolved: null };
    const item: QuestionItem = { ...this.#placed(event), kind: 'question', ...fresh };
    this.items.push(item);
    this.#questions.set(name(event, 'interrupt_id'), item);
  }

  #answer(event: RunEvent): void {
    const item = this.#questions.get(name(event, 'interrupt_id'));
    if (!item) return;
    item.lastSeq = event.seq;
    if (event.type === 'interrupt_response') item.response ??= event;
    else item.resolved ??= event;
  }

  #message(event: RunEvent): void {
    const id = name(event, 'message_id');
    if (this.#messages.has(id)) return;
    const fresh = { event, readSeq: null, readTime: null };
    const item: MessageItem = { ...this.#placed(event), kind: 'message', ...fresh };
    this.items.push(item);
    this.#messages.set(id, item);
  }

  #read(event: RunEvent): void {
    const ids = pick(event.data, 'message_ids');
    if (!Array.isArray(ids)) return;
    for (const id of ids) {
      const item = this.#messages.get(asText(id));
      if (!item || item.readSeq !== null) continue;
      item.readSeq = item.lastSeq = event.seq;
      item.readTime = event.time;
    }
  }
}

const textKey = (event: RunEvent, type: string): string =>
  [type, event.node ?? '', event.agent ?? '', name(event, 'message_id')].join('\0');

/** Return a text as it was after the event `seq`. */
export function textAt(
  item: TextItem,
  seq: number,
): { text: string; attempt: number; isDone: boolean } {
  const count = bisect(item.seqs.length, (at) => (item.seqs[at] as number) <= seq);
  const end = item.ends[count - 1] ?? 0;
  const begin = item.begins.findLast((each) => each.seq <= seq) ?? { from: 0, attempt: 1 };
  const isDone = item.doneSeq !== null && item.doneSeq <= seq;
  return { text: item.whole.slice(begin.from, end), attempt: begin.attempt, isDone };
}

/** Return an event if it had come by then. */
export const by = (event: RunEvent | null, seq: number): RunEvent | null =>
  event && event.seq <= seq ? event : null;
