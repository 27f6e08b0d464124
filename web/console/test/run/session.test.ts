import { Fold } from '@runcast/client';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Folded } from '../../src/run/model/replay';
import type { RunInfo, RunState } from '../../src/run/model/state';
import { RunSession, type RunSource, type WatchListener } from '../../src/run/session';

/** A run of a server, of which a test says what the server answers. */
class Run implements RunSource {
  readonly canBegin = true;
  /** What the server says of the run; an error if it does not answer. */
  answer: RunInfo | null | Error = {
    run_id: 'r',
    function: 'f',
    status: 'running',
    labels: {},
    created_at: 0,
    ended_at: null,
    position: 'e-0',
    state: new Fold().snapshot,
  } as unknown as RunInfo;
  asked = 0;
  readonly listeners: WatchListener[] = [];

  async info(): Promise<RunInfo | null> {
    this.asked += 1;
    if (this.answer instanceof Error) throw this.answer;
    return this.answer;
  }

  watch(_: string, listener: WatchListener): () => void {
    this.listeners.push(listener);
    return () => {};
  }

  /** The stream ends because the server refuses it. */
  async refuse(why: string): Promise<void> {
    this.listeners.at(-1)?.error(why);
    await vi.advanceTimersByTimeAsync(0);
  }
}

let run: Run;
let session: RunSession;

beforeEach(async () => {
  vi.useFakeTimers();
  run = new Run();
  session = new RunSession(run, (start) => new Fold(start as never) as unknown as Folded<RunState>);
  await session.open();
});

afterEach(() => {
  session.close();
  vi.useRealTimers();
});

const keys = () => session.notices.value.map((each) => each.key);

test('a run that was deleted while its window was away is said to be deleted', async () => {
  expect(session.isLive).toBe(true);
  run.answer = null;
  await run.refuse("there is no run 'r'");

  expect(keys()).toEqual(['gone']);
  expect(session.link.value.state).toBe('idle');
  expect(session.isLive).toBe(false);
  const { asked } = run;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(run.asked).toBe(asked);
});

test('a stream that the server refuses is asked for again, as the window says', async () => {
  run.answer = new Error('no');
  await run.refuse('no');
  expect(session.link.value).toMatchObject({ state: 'reconnecting', why: 'no' });
  await vi.advanceTimersByTimeAsync(5_000);
  expect(keys()).toEqual(['failed']);

  run.answer = new Run().answer;
  await vi.advanceTimersByTimeAsync(5_000);

  expect(keys()).toEqual([]);
  expect(run.listeners).toHaveLength(2);
  expect(session.isLive).toBe(true);
});

test('a run that is deleted while its stream is refused is said to be deleted, once', async () => {
  run.answer = new Error('no');
  await run.refuse('no');
  run.answer = null;
  await vi.advanceTimersByTimeAsync(20_000);

  expect(keys()).toEqual(['gone']);
  expect(session.isMissing).toBe(false);
});

test('a closed view asks for nothing more', async () => {
  run.answer = new Error('no');
  await run.refuse('no');
  session.close();
  const { asked } = run;
  await vi.advanceTimersByTimeAsync(60_000);

  expect(run.asked).toBe(asked);
});
