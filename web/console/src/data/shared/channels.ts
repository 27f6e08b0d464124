/** The connections of the shared worker. */

import { type Frame, FrameDecoder } from './frames';
import { LOOK, type Step } from './messages';

type Word =
  | { readonly kind: 'joined'; readonly place: string }
  | { readonly kind: 'frames'; readonly frames: readonly Step[] }
  | { readonly kind: 'full' | 'cut' };

/** What one window follows. */
export interface Subscription {
  readonly run: string;
  readonly list: string;
  readonly after: string;
  say(word: Word): void;
  /** What has come since the window was told: it is told once for each piece of a stream. */
  steps: Step[];
  leave?: () => void;
}

/** The most runs on one connection (docs/protocol.md ). */
const MAX_RUNS = 32;
/** Windows that open together share one new connection, in ms. */
const GATHER_MS = 20;
/** The first and the longest wait before a lost connection is opened again, in ms. */
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;
/** A server sends something every 15 s; after this silence a connection is dead, in ms. */
const SILENT_MS = 35_000;
/** A connection that was silent for so long is opened again when a window joins, in ms. */
const STALE_MS = 3000;
/**
 * A connection is opened again at this age, in ms: the server checks the cookie only at its beginning,
 * and an application may have signed the person out.
 */
const MAX_AGE_MS = 60_000;

/** One connection, and those who read from it. It is open while there is somebody. */
abstract class Channel {
  protected readonly subscriptions = new Set<Subscription>();
  readonly #base: string;
  readonly #beat: () => void;
  #cut = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #byteAt = 0;
  #failures = 0;

  /** @param beat called when the connection lives. */
  constructor(base: string, beat: () => void) {
    this.#base = base;
    this.#beat = beat;
  }

  get isEmpty(): boolean {
    return this.subscriptions.size === 0;
  }

  abstract join(subscription: Subscription): void;

  leave(subscription: Subscription): void {
    this.subscriptions.delete(subscription);
    if (this.isEmpty) this.restart();
  }

  /** The path and the headers of the connection as it should be now. */
  protected abstract request(): { path: string; after: string; link?: string };
  protected abstract take(frame: Frame): void;
  protected opened(): void {}
  protected abstract lost(): void;

  protected flush(): void {
    for (const each of this.subscriptions) {
      if (!each.steps.length) continue;
      each.say({ kind: 'frames', frames: each.steps });
      each.steps = [];
    }
  }

  /** Whether the connection has to be opened again to be sure that it lives. */
  protected get isStale(): boolean {
    return Date.now() - this.#byteAt > STALE_MS;
  }

  /** Open the connection for what is followed now, and end the one before. */
  restart(waitMs = GATHER_MS): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#follow(), waitMs);
  }

  async #follow(): Promise<void> {
    this.#cut.abort();
    if (this.isEmpty) return;
    const cut = new AbortController();
    this.#cut = cut;
    await this.#read(cut).catch(() => {});
    if (cut.signal.aborted && cut.signal.reason !== SILENT) return; // another one was opened
    this.lost();
    const waitMs = Math.min(FIRST_WAIT_MS * 2 ** this.#failures++, LONGEST_WAIT_MS);
    this.restart(waitMs * (1 + Math.random() / 2));
  }

  async #read(cut: AbortController): Promise<void> {
    const { path, after, link } = this.request();
    const begun = Date.now();
    let silence = setTimeout(() => cut.abort(SILENT), SILENT_MS);
    const age = setTimeout(() => this.restart(), MAX_AGE_MS);
    try {
      const response = await fetch(this.#base + path, {
        headers: {
          accept: 'text/event-stream',
          ...(after && { 'last-event-id': after }),
          ...(link && { 'runcast-link': link }),
        },
        credentials: link ? 'omit' : 'same-origin',
        cache: 'no-store',
        redirect: 'error',
        signal: cut.signal,
      });
      if (response.status !== 200 || !response.body) return;
      this.opened();
      const decoder = new FrameDecoder(after);
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(silence);
        silence = setTimeout(() => cut.abort(SILENT), SILENT_MS);
        if (this.#byteAt >= begun) this.#failures = 0; // not only its beginning has come
        this.#byteAt = Date.now();
        for (const frame of decoder.feed(value)) this.take(frame);
        this.flush();
        this.#beat();
      }
    } finally {
      clearTimeout(silence);
      clearTimeout(age);
    }
  }
}

const SILENT = 'silent';

