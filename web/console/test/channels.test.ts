import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Feed, Runs, type Subscription } from '../src/data/shared/channels';

/** A connection that the worker has opened; the test writes what the server sends. */
interface Opened {
  readonly url: string;
  readonly headers: Headers;
  readonly signal: AbortSignal;
  send(text: string): Promise<void>;
}

const BASE = 'http://server/';
const opened: Opened[] = [];
let status = 200;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0);
  opened.length = 0;
  status = 200;
  vi.stubGlobal('fetch', async (url: string, init: RequestInit) => {
    let out!: ReadableStreamDefaultController<Uint8Array>;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        out = controller;
      },
    });
    const signal = init.signal as AbortSignal;
    signal.addEventListener('abort', () => out.error(signal.reason));
    const send = async (text: string) => {
      out.enqueue(new TextEncoder().encode(text));
      await vi.advanceTimersByTimeAsync(0);
    };
    opened.push({ url, headers: new Headers(init.headers), signal, send });
    return new Response(status === 200 ? body : null, { status });
  });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

function window(run: string, after = 'e-0') {
  const say = vi.fn<Subscription['say']>();
  const subscription: Subscription = {
    run,
    list: run ? '' : 'runs?limit=50',
    after,
    steps: [],
    say,
  };
  const frames = () =>
    say.mock.calls.flatMap(([word]) => (word.kind === 'frames' ? [...word.frames] : []));
  const kinds = () => say.mock.calls.map(([word]) => word.kind);
  return { subscription, frames, kinds };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const last = () => opened.at(-1) as Opened;

test('32 runs share one connection, and the next one is told that there is no room', async () => {
  const runs = new Runs(BASE, () => {}, '');
  const windows = Array.from({ length: 33 }, (_, number) => window(`r${number}`));
  for (const each of windows) runs.join(each.subscription);
  await pass(20);

  expect(opened).toHaveLength(1);
  expect(last().url.match(/run=/g)).toHaveLength(32);
  expect(windows.map(({ kinds }) => kinds()[0])).toEqual([...Array(32).fill('joined'), 'full']);

  runs.leave((windows[0] as (typeof windows)[0]).subscription);
  const late = window('late');
  runs.join(late.subscription);
  await pass(20);
  expect(late.kinds()).toEqual(['joined']);
  expect(last().url).toContain('run=late');
});

test('a window hears of its own run only, and a new connection begins where the old one was', async () => {
  const runs = new Runs(BASE, () => {}, '');
  const [one, two] = [window('a'), window('b')];
  for (const each of [one, two]) runs.join(each.subscription);
  await pass(20);
  await last().send('id: a=e-1,b=e-0\ndata: {"run":"a","event":{"seq":1,"type":"x"}}\n\n');

  expect(one.frames()).toEqual([['e-1', '{"seq":1,"type":"x"}']]);
  expect(two.frames()).toEqual([]);

  runs.restart();
  const before = last();
  await pass(20);
  expect(before.signal.aborted).toBe(true);
  expect(last().headers.get('last-event-id')).toBe('a=e-1,b=e-0');
});

test('a connection that is silent is opened again, and its windows ask the server', async () => {
  const runs = new Runs(BASE, () => {}, '');
  const { subscription, frames } = window('a');
  runs.join(subscription);
  await pass(20);
  await last().send(':\n\n');
  await pass(34_999);
  expect(last().signal.aborted).toBe(false);

  await pass(1);
  expect(last().signal.aborted).toBe(true);
  expect(frames()).toEqual([['', '']]);
  await pass(1000);
  expect(opened).toHaveLength(2);
});

test('a connection is opened again after a minute, because the cookie may be gone', async () => {
  const runs = new Runs(BASE, () => {}, '');
  const { subscription, frames } = window('a');
  runs.join(subscription);
  await pass(20);
  for (let second = 0; second < 50; second += 10) {
    await last().send(':\n\n');
    await pass(10_000);
  }
  expect([opened.length, frames()]).toEqual([1, []]);

  status = 401;
  await last().send(':\n\n');
  await pass(10_020);
  expect(opened).toHaveLength(2);
  expect(frames()).toEqual([['', '']]);
});

test('a channel that nobody follows opens nothing', async () => {
  const runs = new Runs(BASE, () => {}, '');
  const { subscription } = window('a');
  runs.join(subscription);
  await pass(20);
  runs.leave(subscription);
  await pass(20);

  expect(last().signal.aborted).toBe(true);
  await pass(120_000);
  expect(opened).toHaveLength(1);
});

test('a window that comes back gets no change of the list from before', async () => {
  const feed = new Feed(BASE, () => {});
  const first = window('', '');
  feed.join(first.subscription);
  await pass(20);
  const changes = [1, 2, 3].map((each) => `id: p${each}\ndata: {"deleted":"r${each}"}\n\n`);
  await last().send(changes.join(''));
  const [same, behind] = [window('', 'p3'), window('', 'p1')];
  for (const each of [same, behind]) feed.join(each.subscription);
  await pass(20);

  expect(last().headers.get('last-event-id')).toBe('p3');
  expect(same.frames()).toEqual([]);
  expect(behind.frames()).toEqual([['p1', '{"gap":{"reason":"trimmed"}}']]);
});
