import { newId } from '../basic.js';
import { RuncastError } from '../errors.js';
import { MAX_INTERRUPTS } from '../folding/bounds.generated.js';
import type { Decision } from '../protocol.generated.js';
import { pause } from '../transport.js';
import type { Line } from './line.js';
import type { Answered, Replies } from './replies.js';

/** How to ask. */
export interface AskOptions {
  /** The action that a yes approves. */
  readonly action?: string;
  /** The arguments of the action. */
  readonly args?: unknown;
  /**
   * The answers that are allowed: `allow_accept`, `allow_edit`, `allow_respond`, all true by default,
   * and `response_schema`.
   */
  readonly config?: Readonly<Record<string, unknown>>;
  /** After so many seconds the answer has the type `expired`. By default it is waited for for ever. */
  readonly timeoutS?: number;
  /**
   * By default the client makes one. Asking again under an id returns its answer at once, or waits
   * for it.
   */
  readonly interruptId?: string;
  readonly node?: string;
  readonly agent?: string;
  /** Ends the wait. The question stays open. */
  readonly signal?: AbortSignal;
}

const MAX_ID_CHARS = 128;
/** The longest time of one timer in JavaScript, in ms. */
const MOST_TIMER_MS = 2 ** 31 - 1;

/** The questions of a remote run. */
export class Questions {
  readonly #line: Line;
  readonly #replies: Replies;
  /** How many calls wait for the answer to each question. */
  readonly #open = new Map<string, number>();

  constructor(line: Line, replies: Replies) {
    this.#line = line;
    this.#replies = replies;
  }

  /** Ask, and wait for the answer; see `RemoteRun.ask`. */
  async ask(message: string, options: AskOptions): Promise<Answered> {
    const { interruptId = `q-${newId()}`, timeoutS } = options;
    check(message, interruptId, timeoutS);
    const known = this.#replies.decision(interruptId);
    if (known) return known;
    const others = this.#open.get(interruptId) ?? 0;
    if (!others && this.#open.size >= MAX_INTERRUPTS) {
      const said = `${this.#open.size} questions of this run are open already`;
      throw new RuncastError('overloaded', said);
    }
    this.#open.set(interruptId, others + 1);
    try {
      await this.#line.drain();
      this.#emit(message, interruptId, others > 0, options);
      return await this.#answered(interruptId, options);
    } finally {
      const left = (this.#open.get(interruptId) ?? 1) - 1;
      if (left) this.#open.set(interruptId, left);
      else this.#open.delete(interruptId);
    }
  }

  #emit(message: string, interruptId: string, isOpen: boolean, options: AskOptions): void {
    const { action = '', args = null, config, timeoutS, node, agent } = options;
    const place = { ...(node && { node }), ...(agent && { agent }) };
    if (isOpen) {
      this.#line.emit('interrupt_waiting', { interrupt_id: interruptId }, place);
      return;
    }
    const asked = { interrupt_id: interruptId, action, args, message };
    const limits = {
      ...(config && { config }),
      ...(timeoutS !== undefined && { expires_at: this.#line.now() + timeoutS }),
    };
    this.#line.emit('interrupt_request', { ...asked, ...limits }, place);
  }

  async #answered(interruptId: string, { timeoutS, signal }: AskOptions): Promise<Answered> {
    const answered = this.#replies.answered(interruptId, signal);
    if (timeoutS === undefined) return answered;
    const over = new AbortController();
    const expired = passed(timeoutS, over.signal).then(() => null);
    try {
      const first = await Promise.race([answered, expired]);
      if (first) return first;
    } finally {
      over.abort();
      answered.catch(() => {}); // the wait for an answer that the expiry has overtaken
    }
    await this.#line.flush();
    const path = `/interrupts/${encodeURIComponent(interruptId)}/expire`;
    const { decision } = await this.#line.ask<{ decision: Decision }>('POST', path);
    const { type, args, by, approved } = decision;
    return { type, args, by, approved };
  }
}

/** Wait for any number of seconds; for ever once the signal is aborted. */
async function passed(seconds: number, signal: AbortSignal): Promise<void> {
  const until = performance.now() + seconds * 1000;
  for (;;) {
    const leftMs = until - performance.now();
    if (leftMs <= 0) return;
    try {
      await pause(Math.min(leftMs, MOST_TIMER_MS), signal);
    } catch {
      return new Promise(() => {});
    }
  }
}

function check(message: unknown, interruptId: string, timeoutS: number | undefined): void {
  if (typeof message !== 'string') {
    throw new RuncastError('invalid_value', `expected a text to ask, got ${typeof message}`);
  }
  if (timeoutS !== undefined && !(timeoutS >= 0 && Number.isFinite(timeoutS))) {
    throw new RuncastError('invalid_value', `expected timeoutS from 0, got ${timeoutS}`);
  }
  // The id is a segment of a path: browsers resolve dots, and proxies decode slashes.
  const isSegment = !/[/\p{C}]/u.test(interruptId) && interruptId !== '.' && interruptId !== '..';
  if (!isSegment || !interruptId || interruptId.length > MAX_ID_CHARS) {
    throw new RuncastError(
      'invalid_value',
      `expected an interruptId of 1 to ${MAX_ID_CHARS} printable characters without '/', got ` +
        JSON.stringify(interruptId).slice(0, 140),
    );
  }
}
