import type { Answer, FileSource, FunctionDescription, RunChange, Upload } from './answers.js';
import { isRecord, RuncastError } from './errors.js';
import { type EventOfRun, isTerminal, type RunEvent, type ThreadChange } from './events.js';
import type { Decision, FileInfo, RunInfo, RunState, RunStatus } from './protocol.generated.js';
import { followDialect, followFeed, followMany, followRun, followThread } from './sources.js';
import { type Sent, type ServerOptions, Transport } from './transport.js';
import { type FollowOptions, Watch } from './watch.js';

export interface ConnectOptions extends ServerOptions {
  /** Failed connections in a row after which a watch gives up; by default it never does. */
  readonly attempts?: number | null;
}

/** Which events of a run are shown; all lists empty shows everything. */
export interface WatchOptions extends FollowOptions {
  /** Only these types, and the terminal event. */
  readonly types?: readonly string[];
  readonly nodes?: readonly string[];
  readonly agents?: readonly string[];
  /** A view that the server has. */
  readonly view?: string;
}

/** Which runs. */
export interface Selection {
  readonly status?: RunStatus;
  readonly function?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface RunsOptions extends Selection {
  /** The most runs to return: 50. */
  readonly limit?: number;
  /** The place of an earlier page, to get the next one. */
  readonly before?: string;
  readonly signal?: AbortSignal;
}

export interface InvokeOptions {
  /** By default the server makes one. */
  readonly runId?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Begin an existing run again. */
  readonly replace?: boolean;
  /** The same call under the same key begins one run. By default each call has its own. */
  readonly key?: string;
  readonly secrets?: Readonly<Record<string, string>>;
  /** For each group, its files. */
  readonly files?: Readonly<Record<string, readonly FileSource[]>>;
  readonly signal?: AbortSignal;
}

export interface SendOptions {
  /** The same message under the same id is stored once. By default each call has its own. */
  readonly messageId?: string;
  /** Who sends it. */
  readonly from?: string;
}

/** The functions and the runs of a server. Every method throws `RuncastError`. */
export class Client {
  readonly #transport: Transport;
  readonly #attempts: number | null;

  constructor(options: ConnectOptions | string = {}) {
    const given = typeof options === 'string' ? { url: options } : options;
    this.#transport = new Transport(given);
    this.#attempts = given.attempts ?? null;
  }

  /** The server's address, without a slash at its end. */
  get url(): string {
    return this.#transport.url;
  }

  /** The functions that may be invoked. */
  async functions(): Promise<FunctionDescription[]> {
    const answer = await this.#insist<{ functions: FunctionDescription[] }>('GET', '/functions');
    return answer.functions;
  }

