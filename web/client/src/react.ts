/**
 * Hooks for React 18 and later, and for Preact with `preact/compat`.
 *
 *     const { state, answer } = useRun(client, runId);
 */

import { useMemo, useSyncExternalStore } from 'react';
import type { Answer } from './answers.js';
import { RuncastError } from './errors.js';
import {
  type FeedSource,
  type ListOptions,
  ListStore,
  type ListView,
  type RunSource,
  RunStore,
  type RunView,
  type Store,
  type ThreadSource,
  ThreadStore,
  type ThreadView,
} from './stores.js';

/** What a page shows of a run, and what a person can do about it. */
export interface UsedRun extends RunView {
  readonly answer: (interruptId: string, answer: Answer) => Promise<unknown>;
  readonly send: (data: unknown) => Promise<unknown>;
  readonly cancel: (reason?: string) => Promise<unknown>;
}

function useStore<V>(store: Store<V>): V {
  const current = () => store.current;
  return useSyncExternalStore(store.subscribe, current, current);
}

/**
 * A run, kept up to date while the component is shown. Leaving it never cancels the run.
 *
 * @param client a `Client`, or another source; keep it outside the component.
 */
export function useRun(client: RunSource, runId: string): UsedRun {
  const store = useMemo(() => new RunStore(client, runId), [client, runId]);
  const actions = useMemo(
    () => ({
      answer: async (interruptId: string, answer: Answer) =>
        able(client.answer, 'answer').call(client, runId, interruptId, answer),
      send: async (data: unknown) => able(client.send, 'send').call(client, runId, data),
      cancel: async (reason?: string) => able(client.cancel, 'cancel').call(client, runId, reason),
    }),
    [client, runId],
  );
  return { ...useStore(store), ...actions };
}

/** A live list of runs, newest first. */
export function useRuns(client: FeedSource, options: ListOptions = {}): ListView {
  const key = JSON.stringify(options);
  const store = useMemo(() => new ListStore(client, JSON.parse(key)), [client, key]);
  return useStore(store);
}

/** All runs with some labels, such as `{ thread: 'x' }`, also those that begin later. */
export function useThread(
  client: ThreadSource,
  labels: Readonly<Record<string, string>>,
): ThreadView {
  const key = JSON.stringify(labels);
  const store = useMemo(() => new ThreadStore(client, JSON.parse(key)), [client, key]);
  return useStore(store);
}

function able<T>(method: T | undefined, name: string): T {
  if (method) return method;
  throw new RuncastError('invalid_value', `expected a source that can ${name}`);
}
