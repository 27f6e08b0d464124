/** A list of runs that stays current: pages of older runs, and each run that changes. */

import { batch, signal } from '@preact/signals';
import type { RunInfo } from '@runcast/client';
import { client } from '../data/client';
import { loadFunctions } from '../data/functions';
import { t } from '../i18n';
import { openLink } from '../shell/connection';
import { type Filters, isNewerThan, matches, selectionOf } from './filters';

/** Runs of one page. */
const PAGE = 50;
/** The most runs that a list holds; a person who looks further back filters. */
const MOST = 5000;
/** How long changes are gathered before the list is drawn again. */
const GATHER_MS = 80;

export type ListState = 'loading' | 'ready' | 'failed';

export class RunList {
  /** The newest first. */
  readonly rows = signal<readonly RunInfo[]>([]);
  readonly state = signal<ListState>('loading');
  /** Why the list is not complete; "" if nothing is wrong. */
  readonly problem = signal('');
  readonly isLoadingOlder = signal(false);
  /** Whether older runs can be loaded. */
  readonly hasOlder = signal(false);
  readonly isFull = signal(false);

  readonly #filters: Filters;
  readonly #stop = new AbortController();
  readonly #changes = new Map<string, RunInfo | null>();
  #before: string | null = null;
  #isFollowing = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(filters: Filters) {
    this.#filters = filters;
  }

  /** Try again what failed: to follow the runs, or to load older ones. */
  retry(): void {
    this.problem.value = '';
    if (this.#isFollowing) void this.loadOlder();
    else this.open();
  }

  /** Follow the runs until `close`. */
  open(): void {
    this.#isFollowing = true;
    if (this.state.value === 'failed') this.state.value = 'loading';
    const link = openLink();
    const { signal: stop } = this.#stop;
    let wasLost = false;
    // Changes of all runs: which of them belong to the list is decided here, for each status.
    const watch = client.feed({
      ...selectionOf({ ...this.#filters, status: null }),
      limit: PAGE,
      signal: stop,
      onConnection: (connection) => {
        if (connection.state === 'open') {
          link.set('live');
          if (wasLost) void loadFunctions(); // the server may have been restarted
          if (wasLost || this.state.value !== 'ready') void this.#loadNewest();
          wasLost = false;
        } else if (connection.state === 'waiting') {
          wasLost = true;
          link.set('reconnecting', connection.error.message);
        } else if (connection.state === 'closed') link.close();
      },
    });
    watch.listen({
      event: (change) => {
        if (change.run) this.#change(change.run.run_id, change.run);
        else if (change.deleted) this.#change(change.deleted, null);
        else {
          link.lose(t('runs.gap'));
          this.rows.value = [];
          void this.#loadNewest();
        }
      },
      error: (error) => {
        this.#isFollowing = false;
        link.close();
        this.#fail(error);
      },
    });
  }

  close(): void {
    this.#stop.abort();
    clearTimeout(this.#timer);
  }

  /** Load the next page of older runs, unless that is under way. */
  async loadOlder(): Promise<void> {
    if (this.isLoadingOlder.value || !this.hasOlder.value || !this.#before) return;
    this.isLoadingOlder.value = true;
    try {
      await this.#load(this.#before);
    } finally {
      this.isLoadingOlder.value = false;
    }
  }

  async #loadNewest(): Promise<void> {
    await this.#load(null);
  }

  async #load(before: string | null): Promise<void> {
    const { signal: stop } = this.#stop;
    try {
      const selection = selectionOf(this.#filters);
      const page = await client.runs({
        ...selection,
        limit: PAGE,
        signal: stop,
        ...(before && { before }),
      });
      batch(() => {
        // A list that was loaded again keeps the older pages that it had.
        if (before || this.#before === null) this.#before = page.before;
        for (const run of page.runs) this.#changes.set(run.run_id, run);
        this.#apply();
        this.state.value = 'ready';
        this.problem.value = '';
        const last = page.runs.at(-1);
        const isInTime = !last || isNewerThan(last, this.#filters.since);
        this.isFull.value = this.rows.value.length >= MOST;
        if (before || !this.hasOlder.value) {
          this.hasOlder.value = page.before !== null && isInTime && !this.isFull.value;
        }
      });
    } catch (error) {
      if (!stop.aborted) this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.problem.value = error instanceof Error ? error.message : String(error);
    if (this.state.value === 'loading') this.state.value = 'failed';
  }

  #change(runId: string, run: RunInfo | null): void {
    this.#changes.set(runId, run);
    this.#timer ??= setTimeout(() => this.#apply(), GATHER_MS);
  }

  #apply(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#changes.size === 0) return;
    const rows = new Map(this.rows.value.map((run) => [run.run_id, run]));
    for (const [runId, run] of this.#changes) {
      const old = rows.get(runId);
      if (run && old && isOlder(run, old)) continue;
      if (run && matches(run, this.#filters)) rows.set(runId, run);
      else rows.delete(runId);
    }
    this.#changes.clear();
    const sorted = [...rows.values()].sort(
      (a, b) => b.created_at - a.created_at || (a.run_id < b.run_id ? 1 : -1),
    );
    this.rows.value = sorted.slice(0, MOST);
  }
}

/** Whether a summary is from before another one of the same run. */
function isOlder(a: RunInfo, b: RunInfo): boolean {
  const [epochA = '', seqA = '0'] = a.position.split('-');
  const [epochB = '', seqB = '0'] = b.position.split('-');
  return epochA === epochB ? Number(seqA) < Number(seqB) : epochA < epochB;
}
