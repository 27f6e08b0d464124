import type { Answer, RunChange } from './answers.js';
import { RuncastError } from './errors.js';
import { isGap, isTerminal, type RunEvent, type ThreadChange } from './events.js';
import { Fold } from './fold.js';
import type { RunInfo, RunStatus, Snapshot } from './protocol.generated.js';
import type { Connection, FollowOptions } from './watch.js';

/**
 * What a page shows of a run, a list or a thread, kept up to date.
 *
 * A store begins with its first subscriber and ends with its last one; after that it continues
 * where it was. `current` is the same object until something changes, and it changes at most once
 * per frame: so that it fits `useSyncExternalStore`, signals and the like.
 */
export abstract class Store<V> {
  #current: V;
  readonly #listeners = new Set<() => void>();
  #stop: AbortController | null = null;
  #cancelFrame: (() => void) | null = null;

  constructor(first: V) {
    this.#current = first;
  }

  /** What there is to show. */
  get current(): V {
    return this.#current;
  }

  /** Call a function after each change. Returns a function that ends it. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    if (!this.#stop) {
      const stop = new AbortController();
      this.#stop = stop;
      void this.#run(stop.signal);
    }
    return () => {
      if (!this.#listeners.delete(listener) || this.#listeners.size) return;
      this.#stop?.abort();
      this.#stop = null;
      this.#cancelFrame?.();
      this.#cancelFrame = null;
    };
  };

  /** What to show now. */
  protected abstract view(connection: Connection, error: RuncastError | null): V;

  /** Follow the server until the signal, and call `changed` after each change. */
  protected abstract follow(signal: AbortSignal, options: FollowOptions): Promise<void>;

  #connection: Connection = { state: 'connecting' };
  #error: RuncastError | null = null;

  async #run(signal: AbortSignal): Promise<void> {
    const onConnection = (connection: Connection): void => {
      if (signal.aborted) return;
      this.#connection = connection;
      this.changed();
    };
    this.#error = null;
    try {
      await this.follow(signal, { signal, onConnection });
    } catch (error) {
      if (signal.aborted) return;
      this.#error =
        error instanceof RuncastError
          ? error
          : new RuncastError('internal', error instanceof Error ? error.message : String(error));
    }
    if (signal.aborted) return;
    this.#connection = { state: 'closed' };
    this.#publish();
  }

  /** Show what changed in the next frame. */
  protected changed(): void {
    this.#cancelFrame ??= nextFrame(() => this.#publish());
  }

  #publish(): void {
    this.#cancelFrame?.();
    this.#cancelFrame = null;
    this.#current = this.view(this.#connection, this.#error);
    for (const listener of [...this.#listeners]) listener();
  }
}

/** Call a function before the next frame, or soon if the page draws none. */
function nextFrame(call: () => void): () => void {
  const draw = globalThis.requestAnimationFrame as typeof requestAnimationFrame | undefined;
  const frame = draw?.(call);
  const timer = setTimeout(call, draw ? 100 : 16);
  return () => {
    clearTimeout(timer);
    if (frame !== undefined) cancelAnimationFrame(frame);
  };
}

/** Where the events of runs come from: a `Client`, or what a page has instead. */
export interface RunSource {
  watch(runId: string, options?: FollowOptions): AsyncIterable<RunEvent>;
  /** The state so far, and the position after it. Without it all events are read. */
  snapshot?(runId: string): Promise<{ readonly state: Snapshot; readonly position: string }>;
  answer?(runId: string, interruptId: string, answer: Answer): Promise<unknown>;
  send?(runId: string, data: unknown): Promise<unknown>;
  cancel?(runId: string, reason?: string): Promise<unknown>;
  /** The address of a file that the run made. */
  fileUrl?(runId: string, path: string): string;
}

/** What a page shows of one run. */
export interface RunView {
  readonly runId: string;
  readonly state: Snapshot;
  readonly connection: Connection;
  /** Why the run cannot be followed; null while it can. */
  readonly error: RuncastError | null;
  /** Whether the state is that of the server, and not the empty one of the beginning. */
  readonly isLoaded: boolean;
  /** Events were lost: what `state` shows may lack some. */
  readonly hasGap: boolean;
}

