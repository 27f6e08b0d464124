import { pathOf, viewed } from '../basic.js';
import { isRecord, RuncastError } from '../errors.js';
import { isGap, type RunEvent } from '../events.js';
import type { Decision } from '../protocol.generated.js';
import { followRun } from '../sources.js';
import type { Transport } from '../transport.js';
import { Watch } from '../watch.js';

/** The answer to a question; its `type` is `expired` if nobody answered in time. */
export type Answered = Omit<Decision, 'repeated'>;

const TYPES = ['interrupt_response', 'interrupt_resolved', 'message'];
/** Decisions that are remembered, for questions that are asked again. */
const MOST_DECISIONS = 1000;

/**
 * What comes back from the watchers of a run: the answers to its questions, and that messages have
 * come. Both are events of its log, and the stream of them is followed across lost connections.
 */
export class Replies {
  readonly #watch: () => Watch<RunEvent>;
  readonly #runId: string;
  readonly #signal: AbortSignal;
  readonly #decisions = new Map<string, Answered>();
  #isOpen = false;
  #newestMessage = 0;
  #gaps = 0;
  #error: RuncastError | null = null;
  #waiting: (() => void)[] = [];

  /**
   * @param after the position at which the run began.
   * @param signal ends the stream and all waits: aborted when the run shall end, or has ended.
   */
  constructor(transport: Transport, runId: string, after: string, signal: AbortSignal) {
    const source = () => followRun(transport, pathOf(runId), viewed({ types: TYPES }));
    this.#watch = () => new Watch<RunEvent>(transport, source(), { after, signal });
    this.#runId = runId;
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#wake(), { once: true });
  }

  /** The decision on a question, if it is known here. */
  decision(interruptId: string): Answered | undefined {
    return this.#decisions.get(interruptId);
  }

  /**
   * Wait for the decision on a question.
   *
   * @param own ends this wait alone.
   * @throws RuncastError `gone` if the answer may have been cut from the log; why the run shall end; the
   *   reason of `own`.
   */
  async answered(interruptId: string, own?: AbortSignal): Promise<Answered> {
    const gaps = this.#gaps;
    await this.#until(() => this.#decisions.has(interruptId) || this.#gaps > gaps, own);
    const found = this.#decisions.get(interruptId);
    if (found) return found;
    throw new RuncastError(
      'gone',
      `the answer to the question ${interruptId} may have been cut from the log ` +
        '(keep_bytes_per_run); ask under another id',
      410,
      null,
      { reason: 'trimmed' },
    );
  }

  /**
   * Wait until a message after a `seq` may be there.
   *
   * @throws RuncastError why the run shall end.
   */
  async messageAfter(seq: number): Promise<void> {
    const gaps = this.#gaps;
    await this.#until(() => this.#newestMessage > seq || this.#gaps > gaps);
  }

  async #until(holds: () => boolean, own?: AbortSignal): Promise<void> {
    if (!this.#isOpen) void this.#follow();
    const wake = () => this.#wake();
    own?.addEventListener('abort', wake);
    try {
      while (!holds()) {
        this.#signal.throwIfAborted();
        own?.throwIfAborted();
        if (this.#error) throw this.#error;
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
    } finally {
      own?.removeEventListener('abort', wake);
    }
  }

  async #follow(): Promise<void> {
    this.#isOpen = true;
    let error: unknown;
    try {
      for await (const event of this.#watch()) this.#take(event);
    } catch (thrown) {
      error = thrown;
    }
    this.#error =
      error instanceof RuncastError
        ? error
        : new RuncastError('run_closed', `the run ${this.#runId} has ended`, 409);
    this.#wake();
  }

  #take(event: RunEvent): void {
    if (isGap(event)) this.#gaps += 1;
    else if (event.type === 'message') this.#newestMessage = event.seq;
    else this.#decide(event.type, event.data);
    this.#wake();
  }

  #decide(type: string, data: unknown): void {
    if (!isRecord(data) || typeof data.interrupt_id !== 'string') return;
    const found = decisionIn(type, data);
    // The first decision counts.
    if (!found || this.#decisions.has(data.interrupt_id)) return;
    this.#decisions.set(data.interrupt_id, found);
    if (this.#decisions.size <= MOST_DECISIONS) return;
    for (const oldest of this.#decisions.keys()) {
      this.#decisions.delete(oldest);
      break;
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

function decisionIn(type: string, data: Readonly<Record<string, unknown>>): Answered | null {
  const { answer, by, outcome } = data;
  if (type === 'interrupt_resolved' && outcome === 'expired') return answeredAs('expired');
  // A function may write such events, too, in any form.
  if (type !== 'interrupt_response' || !isRecord(answer)) return null;
  const { type: kind, args } = answer;
  return typeof kind === 'string' ? answeredAs(kind, args, typeof by === 'string' ? by : '') : null;
}

const answeredAs = (type: string, args: unknown = null, by = ''): Answered => ({
  type,
  args,
  by,
  approved: type !== 'reject' && type !== 'expired',
});
