import { errorOf, RuncastError } from './errors.js';

/** Where a server is, and how to reach it. */
export interface ServerOptions {
  /**
   * The server's address. By default that of the page; in Node that in `RUNCAST_URL`.
   */
  readonly url?: string;
  /** The access token. By default none, in Node that in `RUNCAST_TOKEN`. */
  readonly token?: string;
  /**
   * The secret of a link to a run, instead of a token: what `share` has given as `token`. The client
   * then sees this run and nothing else, and sends no cookies.
   */
  readonly link?: string;
  /** Headers of every request, such as those that a gateway in front of the server wants. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether cookies go to a server of another origin, as in `fetch`. */
  readonly credentials?: RequestCredentials;
  /** Used instead of the global `fetch`. */
  readonly fetch?: typeof fetch;
  /**
   * Used instead of `JSON.parse` for runs and their events: one that keeps all digits of numbers,
   * say.
   */
  readonly parse?: (text: string) => unknown;
  /** The longest silence of the server, in seconds: 30. A server sends something every 15 s. */
  readonly timeoutS?: number;
}

/** What is sent with a request. */
export interface Sent {
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is, without a time-out. */
  readonly body?: BodyInit;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** The longest wait for the head of the answer, in seconds. */
  readonly timeoutS?: number;
}

const FIRST_RETRY_MS = 200;
const ATTEMPTS = 4;

/** Requests to one server. */
export class Transport {
  /** The server's address, without a slash at its end. */
  readonly url: string;
  readonly timeoutS: number;
  readonly parse: (text: string) => unknown;
  /** Until when watches poll, by `performance.now()`, because the network holds streams back. */
  pollsUntil = 0;
  readonly #options: ServerOptions;
  readonly #token: string;
  readonly #link: string;

  constructor(options: ServerOptions) {
    this.url = addressOf(options.url).replace(/\/+$/, '');
    this.#link = options.link ?? '';
    if (this.#link && options.token) {
      throw new RuncastError('invalid_value', 'expected either a token or a link, got both');
    }
    this.#token = this.#link ? '' : (options.token ?? environment('RUNCAST_TOKEN'));
    this.timeoutS = options.timeoutS ?? 30;
    this.parse = options.parse ?? JSON.parse;
    this.#options = options;
  }