/** All runs that windows show; or the run of one link, which has its own way in. */
export class Runs extends Channel {
  /** Of each run, the position up to which its events have come. */
  readonly #places = new Map<string, string>();
  readonly #link: string;

  /** @param link the secret of a link; "" if the cookie of the browser counts. */
  constructor(base: string, beat: () => void, link: string) {
    super(base, beat);
    this.#link = link;
  }

  join(subscription: Subscription): void {
    const { run, after } = subscription;
    const place = this.#places.get(run);
    if (place === undefined && this.#places.size >= MAX_RUNS) {
      subscription.say({ kind: 'full' });
      return;
    }
    this.subscriptions.add(subscription);
    if (place === undefined) this.#places.set(run, after);
    subscription.say({ kind: 'joined', place: place ?? after });
    if (place === undefined || this.isStale) this.restart();
  }

  override leave(subscription: Subscription): void {
    super.leave(subscription);
    const isFollowed = [...this.subscriptions].some(({ run }) => run === subscription.run);
    if (!isFollowed) this.#places.delete(subscription.run);
  }

  protected request() {
    const link = this.#link;
    const [[run, after] = ['', '']] = this.#places;
    if (link) return { path: `runs/${encodeURIComponent(run)}/events`, after, link };
    const query = new URLSearchParams([...this.#places.keys()].map((run) => ['run', run]));
    const vector = Array.from(this.#places, (each) => each.join('=')).join(',');
    return { path: `events?${query}`, after: vector };
  }

  protected take({ id, data }: Frame): void {
    if (!data) return;
    const given = JSON.parse(data);
    const run: string = this.#link ? [...this.#places.keys()][0] : given.run;
    const { seq } = this.#link ? given : given.event;
    const place = id.split(',').find((each) => each.startsWith(`${run}=`));
    const at = this.#link ? id : (place?.slice(run.length + 1) ?? '');
    // The text of the event stays as it is: numbers keep all their digits.
    const head = this.#link ? '' : `{"run":${JSON.stringify(run)},"event":`;
    const isEvent = seq && at.endsWith(`-${seq}`) && data.startsWith(head);
    if (isEvent && this.#places.has(run)) this.#places.set(run, at);
    const event = head ? data.slice(head.length, -1) : data;
    for (const each of this.subscriptions) {
      if (each.run !== run) continue;
      each.steps.push(isEvent ? [at, event] : LOOK);
    }
  }

  protected lost(): void {
    for (const each of this.subscriptions) each.steps.push(LOOK);
    this.flush();
  }
}

/** The list of runs. */
export class Feed extends Channel {
  #place = '';
  /** Windows that wait for a connection, and those for which it is being opened. */
  readonly #waiting = new Set<Subscription>();
  #welcomed: Subscription[] = [];

  /**
   * The list is opened again for each window that joins: with the cookie that the browser has now.
   * A window without a position begins with what changes from now on.
   */
  join(subscription: Subscription): void {
    this.subscriptions.add(subscription);
    this.#waiting.add(subscription);
    this.restart();
  }

  override leave(subscription: Subscription): void {
    this.#waiting.delete(subscription);
    super.leave(subscription);
  }

  protected request() {
    const lists = new Set([...this.subscriptions].map(({ list }) => list));
    const [first] = lists;
    this.#welcomed = [...this.#waiting];
    // Windows choose among the changes: those with different lists get all of them.
    return { path: lists.size === 1 && first ? first : 'runs?limit=1', after: this.#place };
  }

  protected override opened(): void {
    for (const each of this.#welcomed) if (this.#waiting.delete(each)) this.#welcome(each);
    this.flush();
  }

  /**
   * Have a window that comes back with another position ask for the list again. No change is kept for
   * it: the changes may be of a person who has signed out since.
   */
  #welcome(subscription: Subscription): void {
    const { after } = subscription;
    subscription.say({ kind: 'joined', place: this.#place });
    if (!after || after === this.#place) return;
    subscription.steps.push([after, '{"gap":{"reason":"trimmed"}}']);
  }

  protected take({ id: place, data }: Frame): void {
    this.#place = place;
    for (const each of this.subscriptions) {
      if (!this.#waiting.has(each)) each.steps.push([place, data]);
    }
  }

  protected lost(): void {
    for (const each of [...this.subscriptions]) each.say({ kind: 'cut' });
    this.subscriptions.clear();
    this.#waiting.clear();
  }
}
