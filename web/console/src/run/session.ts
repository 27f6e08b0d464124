import { type Signal, signal } from '@preact/signals';
import type { RunEvent } from '@runcast/client';
import { LogIndex } from './model';
import { TERMINAL } from './model/fields';
import { RunLog } from './model/log';
import { advance } from './model/player';
import { type Folded, Replay } from './model/replay';
import { epochOf, positionOf, type RunInfo, type RunState, seqOf } from './model/state';

/** Where a session reads a run from: a server, or a recording. */
export interface RunSource {
  /** Whether a run that has ended may begin again. */
  readonly canBegin: boolean;
  /** The run as it is now; null if there is no such run. */
  info(): Promise<RunInfo | null>;
  /** Everything that follows a position. Returns a function that stops watching. */
  watch(after: string, listener: WatchListener): () => void;
}

export interface WatchListener {
  /** Takes an event; if it returns a promise, further events wait for it. */
  event(event: RunEvent): void | Promise<void>;
  gap(gap: { readonly reason: string; readonly before: string; readonly after: string }): void;
  connection(state: LinkState, why: string): void;
  end(): void;
  error(why: string): void;
}

export type LinkState = 'connecting' | 'live' | 'reconnecting' | 'paused' | 'idle';

/** Something that a person should know about what they see; a key of strings, and its values. */
export interface Notice {
  readonly key: 'replaced' | 'rewound' | 'trimmed' | 'failed' | 'gone' | 'draft';
  readonly values: Readonly<Record<string, string | number>>;
}

/** Runs with so many events are loaded from the beginning; of longer ones the end, at first. */
export const AUTO_EVENTS = 20_000;
/** How many events are loaded at once before those that are held. */
export const CHUNK_EVENTS = 20_000;
/** Most events that a page holds: some 100 MB with usual events. */
export const MAX_HELD = 250_000;
/** How long to wait before the server is asked again for a run whose stream it has refused. */
const AGAIN_MS = 5_000;
/** How often to look whether a run that has ended was started again. */
const RECHECK_MS = 3_000;
/** How long the view says that it is connected again. */
const RESUMED_MS = 8_000;
/** Most events that are taken in one frame, so that a frame stays short. */
const FRAME_EVENTS = 2_000;
/** Most events that wait for a frame; the stream is not read on until there is room. */
const MAX_WAITING = 10_000;

/**
 * One run as a page follows it: its events, its state at any moment, and what is going on.
 *
 * A component that reads the log, its index or a state is rendered again when these change, at most
 * once per frame: all of them read `tick`.
 */
export class RunSession {
  readonly tick = signal(0);
  /** The event after which the run is shown; null for the newest. */
  readonly cursor: Signal<number | null> = signal(null);
  readonly isPlaying = signal(false);
  readonly speed = signal(1);
  readonly link = signal<{
    readonly state: LinkState;
    readonly why: string;
    readonly isResumed: boolean;
  }>({
    state: 'connecting',
    why: '',
    isResumed: false,
  });
  /** How much of the earlier events is being loaded, from 0 to 1; null if nothing is. */
  readonly loading = signal<number | null>(null);
  readonly notices = signal<readonly Notice[]>([]);
  /** An item of the story to bring into sight. */
  readonly jump = signal<{ readonly seq: number } | null>(null);
  info: RunInfo | null = null;
  isMissing = false;
  /** Whether the run was deleted while it was shown. */
  isGone = false;
  #log = new RunLog();
  #index = new LogIndex(this.#log);
  epoch = '';
  readonly #source: RunSource;
  /** Begins a fold: at the state given, or before the first event. */
  readonly #fold: (start?: RunState) => Folded<RunState>;
  #head: Folded<RunState> | null = null;
  #replay: Replay<RunState>;
  #waiting: RunEvent[] = [];
  #room: (() => void) | null = null;
  #due: { cancel: () => void } | null = null;
  #stop: () => void = () => {};
  #isClosed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #generation = 0;

  constructor(source: RunSource, fold: (start?: RunState) => Folded<RunState>) {
    this.#source = source;
    this.#fold = fold;
    this.#replay = new Replay(this.#log, fold);
  }

