import { type BasicClient, fold, isGap, RuncastError, type RunEvent } from '@runcast/client';
import { isReleased } from '../data/release';
import { epochOf, positionOf, type RunInfo, seqOf } from './model/state';
import type { RunSource, WatchListener } from './session';

/** A run on a server. */
export function sourceOf(client: BasicClient, runId: string): RunSource {
  return {
    canBegin: true,
    async info() {
      try {
        return (await client.snapshot(runId)) as unknown as RunInfo;
      } catch (error) {
        if (error instanceof RuncastError && error.status === 404) return null;
        throw error;
      }
    },
    watch(after, listener) {
      let wasOpen = false;
      const watch = client.watch(runId, {
        after,
        onConnection(connection) {
          if (connection.state === 'open') {
            wasOpen = true;
            listener.connection('live', '');
          } else if (connection.state === 'waiting' && isReleased.value) {
            listener.connection('paused', ''); // nobody looks
          } else if (connection.state === 'waiting') {
            listener.connection('reconnecting', connection.error.message);
          } else if (connection.state === 'connecting' && !wasOpen) {
            listener.connection('connecting', '');
          }
        },
      });
      void take(watch, listener);
      return () => watch.close();
    },
  };
}

async function take(watch: AsyncIterable<RunEvent>, listener: WatchListener): Promise<void> {
  try {
    for await (const event of watch) {
      if (isGap(event)) listener.gap(event.data);
      else await listener.event(event);
    }
    listener.end();
  } catch (error) {
    listener.error(error instanceof Error ? error.message : String(error));
  }
}

/** A run that was recorded: what `runcast export` writes into a page. */
export interface Recording {
  /** The run as the server describes it; if `state` is missing, the events give it. */
  readonly run?: Partial<RunInfo>;
  readonly events: readonly RunEvent[];
}

/** A run of a recording. It needs no server. */
export function recorded({ run = {}, events }: Recording): RunSource {
  const state = run.state ?? (fold(events) as unknown as RunInfo['state']);
  const info: RunInfo = {
    run_id: '',
    function: state.function,
    status: state.status,
    labels: state.labels,
    created_at: state.started_at ?? 0,
    ended_at: state.ended_at,
    position: positionOf('0', state.seq),
    ...run,
    state,
  };
  return {
    canBegin: false,
    info: async () => info,
    watch(after, listener) {
      let isStopped = false;
      const from = seqOf(after);
      void (async () => {
        const first = events[0]?.seq ?? 1;
        if (first > 0 && from < first - 1) {
          const position = positionOf(epochOf(after), first - 1);
          listener.gap({ reason: 'trimmed', before: after, after: position });
        }
        for (const event of events) {
          if (isStopped) return;
          if (isGap(event)) listener.gap(event.data);
          else if (event.seq > from) await listener.event(event);
        }
        if (!isStopped) listener.end();
      })();
      return () => {
        isStopped = true;
      };
    },
  };
}
