import { filePath, newId, pathOf } from './basic.js';
import { RuncastError } from './errors.js';
import { Outbox } from './outbox.js';
import { ANSWER_S, waitAfter } from './remote/again.js';
import { stayAlive } from './remote/alive.js';
import { Inbox, type Message } from './remote/inbox.js';
import type { Line } from './remote/line.js';
import type { Accepted, Begun, Place, RemoteRunOptions, StoredFile } from './remote/model.js';
import { type AskOptions, Questions } from './remote/questions.js';
import { type Answered, Replies } from './remote/replies.js';
import { pause, type Sent, Transport } from './transport.js';

export type { Answered, AskOptions, Message, Place, RemoteRunOptions, StoredFile };
export { Inbox };

/**
 * Writes a run of a server from elsewhere, as `runcast.RemoteRun` does in Python. Long because it is
 * one facade, each method of which has its documentation.
 *
 * Source: docs/protocol.md R-21.
 */

/** The most events of one batch. */
const MAX_BATCH_EVENTS = 1000;
/** Size of a batch from which on the rest waits for the next one: a second at 4 Mbit/s. */
const BATCH_BYTES = 512 * 1024;
/** How long to try to begin a run, in ms. */
const BEGIN_MS = 5000;
/** For requests whose bytes may take any time. */
const NO_LIMIT = 0;
/** The longest text of a line that stands for an event that the server refused. */
const MAX_REFUSAL_CHARS = 2000;

/**
 * A run that this program writes. Make it with `RemoteRun.begin`, and end it with `done`, `fail` or
 * `cancelled`; or let `RemoteRun.write` do both.
 *
 * Events wait in memory until the server has stored them. If the connection breaks or the server
 * restarts, they are sent again under the same number, and stored once. `signal` is aborted when
 * somebody cancels the run, or nothing more can be stored.
 */
export class RemoteRun {
  readonly runId: string;
  readonly #transport: Transport;
  readonly #begun: Begun;
  readonly #outbox: Outbox;
  readonly #endWaitS: number;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #producer = newId();
  /** How far the server's clock is ahead of ours, in seconds. */
  readonly #offsetS: number;
  /** Ends what is on its way when the run is over. */
  readonly #over = new AbortController();
  readonly #cancel = new AbortController();
  readonly #questions: Questions;
  readonly #inbox: Inbox;
  /** Files that are on their way. */
  readonly #saving = new Set<Promise<StoredFile>>();
  #mostBytes: number;
  #sequence = 1;
  #position: string;
  #isEnding = false;

  private constructor(transport: Transport, begun: Begun, options: RemoteRunOptions) {
    this.runId = begun.run_id;
    this.#transport = transport;
    this.#begun = begun;
    this.#position = begun.position;
    this.#outbox = new Outbox(options.pendingBytes ?? 4 * 1024 * 1024);
    this.#endWaitS = options.endWaitS ?? 30;
    this.#headers = { 'runcast-lease': begun.lease_id };
    this.#offsetS = begun.time - Date.now() / 1000;
    this.#mostBytes = Math.min(BATCH_BYTES, begun.max_body_bytes / 2);
    const line = this.#line();
    const replies = new Replies(transport, this.runId, begun.position, line.signal);
    this.#questions = new Questions(line, replies);
    this.#inbox = new Inbox(line, replies);
    void this.#sendAll();
    void this.#stayAlive();
  }

  /**
   * Begin a run. A lost answer is asked for again, for five seconds, and begins no other run.
   *
   * @throws RuncastError `server_unavailable`; `conflict` if the run exists; what the server answers.
   */
  static async begin(options: RemoteRunOptions): Promise<RemoteRun> {
    const { name, runId, labels, ttlS, leaseS, replace } = options;
    if (!name) {
      throw new RuncastError('invalid_value', "expected a name like 'import' for the run");
    }
    const transport = new Transport(options);
    const json = {
      name,
      run_id: runId ?? `r-${newId()}`,
      lease_id: newId() + newId(),
      labels,
      ttl_s: ttlS,
      lease_s: leaseS,
      replace,
    };
    const until = performance.now() + BEGIN_MS;
    for (let failures = 0; ; failures++) {
      try {
        const sent = { json, timeoutS: ANSWER_S };
        const begun = await transport.ask<Begun>('POST', '/runs', sent);
        if (typeof begun?.run_id !== 'string' || typeof begun.lease_s !== 'number') {
          throw new RuncastError('peer_error', `${transport.url} does not answer as runcast does`);
        }
        return new RemoteRun(transport, begun, options);
      } catch (error) {
        const waitMs = waitAfter(failures, error);
        if (waitMs === null || performance.now() + waitMs > until) throw error;
        await pause(waitMs);
      }
    }
  }