  /**
   * Begin a run of a function and return its id. `watch` and `result` follow it.
   *
   * If the answer is lost, the request is sent again and begins no other run.
   */
  async invoke(
    name: string,
    inputs: Readonly<Record<string, unknown>> = {},
    options: InvokeOptions = {},
  ): Promise<string> {
    const { runId, labels, replace, key, secrets, files, signal } = options;
    if (runId && key) {
      throw new RuncastError('invalid_value', 'expected either a runId or a key, which makes one');
    }
    const json = {
      inputs,
      run_id: runId,
      labels,
      replace,
      files: groups(files),
      _secrets: secrets,
    };
    const headers: Record<string, string> = { prefer: 'respond-async' };
    const path = `/invoke/${encodeURIComponent(name)}`;
    if (!runId) headers['idempotency-key'] = `"${key ?? newId()}"`;
    const sent: Sent = { json, headers, signal };
    // A run_id allows no key. A lost answer is then reported, and not sent again.
    const answer = await (runId
      ? this.#transport.ask<{ run_id: string }>('POST', path, sent)
      : this.#insist<{ run_id: string }>('POST', path, sent));
    return answer.run_id;
  }

  /**
   * Wait for the end of a run and return its result.
   *
   * @throws RuncastError with `runId` set if the run failed or was cancelled.
   */
  async result(runId: string, options: FollowOptions = {}): Promise<unknown> {
    const watch = this.watch(runId, { ...options, types: ['done'] });
    for await (const { type, data } of watch) {
      if (isTerminal({ type })) return outcome(runId, type, isRecord(data) ? data : {});
    }
    options.signal?.throwIfAborted();
    const { status, result, failure, cancel_reason: reason } = (await this.snapshot(runId)).state;
    return outcome(runId, status, { ...failure, result, reason });
  }

  /**
   * The events of a run until its end, each once, across lost connections and restarts.
   *
   * A loss is an event of type `gap` with `seq` 0. Leaving the loop never cancels the run.
   */
  watch(runId: string, options: WatchOptions = {}): Watch<RunEvent> {
    return this.#watch(followRun(this.#transport, pathOf(runId), viewed(options)), options);
  }

  /**
   * A run's events in the form of a dialect, such as `flat`, each as the JSON of its frame. It ends
   * once the server has said that nothing follows.
   */
  watchDialect(runId: string, dialect: string, options: WatchOptions = {}): Watch<unknown> {
    const query = viewed(options);
    query.set('dialect', dialect);
    return this.#watch(followDialect(pathOf(runId), query), options);
  }

  /** The events of 1 to 32 runs over one connection, until all have ended. */
  watchAll(runs: readonly string[], options: FollowOptions = {}): Watch<EventOfRun> {
    return this.#watch(followMany(this.#transport, runs), options);
  }

  /**
   * The events of all runs with some labels over one connection, also of runs that begin later. No
   * end. It begins with the newest runs: at most `limit`, 1 to 32.
   */
  watchThread(
    labels: Readonly<Record<string, string>>,
    options: FollowOptions & { readonly function?: string; readonly limit?: number } = {},
  ): Watch<ThreadChange> {
    const query = select(new URLSearchParams(), { ...options, labels });
    if (options.limit) query.set('limit', String(options.limit));
    return this.#watch(followThread(query), options);
  }

  /**
   * The newest runs, oldest first, and then each run that is created, changes or ends. No end.
   *
   * After a lost connection, every run that changed meanwhile comes at least once.
   */
  feed(options: Selection & FollowOptions & { readonly limit?: number } = {}): Watch<RunChange> {
    const query = select(new URLSearchParams(), options);
    if (options.limit) query.set('limit', String(options.limit));
    return this.#watch(followFeed(this.#transport, query), options);
  }

  #watch<T>(source: ConstructorParameters<typeof Watch<T>>[1], options: FollowOptions): Watch<T> {
    const reconnect = { attempts: this.#attempts, ...options.reconnect };
    return new Watch<T>(this.#transport, source, { ...options, reconnect });
  }

  /** A run with its present state, the sum of all its events. */
  snapshot(runId: string, options: { readonly signal?: AbortSignal } = {}): Promise<RunState> {
    return this.#insist('GET', pathOf(runId), options);
  }

  /** A page of runs, newest first. Pass `before` to get the next page; it is null on the last. */
  async runs(options: RunsOptions = {}): Promise<{ runs: RunInfo[]; before: string | null }> {
    const query = select(new URLSearchParams(), options);
    if (options.limit) query.set('limit', String(options.limit));
    if (options.before) query.set('before', options.before);
    return this.#insist('GET', `/runs?${query}`, { signal: options.signal });
  }

  /**
   * Answer a question of a run; returns the decision that counts.
   *
   * @throws RuncastError `conflict` with `decision` if somebody gave another answer.
   */
  async answer(
    runId: string,
    interruptId: string,
    answer: Answer,
  ): Promise<Decision & { repeated: boolean }> {
    const path = `${pathOf(runId)}/interrupts/${encodeURIComponent(interruptId)}`;
    const said = await this.#insist<{ decision: Decision; repeated: boolean }>('POST', path, {
      json: answer,
    });
    return { ...said.decision, repeated: said.repeated };
  }

