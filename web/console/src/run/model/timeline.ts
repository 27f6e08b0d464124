import type { RunEvent } from '@runcast/client';
import { attempt, message, name, pick, TERMINAL } from './fields';

export type SpanKind = 'agent' | 'step' | 'tool' | 'question';

/** How a span ended: `stopped` if the run ended before it, `lost` if its process died. */
export type SpanEnd = 'ok' | 'failed' | 'stopped' | 'lost';

/** A part of a run that takes time: an agent, a step, a call of a tool, a question. */
export interface Span {
  readonly id: number;
  readonly kind: SpanKind;
  name: string;
  readonly node: string;
  readonly agent: string;
  readonly depth: number;
  readonly parent: Span | null;
  readonly children: Span[];
  start: number;
  startSeq: number;
  /** The latest event inside the span. */
  lastSeq: number;
  lastTime: number;
  end: number | null;
  endSeq: number | null;
  ended: SpanEnd | null;
  note: string;
  percent: number | null;
  /** Which try of the call this is. */
  attempt: number;
  /** Errors that were reported inside, and went on. */
  errors: number;
}

/** A moment that people look for. */
export interface Marker {
  readonly kind: 'step' | 'question' | 'error' | 'attempt' | 'message';
  readonly seq: number;
  readonly time: number;
  readonly text: string;
}

/** Most markers drawn; a run with more errors shows the first ones and all its questions. */
const MAX_MARKERS = 2_000;

/**
 * The spans of a run, from its events in order.
 *
 * An agent's span contains what it does; agents lie within the agents of their `path`. What an
 * agent's step contains is not written in events: calls and questions of the same node and agent
 * are put into the open step of that place.
 */
export class Timeline {
  readonly roots: Span[] = [];
  readonly markers: Marker[] = [];
  /** Changes when a span begins, so that rows have to be listed again. */
  shape = 0;
  /** Changes with each event that changes a span. */
  version = 0;
  count = 0;
  readonly #agents = new Map<string, Span>();
  readonly #steps = new Map<string, Span>();
  /** The latest step of each node and agent. */
  readonly #places = new Map<string, Span>();
  readonly #tools = new Map<string, Span>();
  readonly #questions = new Map<string, Span>();
  readonly #loose = new Map<string, Span[]>();
  #isStarted = false;
  #droppedMarkers = 0;

  get droppedMarkers(): number {
    return this.#droppedMarkers;
  }

  /** Take the next event. */
  add(event: RunEvent): void {
    const lane = this.#laneOf(event);
    switch (event.type) {
      case 'started':
        this.#started(event);
        break;
      case 'step_start':
        this.#close(this.#takeStep(event), event, 'ok');
        this.#openStep(event, lane).name = message(event) || event.node || 'step';
        this.#mark('step', event, message(event) || event.node || '');
        break;
      case 'step_progress': {
        const step = this.#steps.get(placeOf(event)) ?? this.#openStep(event, lane);
        step.note = message(event);
        step.percent = percentOf(event.data);
        this.version += 1;
        break;
      }
      case 'step_complete':
      case 'node_complete':
        this.#completeStep(event, lane);
        break;
      case 'tool_call':
      case 'tool_call_delta':
      case 'tool_result':
        this.#tool(event, lane);
        break;
      case 'interrupt_request':
        this.#ask(event, lane);
        break;
      case 'interrupt_resolved':
        this.#close(this.#take(this.#questions, name(event, 'interrupt_id')), event, 'ok');
        break;
      case 'interrupt_response': {
        const question = this.#questions.get(name(event, 'interrupt_id'));
        if (question) question.note = name(event, 'by');
        break;
      }
      case 'error': {
        const within = this.#within(event, lane);
        if (within) within.errors += 1;
        this.#mark('error', event, message(event, 'error'));
        break;
      }
      case 'message':
        this.#mark('message', event, name(event, 'from'));
        break;
      default:
        if (TERMINAL.has(event.type)) this.#finish(event, event.type === 'done' ? 'ok' : 'stopped');
    }
  }

