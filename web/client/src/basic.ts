import type { Answer, FileSource, FunctionDescription, RunChange, Upload } from './answers.js';
import { RuncastError } from './errors.js';
import type { RunEvent } from './events.js';
import type { Decision, RunInfo, RunState, RunStatus } from './protocol.generated.js';
import { followFeed, followRun } from './sources.js';
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
  /** Names of the server's channels file, like `telegram:ops`: the run is delivered there. */
  readonly deliver?: readonly string[];
  readonly signal?: AbortSignal;
}

export interface SendOptions {
  /** The same message under the same id is stored once. By default each call has its own. */
  readonly messageId?: string;
  /** Who sends it. */
  readonly from?: string;
}

/** What a page does with the functions and the runs of a server. Every method throws `RuncastError`. */
export class BasicClient {
  /** @internal */
  protected readonly transport: Transport;
  readonly #attempts: number | null;

  constructor(options: ConnectOptions | string = {}) {
    const given = typeof options === 'string' ? { url: options } : options;
    this.transport = new Transport(given);
    this.#attempts = given.attempts ?? null;
  }

  /** The server's address, without a slash at its end. */
  get url(): string {
    return this.transport.url;
  }

  /** The functions that may be invoked. */
  async functions(): Promise<FunctionDescription[]> {
    const answer = await this.insist<{ functions: FunctionDescription[] }>('GET', '/functions');
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
    const { runId, labels, replace, key, secrets, files, deliver, signal } = options;
    if (runId && key) {
      throw new RuncastError('invalid_value', 'expected either a runId or a key, which makes one');
    }
    const json = {
      inputs,
      run_id: runId,
      labels,
      replace,
      files: groups(files),
      deliver,
      _secrets: secrets,
    };
    const headers: Record<string, string> = { prefer: 'respond-async' };
    const path = `/invoke/${encodeURIComponent(name)}`;
    if (!runId) headers['idempotency-key'] = `"${key ?? newId()}"`;
    const sent: Sent = { json, headers, signal };
    // A run_id allows no key. A lost answer is then reported, and not sent again.
    const answer = await (runId
      ? this.transport.ask<{ run_id: string }>('POST', path, sent)
      : this.insist<{ run_id: string }>('POST', path, sent));
    return answer.run_id;
  }

  /**
   * The events of a run until its end, each once, across lost connections and restarts.
   *
   * A loss is an event of type `gap` with `seq` 0. Leaving the loop never cancels the run.
   */
  watch(runId: string, options: WatchOptions = {}): Watch<RunEvent> {
    return this.follow(followRun(this.transport, pathOf(runId), viewed(options)), options);
  }

  /**
   * The newest runs, oldest first, and then each run that is created, changes or ends. No end.
   *
   * After a lost connection, every run that changed meanwhile comes at least once.
   */
  feed(options: Selection & FollowOptions & { readonly limit?: number } = {}): Watch<RunChange> {
    const query = select(new URLSearchParams(), options);
    if (options.limit) query.set('limit', String(options.limit));
    return this.follow(followFeed(this.transport, query), options);
  }

  /** @internal */
  protected follow<T>(
    source: ConstructorParameters<typeof Watch<T>>[1],
    options: FollowOptions,
  ): Watch<T> {
    const reconnect = { attempts: this.#attempts, ...options.reconnect };
    return new Watch<T>(this.transport, source, { ...options, reconnect });
  }

  /** A run with its present state, the sum of all its events. */
  snapshot(runId: string, options: { readonly signal?: AbortSignal } = {}): Promise<RunState> {
    return this.insist('GET', pathOf(runId), options);
  }

  /** A page of runs, newest first. Pass `before` to get the next page; it is null on the last. */
  async runs(options: RunsOptions = {}): Promise<{ runs: RunInfo[]; before: string | null }> {
    const query = select(new URLSearchParams(), options);
    if (options.limit) query.set('limit', String(options.limit));
    if (options.before) query.set('before', options.before);
    return this.insist('GET', `/runs?${query}`, { signal: options.signal });
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
    const said = await this.insist<{ decision: Decision; repeated: boolean }>('POST', path, {
      json: answer,
    });
    return { ...said.decision, repeated: said.repeated };
  }

  /** Send a message into a run, once, and return its id. */
  async send(runId: string, data: unknown, options: SendOptions = {}): Promise<string> {
    const json = { data, message_id: options.messageId ?? `m-${newId()}`, from: options.from };
    const path = `${pathOf(runId)}/messages`;
    return (await this.insist<{ message_id: string }>('POST', path, { json })).message_id;
  }

  /** Cancel a run and return it. It may not have ended yet if another process runs it. */
  cancel(runId: string, reason = 'cancelled'): Promise<RunInfo> {
    const query = new URLSearchParams({ reason });
    return this.insist('POST', `${pathOf(runId)}/cancel?${query}`);
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
    return this.transport.ask('POST', path, { body, headers, signal: options.signal });
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
    return this.transport.send('GET', filePath(runId, path), {
      ...options,
      headers: { accept: '*/*' },
    });
  }

  /** @internal */
  protected insist<T>(method: string, path: string, sent: Sent = {}): Promise<T> {
    return this.transport.insist<T>(method, path, sent);
  }
}

export const pathOf = (runId: string): string => `/runs/${encodeURIComponent(runId)}`;

export const filePath = (runId: string, path: string): string =>
  `${pathOf(runId)}/files/${path.split('/').map(encodeURIComponent).join('/')}`;

export function viewed({ types, nodes, agents, view }: WatchOptions): URLSearchParams {
  const query = new URLSearchParams();
  for (const [name, list] of Object.entries({ types, nodes, agents })) {
    if (list?.length) query.set(name, list.join(','));
  }
  if (view) query.set('view', view);
  return query;
}

export function select(
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

/** A random id. `randomUUID` is missing on pages that were not loaded over HTTPS. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