  /** Send a message into a run, once, and return its id. */
  async send(runId: string, data: unknown, options: SendOptions = {}): Promise<string> {
    const json = { data, message_id: options.messageId ?? `m-${newId()}`, from: options.from };
    const path = `${pathOf(runId)}/messages`;
    return (await this.#insist<{ message_id: string }>('POST', path, { json })).message_id;
  }

  /** Cancel a run and return it. It may not have ended yet if another process runs it. */
  cancel(runId: string, reason = 'cancelled'): Promise<RunInfo> {
    const query = new URLSearchParams({ reason });
    return this.#insist('POST', `${pathOf(runId)}/cancel?${query}`);
  }

  /** Delete a run. A run that is at work is cancelled first. */
  async delete(runId: string): Promise<void> {
    await this.#transport.ask('DELETE', pathOf(runId));
  }

  /** Upload a file for a later run; give what is returned to `invoke`. */
  upload(
    content: Blob | ArrayBuffer | Uint8Array<ArrayBuffer> | string,
    options: { readonly name?: string; readonly signal?: AbortSignal } = {},
  ): Promise<Upload> {
    const named = (content as { readonly name?: unknown }).name;
    const name = options.name ?? (typeof named === 'string' ? named : 'file');
    const headers = { 'content-type': 'application/octet-stream' };
    const path = `/uploads?${new URLSearchParams({ name })}`;
    // A text or a file without bytes is sent, too; its time has no limit.
    const body = new Blob([content]);
    return this.#transport.ask('POST', path, { body, headers, signal: options.signal });
  }

  /** The files that a run made; none until its end. */
  async files(runId: string): Promise<FileInfo[]> {
    return (await this.#insist<{ files: FileInfo[] }>('GET', `${pathOf(runId)}/files`)).files;
  }

  /** The address of a file that a run made. */
  fileUrl(runId: string, path: string): string {
    return this.url + filePath(runId, path);
  }

  /** One of the files that a run made, as an answer to be read: `blob()`, `body`, … */
  download(
    runId: string,
    path: string,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<Response> {
    return this.#transport.send('GET', filePath(runId, path), {
      ...options,
      headers: { accept: '*/*' },
    });
  }

  #insist<T>(method: string, path: string, sent: Sent = {}): Promise<T> {
    return this.#transport.insist<T>(method, path, sent);
  }
}

/** A client of a server; by default of that which served the page. */
export const connect = (options: ConnectOptions | string = {}): Client => new Client(options);

const pathOf = (runId: string): string => `/runs/${encodeURIComponent(runId)}`;

const filePath = (runId: string, path: string): string =>
  `${pathOf(runId)}/files/${path.split('/').map(encodeURIComponent).join('/')}`;

function viewed({ types, nodes, agents, view }: WatchOptions): URLSearchParams {
  const query = new URLSearchParams();
  for (const [name, list] of Object.entries({ types, nodes, agents })) {
    if (list?.length) query.set(name, list.join(','));
  }
  if (view) query.set('view', view);
  return query;
}

function select(
  query: URLSearchParams,
  { status, function: name, labels }: Selection,
): URLSearchParams {
  if (status) query.set('status', status);
  if (name) query.set('function', name);
  for (const [label, value] of Object.entries(labels ?? {}))
    query.append('label', `${label}=${value}`);
  return query;
}

/** Groups of files as a server takes them: of an upload, only its id and its name. */
function groups(files: InvokeOptions['files']): InvokeOptions['files'] {
  if (!files) return files;
  const plain = (file: FileSource): FileSource => {
    if (typeof file === 'string' || !('upload_id' in file)) return file;
    const { upload_id, name } = file;
    return name ? { upload_id, name } : { upload_id };
  };
  return Object.fromEntries(Object.entries(files).map(([key, group]) => [key, group.map(plain)]));
}

function outcome(runId: string, type: string, data: Record<string, unknown>): unknown {
  if (type === 'done') return data.result;
  const isCancelled = type === 'cancelled';
  const code = isCancelled ? 'cancelled' : String(data.code ?? 'function_error');
  const said = isCancelled
    ? `the run was cancelled: ${data.reason ?? ''}`
    : String(data.message ?? '');
  throw new RuncastError(code, said, 500, null, { runId });
}

/** A random id. `randomUUID` is missing on pages that were not loaded over HTTPS. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
