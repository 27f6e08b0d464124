import { vi } from 'vitest';
import type { FollowOptions, RunEvent, RunSource } from '../src/index.js';

/** A source whose events a test writes. Each watch gets all events after its position. */
export class ScriptedSource implements RunSource {
  readonly events: RunEvent[] = [];
  readonly watches: FollowOptions[] = [];
  readonly answer = vi.fn(async () => ({}));
  readonly send = vi.fn(async () => 'm');
  readonly cancel = vi.fn(async () => ({}));
  open = 0;
  #wake = new Set<() => void>();

  fileUrl(runId: string, path: string): string {
    return `http://server/runs/${runId}/files/${encodeURIComponent(path)}`;
  }

  /** Write events; `seq` and `time` follow by themselves. */
  write(...events: (Partial<RunEvent> & { type: string })[]): void {
    for (const event of events) {
      const seq = this.events.length + 1;
      this.events.push({ seq, time: 1000 + seq, data: null, ...event });
    }
    for (const wake of this.#wake) wake();
  }

  watch(_runId: string, options: FollowOptions = {}) {
    const { events } = this;
    const wakes = this.#wake;
    const opened = (change: number) => {
      this.open += change;
    };
    this.watches.push(options);
    const watch = {
      position: options.after ?? '',
      async *[Symbol.asyncIterator](): AsyncGenerator<RunEvent> {
        let wake = () => {};
        const called = () => wake();
        wakes.add(called);
        options.signal?.addEventListener('abort', called);
        opened(1);
        options.onConnection?.({ state: 'open', isResumed: false, via: 'stream' });
        try {
          for (let place = Number(watch.position || 0); !options.signal?.aborted; ) {
            const event = events[place];
            if (event) {
              place++;
              watch.position = String(place);
              yield event;
              if (event.type === 'done') return;
            } else {
              await new Promise<void>((resolve) => {
                wake = resolve;
              });
            }
          }
        } finally {
          opened(-1);
          wakes.delete(called);
        }
      },
    };
    return watch;
  }
}

/** Wait until a page shows something. */
export const shown = (check: () => void): Promise<void> =>
  vi.waitFor(check, { timeout: 5000, interval: 10 }) as Promise<void>;
