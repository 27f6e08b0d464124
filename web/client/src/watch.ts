import { RuncastError } from './errors.js';
import {
  type Action,
  begin,
  type Happened,
  type ReconnectOptions,
  type ReconnectState,
  react,
  USUAL,
} from './reconnect.js';
import { SseDecoder } from './sse.js';
import { pause, type Transport } from './transport.js';
import { onWake } from './wake.js';

/** What is followed: where its frames come from, and what they mean. */
export interface Source<T> {
  /** The path and the query of the stream. */
  readonly path: string;
  /**
   * The value of a frame, and what it means for the position; null if it is to be left out.
   *
   * @param id the last id of the stream at the end of the frame.
   */
  readonly read: (data: string, id: string) => { value: T; happened: Happened } | null;
  /** Asks for what follows a position instead, for networks that hold streams back. */
  readonly poll?: (position: string, signal: AbortSignal) => Promise<Page>;
}

/** An answer to a question for what follows a position. */
export interface Page {
  readonly frames: readonly { readonly data: string; readonly id: string }[];
  readonly position: string;
  /** Whether nothing will ever follow. */
  readonly closed: boolean;
}

/** What a watch is doing. */
export type Connection =
  | { readonly state: 'connecting' }
  | {
      readonly state: 'open';
      /** Whether it continues where an earlier connection was lost. */
      readonly isResumed: boolean;
      /** `poll` if the network holds streams back. */
      readonly via: 'stream' | 'poll';
    }
  | { readonly state: 'waiting'; readonly waitS: number; readonly error: RuncastError }
  | { readonly state: 'closed' };

export interface FollowOptions {
  /** The position after which to begin; by default the first event. */
  readonly after?: string;
  /** Ends the watch; the run goes on. */
  readonly signal?: AbortSignal;
  /** Called at each change of the connection, to show that it is lost or resumed. */
  readonly onConnection?: (connection: Connection) => void;
  /** The waits of the client, and how often it tries. */
  readonly reconnect?: Partial<ReconnectOptions>;
  /** Silence at the beginning of a stream after which the client polls, in seconds: 5. */
  readonly bufferedS?: number;
}

/** What `listen` calls. */
export interface Listeners<T> {
  event?(event: T): void;
  /** Everything has been seen, or the watch was closed. */
  end?(): void;
  /** The watch cannot go on. Without it the error is reported as an unhandled rejection. */
  error?(error: RuncastError): void;
}

/** Why a connection was cut from this side. */
const SILENT = 'silent';
const WOKEN = 'woken';
/** A connection that was silent for so long, in ms, may be dead when the page comes back. */
const STALE_MS = 3000;
/** How long to poll before a stream is tried again, in ms. */
const POLL_MS = 300_000;
/** Streams that fell silent in the middle, one after another, before the client polls. */
const MAX_SILENCES = 2;

/**
 * Follows a stream across lost connections, each event once and in order.
 *
 * Iterate over it, or call `listen`; once. Leaving the loop, `close` and the signal only end the
 * watch: the run goes on. Events are not read faster than they are taken.
 */
export class Watch<T> implements AsyncIterable<T> {
  readonly #transport: Transport;
  readonly #source: Source<T>;
  readonly #options: FollowOptions;
  readonly #reconnect: ReconnectOptions;
  #state: ReconnectState;
  #connection: Connection = { state: 'connecting' };
  #cut: AbortController | null = null;
  /** By the clock, which goes on while a phone sleeps. */
  #lastByte = 0;
  #silences = 0;
  #mustPoll = false;
  #isResumed = false;
  #isIterated = false;
  #isClosed = false;

  constructor(transport: Transport, source: Source<T>, options: FollowOptions = {}) {
    this.#transport = transport;
    this.#source = source;
    this.#options = options;
    this.#reconnect = { ...USUAL, ...options.reconnect };
    this.#state = begin(options.after);
    const { signal } = options;
    if (signal?.aborted) this.close();
    else signal?.addEventListener('abort', () => this.close(), { once: true });
  }

  /** Where to begin to get what has not been seen yet. */
  get position(): string {
    return this.#state.position;
  }

  get connection(): Connection {
    return this.#connection;
  }

  /** End the watch. The run goes on. */
  close(): void {
    this.#isClosed = true;
    this.#cut?.abort();
  }

