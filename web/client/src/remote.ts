import { RuncastError } from './errors.js';
import { Outbox } from './outbox.js';
import { pause, type ServerOptions, Transport } from './transport.js';

/**
 * Writes a run of a server from elsewhere, as `runcast.RemoteRun` does in Python.
 *
 * Source: docs/protocol.md R-21.
 */

export interface RemoteRunOptions extends ServerOptions {
  /** Lists show it as the function of the run. */
  readonly name: string;
  /** By default the client makes one. */
  readonly runId?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** How long the server keeps the run after its end, in seconds. */
  readonly ttlS?: number;
  /** How long the run stays open if the server hears nothing from here, in seconds. */
  readonly leaseS?: number;
  /** Begin an existing run again. */
  readonly replace?: boolean;
  /** The most bytes of events that wait for the server: 4 MiB. */
  readonly pendingBytes?: number;
  /** How long the end of a run waits for the server, in seconds: 30. */
  readonly endWaitS?: number;
}

/** Where in the run an event belongs. */
export interface Place {
  readonly node?: string;
  readonly agent?: string;
  readonly path?: readonly string[];
  /** Seconds. */
  readonly duration?: number;
}

interface Begun {
  readonly run_id: string;
  readonly position: string;
  readonly lease_id: string;
  readonly lease_s: number;
  readonly max_event_bytes: number;
  readonly max_body_bytes: number;
  readonly time: number;
}

interface Accepted {
  readonly position: string;
  readonly cancel: string | null;
}

/** The most events of one batch. */
const MAX_BATCH_EVENTS = 1000;
/** Size of a batch from which on the rest waits for the next one: a second at 4 Mbit/s. */
const BATCH_BYTES = 512 * 1024;
/** The first and the longest wait before a request is sent again: a lease runs, in ms. */
const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 10_000;
/** How long to try to begin a run, in ms. */
const BEGIN_MS = 5000;
/** Heartbeats within one lease. */
const HEARTBEATS = 3;
/** The longest wait of one heartbeat, in seconds: below what proxies cut. */
const LONGEST_BEAT_S = 20;
/** How long an answer may take, beside what it waits for, in seconds. */
const ANSWER_S = 10;
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
  readonly #producer = randomText(8);
  /** How far the server's clock is ahead of ours, in seconds. */
  readonly #offsetS: number;
  /** Ends what is on its way when the run is over. */
  readonly #over = new AbortController();
  readonly #cancel = new AbortController();
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
      run_id: runId ?? `r-${randomText(12)}`,
      lease_id: randomText(24),
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
      await (run.#isCancelled ? run.cancelled() : run.done(result));
      return result;
    } catch (error) {
      const kind = error instanceof Error ? error.name : typeof error;
      // What was thrown says more than an end that fails, too.
      if (!run.#isEnding)
        await (run.#isCancelled ? run.cancelled() : run.fail(kind)).catch(() => {});
      throw error;
    }
  }

  get #isCancelled(): boolean {
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
    if (this.#isEnding) throw new RuncastError('run_closed', `the run ${this.runId} has ended`);
    this.#outbox.putLast(this.#record(type, data, {}));
    this.#isEnding = true;
    const late = setTimeout(() => {
      const said = 'the last events could not be stored in time';
      this.#outbox.end(new RuncastError('server_unavailable', said));
    }, this.#endWaitS * 1000);
    try {
      await this.flush();
    } finally {
      clearTimeout(late);
      this.#outbox.end(new RuncastError('run_closed', `the run ${this.runId} has ended`));
      this.#over.abort();
    }
  }

  #record(type: string, data: unknown, place: Place): string {
    const time = Date.now() / 1000 + this.#offsetS;
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
    return this.#insist<Accepted>(`/events?${query}`, {
      body: `${records.join('\n')}\n`,
      headers: { ...this.#headers, 'content-type': 'application/x-ndjson' },
    });
  }

  async #insist<T>(
    path: string,
    sent: { readonly body: string; readonly headers: Readonly<Record<string, string>> },
  ): Promise<T> {
    const url = `/runs/${encodeURIComponent(this.runId)}${path}`;
    for (let failures = 0; ; failures++) {
      const late = AbortSignal.timeout(ANSWER_S * 1000);
      const signal = AbortSignal.any([late, this.#over.signal]);
      try {
        return await this.#transport.ask<T>('POST', url, { ...sent, signal });
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
    const { signal } = this.#over;
    const pauseS = this.#begun.lease_s / HEARTBEATS;
    const path = `/runs/${encodeURIComponent(this.runId)}/heartbeat`;
    let failures = 0;
    try {
      while (!signal.aborted) {
        const waitS = this.signal.aborted ? 0 : Math.min(pauseS, LONGEST_BEAT_S);
        const begun = performance.now();
        try {
          const beat = await this.#transport.ask<Accepted>('POST', `${path}?wait_s=${waitS}`, {
            headers: this.#headers,
            timeoutS: waitS + ANSWER_S,
            signal,
          });
          failures = 0;
          this.#heed(beat);
        } catch (error) {
          const waitMs = waitAfter(failures++, error);
          if (waitMs === null) throw error;
          await pause(Math.min(waitMs, pauseS * 1000), signal);
          continue;
        }
        // A server that shuts down answers at once.
        if (this.signal.aborted) await pause(pauseS * 1000, signal);
        else if (performance.now() - begun < waitS * 500)
          await pause(Math.min(1, pauseS) * 1000, signal);
      }
    } catch (error) {
      // The end itself makes further heartbeats fail.
      if (!signal.aborted && !this.#isEnding) this.#lose(this.#transport.unreachable(error));
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
    this.#over.abort();
  }
}

/** How long to wait before a request goes again, in ms; null if it must not. */
function waitAfter(failures: number, error: unknown): number | null {
  if (!(error instanceof RuncastError) || !error.retryable) return null;
  const waitMs = Math.min(FIRST_WAIT_MS * 2 ** failures, LONGEST_WAIT_MS);
  return Math.max(waitMs * (1 + Math.random() / 2), (error.retryAfterS ?? 0) * 1000);
}

/** Letters and digits that nobody can guess. */
function randomText(bytes: number): string {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