/** One run. */
export class RunStore extends Store<RunView> {
  readonly runId: string;
  readonly #source: RunSource;
  #fold = new Fold();
  #position = '';
  #isLoaded = false;
  #hasGap = false;

  constructor(source: RunSource, runId: string) {
    super(viewOf(runId));
    this.runId = runId;
    this.#source = source;
  }

  protected view(connection: Connection, error: RuncastError | null): RunView {
    const { runId } = this;
    const state = this.#fold.snapshot;
    return { runId, state, connection, error, isLoaded: this.#isLoaded, hasGap: this.#hasGap };
  }

  protected async follow(signal: AbortSignal, options: FollowOptions): Promise<void> {
    if (!this.#position && (await this.#loaded(signal))) return;
    const watch = this.#source.watch(this.runId, { ...options, after: this.#position });
    for await (const event of watch) {
      if (signal.aborted) return;
      this.#take(event);
      const { position } = watch as { readonly position?: string };
      this.#position = position || this.#position;
      this.changed();
    }
  }

  /** Begin with the state so far. Returns whether nothing will follow. */
  async #loaded(signal: AbortSignal): Promise<boolean> {
    try {
      const found = await this.#source.snapshot?.(this.runId);
      if (!found || signal.aborted) return signal.aborted;
      this.#fold = new Fold(found.state);
      this.#position = found.position;
      this.#isLoaded = true;
      this.changed();
      return isTerminal({ type: found.state.status });
    } catch (error) {
      // A server that is away for a while comes back: the watch waits for it, and reads all events.
      if (error instanceof RuncastError && error.retryable) return false;
      throw error;
    }
  }

  #take(event: RunEvent): void {
    this.#isLoaded = true;
    if (!isGap(event)) {
      this.#fold.apply(event);
      return;
    }
    this.#hasGap = true;
    // What follows is another epoch, or the same one from its beginning.
    if (event.data.reason !== 'trimmed') this.#fold = new Fold();
  }
}

function viewOf(runId: string): RunView {
  const connection = { state: 'connecting' } as const;
  const { snapshot } = new Fold();
  return { runId, state: snapshot, connection, error: null, isLoaded: false, hasGap: false };
}

/** Where lists of runs come from: a `Client`. */
export interface FeedSource {
  feed(options?: FollowOptions & ListOptions): AsyncIterable<RunChange>;
}

export interface ListOptions {
  readonly status?: RunStatus;
  readonly function?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** The most runs to show: 50, at most 500. */
  readonly limit?: number;
}

/** What a page shows of a list of runs. */
export interface ListView {
  /** Newest first. */
  readonly runs: readonly RunInfo[];
  readonly connection: Connection;
  readonly error: RuncastError | null;
  readonly isLoaded: boolean;
  /** Whether older runs were left out. */
  readonly hasMore: boolean;
}

/** A live list of runs. */
export class ListStore extends Store<ListView> {
  readonly #source: FeedSource;
  readonly #options: ListOptions;
  readonly #limit: number;
  readonly #runs = new Map<string, RunInfo>();
  #isLoaded = false;
  #hasMore = false;

  constructor(source: FeedSource, options: ListOptions = {}) {
    const connection = { state: 'connecting' } as const;
    super({ runs: [], connection, error: null, isLoaded: false, hasMore: false });
    this.#source = source;
    this.#options = options;
    this.#limit = options.limit ?? 50;
  }