  /** Call functions instead of iterating. Returns a function that ends the watch. */
  listen(listeners: Listeners<T>): () => void {
    void (async () => {
      try {
        for await (const event of this) {
          if (this.#isClosed) break;
          listeners.event?.(event);
        }
      } catch (error) {
        if (!listeners.error) throw error;
        listeners.error(this.#transport.unreachable(error));
        return;
      }
      listeners.end?.();
    })();
    return () => this.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    if (this.#isIterated) throw new RuncastError('invalid_value', 'expected one loop over a watch');
    this.#isIterated = true;
    const forget = onWake(() => this.#wake());
    try {
      while (!this.#isClosed) {
        this.#show({ state: 'connecting' });
        const begun = performance.now();
        let error: RuncastError;
        let isUrgent = false;
        const cut = new AbortController();
        this.#cut = cut;
        try {
          const isOver = yield* this.#connected(cut.signal);
          if (isOver || this.#isClosed) return;
          error = new RuncastError('server_unavailable', 'the stream ended early');
        } catch (thrown) {
          if (this.#isClosed) return;
          isUrgent = cut.signal.aborted && cut.signal.reason !== SILENT;
          error = this.#transport.unreachable(thrown);
        } finally {
          cut.abort(); // also when the loop is left: the connection ends at once
        }
        if (error.status && !error.retryable) throw error;
        if (!error.status && error.code !== 'server_unavailable') throw error;
        const action = this.#lost(error, (performance.now() - begun) / 1000);
        if (action.do === 'stop') throw error;
        if (action.do === 'connect' && !isUrgent && !this.#mustPoll) {
          this.#show({ state: 'waiting', waitS: action.waitS, error });
          this.#cut = new AbortController();
          await pause(action.waitS * 1000, this.#cut.signal).catch(() => {});
        }
      }
    } finally {
      forget();
      this.close();
      this.#show({ state: 'closed' });
    }
  }

  /** Read one connection. Returns whether nothing follows. */
  async *#connected(cut: AbortSignal): AsyncGenerator<T, boolean, undefined> {
    const { poll } = this.#source;
    if (poll && (this.#mustPoll || performance.now() < this.#transport.pollsUntil)) {
      this.#mustPoll = false;
      return yield* this.#polled(poll, cut);
    }
    return yield* this.#streamed(cut);
  }

  async *#polled(
    poll: NonNullable<Source<T>['poll']>,
    cut: AbortSignal,
  ): AsyncGenerator<T, boolean, undefined> {
    const until = Math.max(this.#transport.pollsUntil, performance.now() + POLL_MS);
    while (performance.now() < until) {
      const page = await poll(this.#state.position, cut);
      this.#transport.pollsUntil = until;
      this.#lastByte = Date.now();
      this.#show({ state: 'open', isResumed: this.#isResumed, via: 'poll' });
      for (const { data, id } of page.frames) {
        const read = this.#read(data, id);
        if (read) yield read.value;
        if (read?.isLast) return true;
      }
      if (page.position) this.#state = { ...this.#state, position: page.position };
      if (page.closed) return true;
      this.#isResumed = true;
    }
    return false;
  }

  async *#streamed(cut: AbortSignal): AsyncGenerator<T, boolean, undefined> {
    const { timeoutS } = this.#transport;
    const bufferedS = Math.min(this.#options.bufferedS ?? 5, timeoutS);
    const headers: Record<string, string> = { accept: 'text/event-stream' };
    if (this.#state.position) headers['last-event-id'] = this.#state.position;
    // Some proxies hold back the head of an answer, too, until they have enough of it.
    const firstS = this.#source.poll ? bufferedS : timeoutS;
    const response = await this.#unlessSilent(
      this.#transport.send('GET', this.#source.path, { headers, signal: cut, timeoutS: 0 }),
      firstS,
      true,
    );
    if (response.status === 204) return true;
    if (!response.headers.get('content-type')?.startsWith('text/event-stream') || !response.body) {
      throw new RuncastError(
        'peer_error',
        `${this.#transport.url} does not answer with a stream`,
        200,
      );
    }
    const decoder = new SseDecoder(this.#state.position);
    const reader = response.body.getReader();
    let isOpen = false;
    try {
      for (;;) {
        const { done, value } = await this.#unlessSilent(
          reader.read(),
          isOpen ? timeoutS : firstS,
          !isOpen,
        );
        if (done) return false;
        this.#lastByte = Date.now();
        if (!isOpen) {
          isOpen = true;
          this.#show({ state: 'open', isResumed: this.#isResumed, via: 'stream' });
          this.#isResumed = true;
        }
        const frames = decoder.feed(value);
        if (decoder.retryMs !== null) this.#react({ on: 'retry', retryMs: decoder.retryMs });
        for (const { data, id } of frames) {
          const read = this.#read(data, id);
          if (read) yield read.value;
          if (read?.isLast) return true;
        }
        // An id without data moves the position past events that are not shown.
        const { lastEventId } = decoder;
        if (lastEventId && lastEventId !== this.#state.position) {
          this.#react({ on: 'event', id: lastEventId, type: '' });
        }
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  #read(data: string, id: string): { value: T; isLast: boolean } | null {
    const read = this.#source.read(data, id);
    if (!read) return null;
    this.#silences = 0;
    return { value: read.value, isLast: this.#react(read.happened).do === 'stop' };
  }

  #react(happened: Happened): Action {
    const [state, action] = react(this.#state, happened, Math.random(), this.#reconnect);
    this.#state = state;
    return action;
  }

  #lost({ status, retryAfterS }: RuncastError, lastedS: number): Action {
    return this.#react(
      status >= 300
        ? { on: 'answer', status, retryAfterS, retryable: true }
        : { on: 'cut', lastedS },
    );
  }

  /** Wait for something that a silent server or network may never send. */
  async #unlessSilent<V>(promise: Promise<V>, seconds: number, isBeginning: boolean): Promise<V> {
    const cut = this.#cut;
    const timer = setTimeout(() => {
      const isHeldBack = isBeginning || ++this.#silences >= MAX_SILENCES;
      this.#mustPoll = this.#source.poll !== undefined && isHeldBack;
      cut?.abort(SILENT);
    }, seconds * 1000);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The page is back: connect now, unless the connection lives. */
  #wake(): void {
    const isOpen = this.#connection.state === 'open';
    if (!isOpen || Date.now() - this.#lastByte > STALE_MS) this.#cut?.abort(WOKEN);
  }

  #show(connection: Connection): void {
    const before = this.#connection;
    this.#connection = connection;
    if (before.state === connection.state && connection.state !== 'waiting') return;
    this.#options.onConnection?.(connection);
  }
}