  /**
   * Begin a run, call a function that writes it, and end it: with the result as `done`, as `failed`
   * if the function throws, as `cancelled` if somebody has cancelled the run. Watchers see the kind
   * of an error only, not its text.
   *
   * @throws what the function threw.
   */
  static async write<T>(
    options: RemoteRunOptions,
    work: (run: RemoteRun) => Promise<T> | T,
  ): Promise<T> {
    const run = await RemoteRun.begin(options);
    try {
      const result = await work(run);
      await (run.isCancelled ? run.cancelled() : run.done(result));
      return result;
    } catch (error) {
      const kind = error instanceof Error ? error.name : typeof error;
      // What was thrown says more than an end that fails, too.
      if (!run.#isEnding)
        await (run.isCancelled ? run.cancelled() : run.fail(kind)).catch(() => {});
      throw error;
    }
  }

  /** Whether somebody has cancelled the run: stop soon. `signal` says why, and calls listeners. */
  get isCancelled(): boolean {
    return this.signal.reason?.code === 'cancelled';
  }

  /** Aborted when the run shall end: with a `RuncastError` `cancelled`, or why it was lost. */
  get signal(): AbortSignal {
    return this.#cancel.signal;
  }

  /** The position of the last event that the server has stored. */
  get position(): string {
    return this.#position;
  }

  /** How many events wait, and how many were stored and refused so far. */
  statistics(): Outbox['statistics'] {
    return this.#outbox.statistics;
  }

  /**
   * Write an event. It is stored soon, after all earlier ones.
   *
   * @throws RuncastError `cancelled` once somebody has cancelled the run; `overloaded` if too much
   *   waits; `invalid_event` if it is no JSON or too large; what ended the run, if it has ended.
   */
  emit(type: string, data: unknown = {}, place: Place = {}): void {
    if (this.#isEnding) throw new RuncastError('run_closed', `the run ${this.runId} has ended`);
    if (this.#outbox.error ?? this.#outbox.full) throw this.#outbox.error ?? this.#outbox.full;
    if (this.signal.aborted) throw this.signal.reason;
    const record = this.#record(type, data, place);
    const most = this.#begun.max_event_bytes;
    // Characters are at most three bytes each: most events need not be measured.
    if (record.length * 3 > most && new TextEncoder().encode(record).length > most) {
      const said = `expected an event of at most ${most} bytes, got ${record.length} characters`;
      throw new RuncastError('invalid_event', said, 0, null, { index: 0 });
    }
    this.#outbox.put(record);
  }

  /**
   * Ask a question, and wait for the answer. If the connection breaks or the server restarts, the wait
   * goes on.
   *
   * @throws RuncastError `cancelled` once somebody has cancelled the run; `run_closed` once it has ended;
   *   `overloaded` if too many questions are open; `gone` if the answer is not kept any more; what
   *   `emit` throws. An aborted `options.signal` throws its reason.
   */
  ask(message: string, options: AskOptions = {}): Promise<Answered> {
    return this.#questions.ask(message, options);
  }

  /** The messages that are sent into the run, one after the other; the same object at each call. */
  inbox(): Inbox {
    return this.#inbox;
  }

  /**
   * Keep a file with the run, as a function keeps what it leaves in `data/outputs`. Once the run has
   * ended, the file is listed and can be downloaded. If the connection breaks, the file is sent again,
   * and kept once. The end of the run waits for files that are on their way.
   *
   * @param path where the file is in the list, such as `plots/loss.png`; one of the same path is
   *   replaced.
   * @throws RuncastError `file_too_large` or `run_too_large` if a limit of the server is reached;
   *   `invalid_value` if the path is malformed; `backend_error` if the files of the run are on another
   *   node, which is named; what ended the run before.
   */
  async saveFile(
    path: string,
    content: Blob | ArrayBuffer | Uint8Array<ArrayBuffer> | string,
  ): Promise<StoredFile> {
    if (this.#isEnding) throw new RuncastError('run_closed', `the run ${this.runId} has ended`);
    if (this.#outbox.error) throw this.#outbox.error;
    const body = new Blob([content]);
    const headers = { ...this.#headers, 'content-type': 'application/octet-stream' };
    const url = filePath(this.runId, path);
    const saving = this.#insist<StoredFile>('PUT', url, { body, headers }, NO_LIMIT);
    this.#saving.add(saving);
    try {
      return await saving;
    } finally {
      this.#saving.delete(saving);
    }
  }

  /** Wait until there is room for more events. */
  async drain(): Promise<void> {
    await this.#outbox.until(() => this.#outbox.hasRoom || this.#outbox.error !== null);
  }

  /**
   * Wait until the server has stored everything that was written so far.
   *
   * @throws RuncastError what ended the run before.
   */
  async flush(): Promise<void> {
    const { put } = this.#outbox.counts;
    const isStored = () => this.#outbox.counts.settled >= put;
    await this.#outbox.until(() => isStored() || this.#outbox.error !== null);
    if (!isStored()) throw this.#outbox.error;
    if (this.#outbox.full && !this.#isEnding) throw this.#outbox.full;
  }

  /** End the run with a result. */
  done(result: unknown = null, summary?: string): Promise<void> {
    return this.#end('done', { result, ...(summary !== undefined && { summary }) });
  }

  /** End the run as failed. `message` is for watchers; `code` is for programs. */
  fail(message: string, code = 'function_error', retryable = false): Promise<void> {
    return this.#end('failed', { message, code, retryable });
  }

  /** End the run as cancelled; by default with the reason that somebody gave. */
  cancelled(reason?: string): Promise<void> {
    const { message = 'cancelled' } = this.signal.reason ?? {};
    return this.#end('cancelled', { reason: reason ?? message });
  }

  /**
   * @throws RuncastError `server_unavailable` if the server has not stored the end in time; what ended
   *   the run before.
   */
  async #end(type: string, data: Readonly<Record<string, unknown>>): Promise<void> {
    const last = this.#record(type, data, {});
    await Promise.allSettled(this.#saving);
    if (this.#isEnding) throw new RuncastError('run_closed', `the run ${this.runId} has ended`);
    const read = type === 'cancelled' || this.#outbox.full ? [] : this.#inbox.takeRead();
    if (read.length) this.#outbox.putLast(this.#record('message_read', { message_ids: read }, {}));
    this.#outbox.putLast(last);
    this.#isEnding = true;
    const late = setTimeout(() => {
      const said = 'the last events could not be stored in time';
      this.#outbox.end(new RuncastError('server_unavailable', said));
    }, this.#endWaitS * 1000);
    try {
      await this.flush();
    } finally {
      clearTimeout(late);
      const ended = new RuncastError('run_closed', `the run ${this.runId} has ended`);
      this.#outbox.end(ended);
      this.#over.abort(ended);
    }
  }

  /** What questions and the inbox need of the run. */
  #line(): Line {
    return {
      signal: AbortSignal.any([this.#cancel.signal, this.#over.signal]),
      now: () => this.#now,
      emit: (type, data, place) => this.emit(type, data, place),
      drain: () => this.drain(),
      flush: () => this.flush(),
      ask: (method, path) =>
        this.#insist(method, pathOf(this.runId) + path, { headers: this.#headers }),
    };
  }

  /** The time of the server, in Unix seconds. */
  get #now(): number {
    return Date.now() / 1000 + this.#offsetS;
  }

  #record(type: string, data: unknown, place: Place): string {
    const time = this.#now;
    let record: string | undefined;
    try {
      record = JSON.stringify({ type, data, time, ...place });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const said = `expected data of the event ${type} that can be written as JSON: ${why}`;
      throw new RuncastError('invalid_event', said.slice(0, 500), 0, null, { index: 0 });
    }
    return record;
  }

  // Sending: one batch at a time. Without an answer the same batch goes again, as the same bytes under
  // the same number, and the server stores it once.

  async #sendAll(): Promise<void> {
    const outbox = this.#outbox;
    try {
      while (!outbox.error) {
        await outbox.until(() => !outbox.isEmpty || outbox.error !== null);
        const records = outbox.first(MAX_BATCH_EVENTS, this.#mostBytes);
        if (records.length && !outbox.error) await this.#send(records);
      }
    } catch (error) {
      this.#lose(this.#transport.unreachable(error));
    }
  }

  async #send(records: readonly string[]): Promise<void> {
    try {
      const accepted = await this.#persist(records);
      this.#sequence += 1;
      this.#position = accepted.position;
      this.#heed(accepted);
      this.#outbox.settle(records.length);
    } catch (error) {
      if (this.#over.signal.aborted) return;
      if (!(error instanceof RuncastError)) throw error;
      if (error.code === 'invalid_event') this.#leaveOut(error, records.length);
      else if (error.code === 'body_too_large' && records.length > 1) {
        this.#mostBytes = Math.max(1, records.join('').length / 2);
      } else if (error.code === 'body_too_large') this.#leaveOut(error, 1);
      else if (error.code === 'run_too_large' && !this.#outbox.full) {
        this.#outbox.fill(error, this.#isEnding); // a full run can still end
        this.#cancel.abort(error);
      } else this.#lose(error);
    }
  }

  async #persist(records: readonly string[]): Promise<Accepted> {
    const query = new URLSearchParams({
      producer: this.#producer,
      sequence: String(this.#sequence),
    });
    return this.#insist<Accepted>('POST', `${pathOf(this.runId)}/events?${query}`, {
      body: `${records.join('\n')}\n`,
      headers: { ...this.#headers, 'content-type': 'application/x-ndjson' },
    });
  }

  async #insist<T>(method: string, path: string, sent: Sent, answerS = ANSWER_S): Promise<T> {
    for (let failures = 0; ; failures++) {
      const late = answerS ? AbortSignal.timeout(answerS * 1000) : this.#over.signal;
      const signal = AbortSignal.any([late, this.#over.signal]);
      try {
        return await this.#transport.ask<T>(method, path, { ...sent, signal });
      } catch (error) {
        const isLate = late.aborted && !this.#over.signal.aborted;
        const lost = isLate ? new RuncastError('server_unavailable', 'no answer in time') : error;
        const waitMs = waitAfter(failures, lost);
        if (waitMs === null || this.#outbox.error) throw lost;
        await pause(waitMs, this.#over.signal);
      }
    }
  }

  /** Write a line of the log in the place of an event that the server refuses. */
  #leaveOut(refusal: RuncastError, count: number): void {
    const index = Math.min(Math.max(refusal.index ?? 0, 0), count - 1);
    const said = `an event was left out, because the server refuses it: ${refusal.message}`;
    const message = said.slice(0, MAX_REFUSAL_CHARS);
    const data = { level: 'warning', message, logger: 'runcast' };
    this.#outbox.replace(index, this.#record('log', data, {}));
  }

  // Staying alive, and hearing of a cancellation.

  async #stayAlive(): Promise<void> {
    try {
      await stayAlive({
        leaseS: this.#begun.lease_s,
        isCancelled: () => this.signal.aborted,
        heed: (beat) => this.#heed(beat),
        beat: (waitS) =>
          this.#transport.ask<Accepted>('POST', `${pathOf(this.runId)}/heartbeat?wait_s=${waitS}`, {
            headers: this.#headers,
            timeoutS: waitS + ANSWER_S,
            signal: this.#over.signal,
          }),
        signal: this.#over.signal,
      });
    } catch (error) {
      // The end itself makes further heartbeats fail.
      if (!this.#over.signal.aborted && !this.#isEnding)
        this.#lose(this.#transport.unreachable(error));
    }
  }

  #heed({ cancel }: Accepted): void {
    if (cancel === null || cancel === undefined) return;
    this.#cancel.abort(new RuncastError('cancelled', cancel, 0, null, { runId: this.runId }));
  }

  /** Nothing more can be stored. */
  #lose(error: RuncastError): void {
    this.#outbox.end(error);
    this.#cancel.abort(error);
    this.#over.abort(error);
  }
}