  /**
   * Send a request, and return the answer once its head is there.
   *
   * @throws RuncastError what the server answered if it is no success, `server_unavailable` if it
   *   cannot be reached. An aborted `signal` throws its reason.
   */
  async send(method: string, path: string, sent: Sent = {}): Promise<Response> {
    const headers: Record<string, string> = {
      accept: 'application/json',
      ...this.#options.headers,
      ...sent.headers,
    };
    if (this.#token) headers.authorization ??= `Bearer ${this.#token}`;
    if (this.#link) headers['runcast-link'] = this.#link;
    let body = sent.body;
    if (sent.json !== undefined) {
      body = JSON.stringify(sent.json);
      headers['content-type'] ??= 'application/json';
    }
    const { signal, stop } = limited(sent.signal, sent.body ? 0 : (sent.timeoutS ?? this.timeoutS));
    const init: RequestInit = { method, headers, signal, cache: 'no-store', redirect: 'manual' };
    if (body !== undefined) init.body = body;
    const credentials = this.#link ? 'omit' : this.#options.credentials;
    if (credentials) init.credentials = credentials;
    try {
      const response = await (this.#options.fetch ?? fetch)(this.url + path, init);
      if (response.ok) return response;
      throw await refusalOf(response, this.url);
    } catch (error) {
      signal.throwIfAborted();
      throw this.unreachable(error);
    } finally {
      stop();
    }
  }

  /** Send a request and return the JSON of the answer; null if it has no body. */
  async ask<T>(method: string, path: string, sent: Sent = {}): Promise<T> {
    const text = await this.read(method, path, sent);
    try {
      return this.parse(text || 'null') as T;
    } catch {
      throw new RuncastError('peer_error', `${this.url} does not answer as a runcast server`);
    }
  }

  /** Send a request and return the text of the answer, all of it within the time-out. */
  async read(method: string, path: string, sent: Sent = {}): Promise<string> {
    const limit = limited(sent.signal, sent.body ? 0 : (sent.timeoutS ?? this.timeoutS));
    try {
      const response = await this.send(method, path, {
        ...sent,
        signal: limit.signal,
        timeoutS: 0,
      });
      return await response.text();
    } catch (error) {
      limit.signal.throwIfAborted();
      throw this.unreachable(error);
    } finally {
      limit.end();
    }
  }

  /**
   * Like `ask`, and send the request again for a short time if the server cannot be reached, or
   * answers that it cannot do it now, as one that shuts down does.
   *
   * Only for requests that change nothing when they are sent again.
   */
  async insist<T>(method: string, path: string, sent: Sent = {}): Promise<T> {
    for (let failures = 1; ; failures++) {
      try {
        return await this.ask<T>(method, path, sent);
      } catch (error) {
        const known = error instanceof RuncastError && error.retryable ? error : null;
        if (!known || failures >= ATTEMPTS) throw error;
        const { retryAfterS } = known;
        const waitMs = FIRST_RETRY_MS * 2 ** (failures - 1) * (1 + Math.random() / 2);
        await pause(Math.max(waitMs, Math.min(retryAfterS ?? 0, 5) * 1000), sent.signal);
      }
    }
  }

  /** What went wrong with a connection, as an error of runcast. */
  unreachable(error: unknown): RuncastError {
    if (error instanceof RuncastError) return error;
    const cause = error instanceof Error ? (error.cause ?? error) : error;
    const said = String(cause instanceof Error ? cause.message : cause).slice(0, 200);
    return new RuncastError(
      'server_unavailable',
      `the server at ${this.url} cannot be reached (${said})`,
    );
  }
}

async function refusalOf(response: Response, url: string): Promise<RuncastError> {
  const { status, headers } = response;
  if (response.type === 'opaqueredirect' || (status >= 300 && status < 400)) {
    void response.body?.cancel().catch(() => {});
    return new RuncastError(
      'peer_error',
      `${url} points to another address; use that one if you trust it`,
      status,
    );
  }
  const body: unknown = await response.json().catch(() => null);
  return errorOf(status, body, headers.get('retry-after') ?? '');
}

/** A signal that is aborted with another one, and after some seconds; 0 seconds never pass. */
function limited(outer: AbortSignal | undefined, seconds: number) {
  const inner = new AbortController();
  const abort = () => inner.abort(outer?.reason);
  if (outer?.aborted) abort();
  outer?.addEventListener('abort', abort);
  const late = () =>
    inner.abort(new RuncastError('server_unavailable', 'the server does not answer in time'));
  const timer = seconds ? setTimeout(late, seconds * 1000) : undefined;
  return {
    signal: inner.signal,
    /** The time does not count any more. The link to the outer signal stays, for the body. */
    stop: () => clearTimeout(timer),
    /** The answer has been read. */
    end: () => {
      clearTimeout(timer);
      outer?.removeEventListener('abort', abort);
    },
  };
}

/** Wait. Throws the reason of the signal if it is aborted. */
export function pause(ms: number, signal?: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  });
}

const environment = (name: string): string =>
  (globalThis as { process?: { env?: Record<string, string> } }).process?.env?.[name] ?? '';

function addressOf(url: string | undefined): string {
  const base = globalThis.document?.baseURI;
  const address = url || environment('RUNCAST_URL') || (base && '.');
  if (!address) {
    throw new RuncastError(
      'invalid_value',
      'expected the address of a server, as url or in RUNCAST_URL',
    );
  }
  let parsed: URL;
  try {
    parsed = new URL(address, base);
  } catch {
    throw new RuncastError(
      'invalid_value',
      `expected an address like http://127.0.0.1:8000, got ${address}`,
    );
  }
  return parsed.origin + parsed.pathname;
}