  protected view(connection: Connection, error: RuncastError | null): ListView {
    const byAge = (one: RunInfo, other: RunInfo) =>
      other.created_at - one.created_at || (other.run_id < one.run_id ? -1 : 1);
    const runs = [...this.#runs.values()].sort(byAge);
    for (const { run_id } of runs.splice(this.#limit)) {
      this.#hasMore = true;
      this.#runs.delete(run_id);
    }
    const isLoaded = this.#isLoaded || connection.state === 'open';
    return { runs, connection, error, isLoaded, hasMore: this.#hasMore };
  }

  protected async follow(signal: AbortSignal, options: FollowOptions): Promise<void> {
    const limit = this.#limit;
    this.#runs.clear();
    for await (const change of this.#source.feed({ ...options, ...this.#options, limit })) {
      if (signal.aborted) return;
      this.#isLoaded = true;
      if (change.gap) this.#runs.clear(); // the list follows
      if (change.deleted) this.#runs.delete(change.deleted);
      if (change.run) this.#take(change.run);
      this.changed();
    }
  }

  #take(run: RunInfo): void {
    const { status } = this.#options;
    if (!status || run.status === status) this.#runs.set(run.run_id, run);
    else this.#runs.delete(run.run_id);
  }
}

/** Where the runs of a thread come from: a `Client`. */
export interface ThreadSource {
  watchThread(
    labels: Readonly<Record<string, string>>,
    options?: FollowOptions,
  ): AsyncIterable<ThreadChange>;
}

/** What a page shows of a thread. */
export interface ThreadView {
  /** In the order in which they began. */
  readonly runs: readonly { readonly runId: string; readonly state: Snapshot }[];
  readonly connection: Connection;
  readonly error: RuncastError | null;
  /** Runs for which there is no room now. */
  readonly leftOut: readonly string[];
  /** Pass it as `before` to `runs`, to list older runs; "" if there are none. */
  readonly earlier: string;
}

/** All runs with some labels, also those that begin later. */
export class ThreadStore extends Store<ThreadView> {
  readonly #source: ThreadSource;
  readonly #labels: Readonly<Record<string, string>>;
  readonly #folds = new Map<string, Fold>();
  readonly #leftOut = new Set<string>();
  #earlier = '';
  #position = '';

  constructor(source: ThreadSource, labels: Readonly<Record<string, string>>) {
    const connection = { state: 'connecting' } as const;
    super({ runs: [], connection, error: null, leftOut: [], earlier: '' });
    this.#source = source;
    this.#labels = labels;
  }

  protected view(connection: Connection, error: RuncastError | null): ThreadView {
    const runs = Array.from(this.#folds, ([runId, { snapshot }]) => ({ runId, state: snapshot }));
    const began = ({ state }: { state: Snapshot }) => state.started_at ?? Number.POSITIVE_INFINITY;
    runs.sort((one, other) => began(one) - began(other) || 0);
    return { runs, connection, error, leftOut: [...this.#leftOut], earlier: this.#earlier };
  }

  protected async follow(signal: AbortSignal, options: FollowOptions): Promise<void> {
    const watch = this.#source.watchThread(this.#labels, { ...options, after: this.#position });
    for await (const change of watch) {
      if (signal.aborted) return;
      this.#take(change);
      const { position } = watch as { readonly position?: string };
      this.#position = position || this.#position;
      this.changed();
    }
  }

  #take(change: ThreadChange): void {
    if ('run' in change) this.#apply(change.run, change.event);
    else if ('earlier' in change) this.#earlier = change.earlier;
    else if ('left_out' in change) this.#leftOut.add(change.left_out);
    else if ('deleted' in change) this.#drop(change.deleted);
    else if ('left' in change) this.#drop(change.left);
    else if ('gap' in change) {
      this.#folds.clear(); // everything begins again
      this.#leftOut.clear();
      this.#earlier = '';
    }
  }

  #apply(runId: string, event: RunEvent): void {
    this.#leftOut.delete(runId);
    const isAgain = isGap(event) && event.data.reason !== 'trimmed';
    const known = isAgain ? undefined : this.#folds.get(runId);
    const fold = known ?? new Fold();
    if (!isGap(event)) fold.apply(event);
    this.#folds.set(runId, fold);
  }

  #drop(runId: string): void {
    this.#folds.delete(runId);
    this.#leftOut.delete(runId);
  }
}