  /** The events that are held. */
  get log(): RunLog {
    this.tick.value;
    return this.#log;
  }

  /** What is looked up in the events that are held. */
  get index(): LogIndex {
    this.tick.value;
    return this.#index;
  }

  /** The newest state. */
  get head(): RunState | null {
    this.tick.value;
    return this.#head?.snapshot ?? null;
  }

  /** The state that is shown. */
  get state(): RunState | null {
    const { value } = this.cursor;
    return value === null ? this.head : this.#replay.at(value);
  }

  /** The event after which the run is shown. */
  get seq(): number {
    return this.cursor.value ?? Math.max(this.#log.last, this.head?.seq ?? 0);
  }

  /** Whether more events may follow. */
  get isLive(): boolean {
    return !this.isGone && this.head !== null && !TERMINAL.has(this.head.status);
  }

  /** How many events at the beginning are not held, whether they are kept by the server or not. */
  get missingBefore(): number {
    return this.#log.events.length > 0 ? this.#log.first - 1 : (this.head?.seq ?? 0);
  }

  /** How many events the server does not keep any more, as far as known. */
  trimmedTo = 0;

  async open(): Promise<void> {
    const generation = ++this.#generation;
    this.#stop();
    let info: RunInfo | null;
    try {
      info = await this.#source.info();
    } catch (error) {
      if (generation === this.#generation && !this.#isClosed) this.#failed(error);
      return;
    }
    if (this.#isClosed || generation !== this.#generation) return;
    this.notices.value = this.notices.value.filter((each) => each.key !== 'failed');
    this.isMissing = info === null && this.info === null;
    if (info === null) {
      this.#gone();
      return;
    }
    this.isGone = false;
    this.info = info;
    this.epoch = epochOf(info.position);
    this.#head = this.#fold(info.state);
    this.#begin();
    const seq = seqOf(info.position);
    this.#watch(seq <= AUTO_EVENTS ? 0 : seq - 2_000);
    this.#changed();
  }

  close(): void {
    this.#isClosed = true;
    this.#stop();
    this.#due?.cancel();
    clearTimeout(this.#timer);
    this.#room?.();
    this.isPlaying.value = false;
  }

  #begin(): void {
    this.#log = new RunLog();
    this.#replay = new Replay(this.#log, this.#fold);
    this.#index = new LogIndex(this.#log);
    this.#waiting = [];
    this.trimmedTo = 0;
    this.cursor.value = null;
    this.isPlaying.value = false;
  }

  #watch(after: number): void {
    const generation = this.#generation;
    const isOurs = (): boolean => generation === this.#generation && !this.#isClosed;
    let wasLost = false;
    this.#stop = this.#source.watch(positionOf(this.epoch, after), {
      event: (event) => {
        if (!isOurs()) return;
        this.#waiting.push(event);
        this.#schedule();
        if (this.#waiting.length < MAX_WAITING) return;
        return new Promise((resolve) => {
          this.#room = resolve;
        });
      },
      gap: (gap) => {
        if (isOurs()) this.#gap(gap);
      },
      connection: (state, why) => {
        if (!isOurs()) return;
        if (state === 'reconnecting') wasLost = true;
        this.link.value = { state, why, isResumed: state === 'live' && wasLost };
        if (state !== 'live' || !wasLost) return;
        wasLost = false;
        setTimeout(() => {
          if (this.link.value.isResumed) this.link.value = { ...this.link.value, isResumed: false };
        }, RESUMED_MS);
      },
      end: () => {
        if (!isOurs()) return;
        this.link.value = { state: 'idle', why: '', isResumed: false };
        if (this.#source.canBegin) this.#recheck(generation);
      },
      error: (why) => {
        if (isOurs()) void this.#refused(generation, why);
      },
    });
  }

  /** The stream cannot go on: because the run was deleted, or for a reason that may pass. */
  async #refused(generation: number, why: string): Promise<void> {
    const info = await this.#source.info().catch(() => undefined);
    if (generation !== this.#generation || this.#isClosed) return;
    if (info === null) this.#gone();
    else this.#failed(new Error(why));
  }

  /** There is no such run, or none any more. */
  #gone(): void {
    this.link.value = { state: 'idle', why: '', isResumed: false };
    if (!this.isMissing && !this.isGone) {
      this.isGone = true;
      this.#notice({ key: 'gone', values: {} });
    }
    this.#changed();
  }

  /** Look now and then whether a run that has ended was started again. */
  #recheck(generation: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (generation !== this.#generation || this.#isClosed) return;
      if (document.hidden) {
        this.#recheck(generation);
        return;
      }
      // From its last position, a run that was not started again gives nothing and ends.
      const again = (): void => {
        if (generation === this.#generation) this.#recheck(generation);
      };
      const last = this.#head?.snapshot.seq ?? 0;
      this.#stop = this.#source.watch(positionOf(this.epoch, last), {
        event: () => {},
        gap: (gap) => {
          if (generation === this.#generation && !this.#isClosed) this.#gap(gap);
        },
        connection: () => {},
        end: again,
        error: again,
      });
    }, RECHECK_MS);
  }

  #failed(error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    this.notices.value = [
      ...this.notices.value.filter((each) => each.key !== 'failed'),
      { key: 'failed', values: { why } },
    ];
    this.link.value = { state: 'reconnecting', why, isResumed: false };
    this.#changed();
    const generation = this.#generation;
    const again = (): void => {
      if (generation !== this.#generation || this.#isClosed) return;
      if (document.hidden) this.#timer = setTimeout(again, AGAIN_MS);
      else void this.open();
    };
    clearTimeout(this.#timer);
    this.#timer = setTimeout(again, AGAIN_MS);
  }

  #gap({ reason, before, after }: { reason: string; before: string; after: string }): void {
    this.#flush();
    if (reason === 'trimmed' && epochOf(after) === this.epoch) {
      const count = seqOf(after) - Math.max(seqOf(before), this.#log.last);
      if (this.#log.events.length === 0) this.trimmedTo = seqOf(after);
      else if (count > 0) this.#notice({ key: 'trimmed', values: { count } });
      return;
    }
    this.#notice({ key: reason === 'replaced' ? 'replaced' : 'rewound', values: {} });
    void this.open();
  }

  #notice(notice: Notice): void {
    this.notices.value = [...this.notices.value.slice(-4), notice];
  }

  /** Take the events that wait before the browser paints next, or soon if the page is hidden. */
  #schedule(): void {
    if (this.#due || this.#isClosed) return;
    const run = (): void => {
      this.#due?.cancel();
      this.#due = null;
      this.#flush(FRAME_EVENTS);
      if (this.#waiting.length > 0) this.#schedule();
    };
    // A page that is hidden gets no frames.
    const timer = setTimeout(run, document.hidden ? 200 : 1000);
    const frame = requestAnimationFrame(run);
    this.#due = {
      cancel: () => {
        cancelAnimationFrame(frame);
        clearTimeout(timer);
      },
    };
  }

  #flush(most = Number.POSITIVE_INFINITY): void {
    const taken = this.#waiting.splice(
      0,
      most === Number.POSITIVE_INFINITY ? this.#waiting.length : most,
    );
    if (this.#waiting.length < MAX_WAITING / 2) {
      this.#room?.();
      this.#room = null;
    }
    const added = this.#log.append(taken);
    this.#index.add(added);
    for (const event of added) this.#head?.apply(event); // which ignores what its state has seen
    if (added.some((event) => TERMINAL.has(event.type))) void this.#lookAgain();
    if (this.#log.events.length > MAX_HELD) this.#forget();
    if (added.length > 0) this.#changed();
  }

  /** Ask for what is known only after the end: the traceback, in debug mode. */
  async #lookAgain(): Promise<void> {
    const info = await this.#source.info().catch(() => null);
    if (!info || this.#isClosed || epochOf(info.position) !== this.epoch) return;
    this.info = info;
    this.#changed();
  }

  /** Drop the first events, so that the memory of a page is bounded. */
  #forget(): void {
    const kept = this.#log.events.slice(-Math.floor(MAX_HELD * 0.8));
    this.#log = new RunLog();
    this.#log.append(kept);
    this.#replay = new Replay(this.#log, this.#fold);
    this.#index = new LogIndex(this.#log);
  }

  #changed(): void {
    this.tick.value = this.tick.peek() + 1;
  }

  /** Load events before those that are held: the next ones, or all that fit. */
  async loadEarlier({ all = false } = {}): Promise<void> {
    if (this.loading.value !== null) return;
    const generation = this.#generation;
    const wanted = all ? MAX_HELD : this.#log.events.length + CHUNK_EVENTS;
    this.loading.value = 0;
    try {
      while (
        this.missingBefore > this.trimmedTo &&
        this.#log.events.length < Math.min(wanted, MAX_HELD)
      ) {
        const first = this.#log.first;
        const from = Math.max(this.trimmedTo, first - 1 - CHUNK_EVENTS);
        const chunk = await this.#read(from, first - 1);
        if (generation !== this.#generation || this.#isClosed) return;
        if (chunk.length === 0) break;
        this.#log.prepend(chunk);
        this.#index = new LogIndex(this.#log);
        this.#changed();
      }
    } catch (error) {
      this.#notice({
        key: 'failed',
        values: { why: error instanceof Error ? error.message : String(error) },
      });
    } finally {
      this.loading.value = null;
      this.#changed();
    }
  }

  /** Read the events after one `seq` up to another; fewer if the server does not have them. */
  #read(from: number, to: number): Promise<RunEvent[]> {
    const found: RunEvent[] = [];
    return new Promise((resolve, reject) => {
      const done = (): void => {
        stop();
        resolve(found);
      };
      const stop = this.#source.watch(positionOf(this.epoch, from), {
        event: (event) => {
          if (event.seq <= to) found.push(event);
          this.loading.value = Math.min(1, (event.seq - from) / (to - from));
          if (event.seq >= to) done();
        },
        gap: ({ reason, after }) => {
          const isHere = reason === 'trimmed' && epochOf(after) === this.epoch;
          this.trimmedTo = isHere ? Math.min(seqOf(after), to) : to;
          if (this.trimmedTo >= to) done();
        },
        connection: () => {},
        end: done,
        error: (why) => reject(new Error(why)),
      });
    });
  }

  /** Show the run as it was after an event; null for the newest. */
  seek(seq: number | null): void {
    const isNewest = seq === null || (seq >= this.#log.last && !this.isPlaying.value);
    this.cursor.value = isNewest ? null : Math.max(seq, this.#log.first);
  }

  /** Bring what began with an event into sight, and show it if it is in the future of what is shown. */
  show(seq: number): void {
    if (seq > this.seq) this.seek(seq);
    this.jump.value = { seq };
  }

  /** `seek`, to be handed on. */
  readonly seekTo = (seq: number): void => this.seek(seq);

  /** Play from what is shown, or from the beginning if that is the end. */
  play(): void {
    if (this.isPlaying.value || this.#log.events.length === 0) return;
    this.isPlaying.value = true;
    if (this.cursor.value === null) this.cursor.value = this.#log.first;
    let time = this.#log.timeAt(this.cursor.value);
    let shown = this.cursor.value;
    let before = performance.now();
    const frame = (): void => {
      if (!this.isPlaying.value || this.#isClosed) return;
      const now = performance.now();
      // Somebody moved the slider meanwhile.
      if (this.cursor.value !== shown) time = this.#log.timeAt(this.cursor.value ?? this.#log.last);
      time = advance(this.#log, time, (now - before) / 1000, this.speed.value);
      before = now;
      if (time >= this.#log.end) {
        this.pause(null);
        return;
      }
      shown = Math.max(this.#log.first, this.#log.seqAt(time));
      this.cursor.value = shown;
      this.clock.value = time;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  /** The time that is played, between events; 0 while nothing is played. */
  readonly clock = signal(0);

  pause(at: number | null = this.cursor.value): void {
    this.isPlaying.value = false;
    this.clock.value = 0;
    this.seek(at);
  }
}