  #started(event: RunEvent): void {
    if (this.#isStarted) this.#mark('attempt', event, String(attempt(event)));
    if (this.#isStarted && pick(event.data, 'recovered') === true) this.#finish(event, 'lost');
    this.#isStarted = true;
  }

  /** Return the span of the agent that an event belongs to; those above are made as well. */
  #laneOf(event: RunEvent): Span | null {
    const agents = [...(event.path ?? []), ...(event.agent ? [event.agent] : [])].slice(0, 16);
    let lane: Span | null = null;
    let key = '';
    for (const agent of agents) {
      key += `\0${agent}`;
      let next: Span | undefined = this.#agents.get(key);
      if (!next) {
        next = this.#open('agent', String(agent), { ...event, agent: String(agent) }, lane);
        this.#agents.set(key, next);
      }
      if (next.ended === 'lost') next.end = next.endSeq = next.ended = null;
      lane = next;
      touch(lane, event);
    }
    return lane;
  }

  #open(kind: SpanKind, title: string, event: RunEvent, parent: Span | null): Span {
    const span: Span = {
      id: this.count,
      kind,
      name: title,
      node: event.node ?? '',
      agent: event.agent ?? '',
      depth: parent ? parent.depth + 1 : 0,
      parent,
      children: [],
      start: event.time,
      startSeq: event.seq,
      lastSeq: event.seq,
      lastTime: event.time,
      end: null,
      endSeq: null,
      ended: null,
      note: '',
      percent: null,
      attempt: 1,
      errors: 0,
    };
    (parent ? parent.children : this.roots).push(span);
    this.count += 1;
    this.shape += 1;
    this.version += 1;
    return span;
  }

  #close(span: Span | undefined, event: RunEvent, how: SpanEnd): void {
    if (!span || span.end !== null) return;
    span.end = Math.max(span.start, event.time);
    span.endSeq = event.seq;
    span.ended = how;
    touch(span, event);
    this.version += 1;
  }

  #take(spans: Map<string, Span>, key: string): Span | undefined {
    const span = spans.get(key);
    spans.delete(key);
    return span;
  }

  #takeStep = (event: RunEvent): Span | undefined => this.#take(this.#steps, placeOf(event));

  #openStep(event: RunEvent, lane: Span | null): Span {
    const step = this.#open('step', event.node || name(event, 'step_id') || 'step', event, lane);
    this.#steps.set(placeOf(event), step);
    this.#places.set([event.node ?? '', event.agent ?? ''].join('\0'), step);
    return step;
  }

  #completeStep(event: RunEvent, lane: Span | null): void {
    let step = this.#takeStep(event);
    if (!step) {
      step = this.#openStep(event, lane);
      this.#steps.delete(placeOf(event));
      step.name = event.node || message(event) || step.name;
    }
    const took = event.duration;
    if (typeof took === 'number' && took >= 0 && Number.isFinite(took)) {
      step.start = Math.min(step.start, event.time - took);
    }
    step.note = message(event) || step.note;
    step.percent = null;
    this.#close(step, event, 'ok');
  }

  /** Return what an event of this place lies in: the open step of the place, or the agent. */
  #within(event: RunEvent, lane: Span | null): Span | null {
    const step = this.#places.get([event.node ?? '', event.agent ?? ''].join('\0'));
    return step && step.end === null ? step : lane;
  }

  #tool(event: RunEvent, lane: Span | null): void {
    const id = name(event, 'call_id');
    const tool = name(event, 'tool', 'tool_name');
    const isResult = event.type === 'tool_result';
    if (event.type === 'tool_call_delta' && !id) return;
    const loose = [tool, event.node ?? '', event.agent ?? ''].join('\0');
    let span = id ? this.#tools.get(id) : isResult ? this.#loose.get(loose)?.pop() : undefined;
    if (span && id && !isResult && attempt(event) > span.attempt) {
      this.#close(span, event, 'stopped');
      span = undefined;
    }
    if (!span) {
      span = this.#open('tool', tool || 'tool', event, this.#within(event, lane));
      span.attempt = attempt(event);
      if (id) this.#tools.set(id, span);
      else if (!isResult) this.#loose.set(loose, [...(this.#loose.get(loose) ?? []), span]);
    }
    if (attempt(event) < span.attempt) return;
    if (tool && span.name !== tool) span.name = tool;
    touch(span, event);
    if (isResult) this.#close(span, event, pick(event.data, 'ok') === false ? 'failed' : 'ok');
  }

  #ask(event: RunEvent, lane: Span | null): void {
    const id = name(event, 'interrupt_id');
    this.#close(this.#take(this.#questions, id), event, 'stopped');
    const text = name(event, 'action') || message(event) || 'question';
    this.#questions.set(id, this.#open('question', text, event, this.#within(event, lane)));
    this.#mark('question', event, message(event) || text);
  }

  #mark(kind: Marker['kind'], event: RunEvent, text: string): void {
    if (this.markers.length >= MAX_MARKERS && kind !== 'question' && kind !== 'attempt') {
      this.#droppedMarkers += 1;
      return;
    }
    const { seq, time } = event;
    this.markers.push({ kind, seq, time, text: text.slice(0, 200) });
  }

  /** End everything that is open, at the end of the run or of an attempt. */
  #finish(event: RunEvent, how: SpanEnd): void {
    const open = [
      ...this.#steps.values(),
      ...this.#tools.values(),
      ...[...this.#loose.values()].flat(),
      ...this.#questions.values(),
    ];
    for (const span of open) this.#close(span, event, how === 'ok' ? 'stopped' : how);
    for (const map of [this.#steps, this.#tools, this.#loose, this.#questions]) map.clear();
    for (const agent of this.#agents.values()) {
      if (agent.end !== null) continue;
      agent.end = agent.lastTime;
      agent.endSeq = agent.lastSeq;
      agent.ended = how;
    }
    this.version += 1;
  }
}

const placeOf = (event: RunEvent): string =>
  [event.node ?? '', event.agent ?? '', name(event, 'step_id')].join('\0');

function touch(span: Span, event: RunEvent): void {
  for (let each: Span | null = span; each && each.lastSeq < event.seq; each = each.parent) {
    each.lastSeq = event.seq;
    each.lastTime = Math.max(each.lastTime, event.time);
  }
}

function percentOf(data: unknown): number | null {
  const given = pick(data, 'percent', 'percentage', 'progress');
  const share = Number(pick(data, 'current')) / Number(pick(data, 'total'));
  const percent = typeof given === 'number' ? given : share * 100;
  return Number.isFinite(percent) ? Math.min(100, Math.max(0, percent)) : null;
}

/** A span as it was at a moment of the run. */
export interface SpanView {
  readonly span: Span;
  readonly start: number;
  readonly end: number;
  readonly isOpen: boolean;
  readonly ended: SpanEnd | null;
}

/**
 * Return a span as it was after the event `seq`, at the time `now`; null if it had not begun.
 *
 * An agent is open while something in it is open, or while its next event is still to come.
 */
export function spanAt(span: Span, seq: number, now: number): SpanView | null {
  if (span.startSeq > seq) return null;
  const isOpen = span.endSeq === null || span.endSeq > seq;
  if (span.kind !== 'agent') {
    const end = isOpen ? Math.max(now, span.start) : (span.end ?? now);
    return { span, start: span.start, end, isOpen, ended: isOpen ? null : span.ended };
  }
  const isWorking = isOpen && span.children.some((child) => spanAt(child, seq, now)?.isOpen);
  const end = isWorking ? now : span.lastSeq > seq ? now : span.lastTime;
  return {
    span,
    start: span.start,
    end: Math.max(end, span.start),
    isOpen: isWorking,
    ended: isOpen ? null : span.ended,
  };
}

/** Return the spans that had begun at `seq`, parents before children, without what is folded. */
export function rowsOf(roots: readonly Span[], seq: number, folded: ReadonlySet<number>): Span[] {
  const rows: Span[] = [];
  const list = (spans: readonly Span[]): void => {
    for (const span of spans) {
      if (span.startSeq > seq) continue;
      rows.push(span);
      if (!folded.has(span.id)) list(span.children);
    }
  };
  list(roots);
  return rows;
}
