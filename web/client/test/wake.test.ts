import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { type Connection, connect, type RunEvent } from '../src/index.js';
import { SpoilingProxy } from './proxy.js';
import { Server, soon } from './server.js';

/** What a page has: a document that is shown or hidden, and a window. */
class FakeDocument extends EventTarget {
  visibilityState = 'visible';
  baseURI = 'http://127.0.0.1/';
}

const page = { document: new FakeDocument(), window: new EventTarget() };
const server = new Server({ heartbeat_s: '0.1' });
let proxy: SpoilingProxy;

beforeAll(async () => {
  await server.start();
  proxy = await new SpoilingProxy(server.port).start();
}, 60_000);
afterAll(async () => {
  await proxy.end();
  await server.end();
});
beforeEach(() => {
  page.document = new FakeDocument();
  page.window = new EventTarget();
  vi.stubGlobal('document', page.document);
  vi.stubGlobal('window', page.window);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** A watch whose stream falls silent for an hour after its first events. */
async function silent(): Promise<{ rest: Promise<RunEvent[]>; connections: Connection[] }> {
  const run = await connect(server.url).invoke('emit_events', { n: 30, rate: 0, size: 30 });
  proxy.spoil([{ fault: 'stall', after_bytes: 600 }]);
  const connections: Connection[] = [];
  const watch = connect({ url: proxy.url, timeoutS: 3600 }).watch(run, {
    onConnection: (connection) => connections.push(connection),
  });
  const events: RunEvent[] = [];
  let first = () => {};
  const begun = new Promise<void>((resolve) => {
    first = resolve;
  });
  const rest = (async () => {
    for await (const event of watch) {
      events.push(event);
      if (events.length === 3) first();
    }
    return events;
  })();
  await soon(begun, 'the first events');
  return { rest, connections };
}

function sleep(seconds: number): void {
  vi.useFakeTimers({ toFake: ['Date'] });
  vi.setSystemTime(Date.now() + seconds * 1000);
}

const wakes: [string, () => void][] = [
  ['is shown again', () => page.document.dispatchEvent(new Event('visibilitychange'))],
  ['is online again', () => page.window.dispatchEvent(new Event('online'))],
  [
    'comes out of the back/forward cache',
    () => page.window.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true })),
  ],
];

test.each(wakes)('a page that slept and %s continues at once', async (_, wake) => {
  const { rest, connections } = await silent();
  sleep(600);
  wake();
  const events = await soon(rest, 'the rest of the events');

  expect(events.map(({ seq }) => seq)).toEqual(events.map((__, index) => index + 1));
  expect(events.at(-1)?.type).toBe('done');
  expect(connections.map(({ state }) => state)).toEqual(['open', 'connecting', 'open', 'closed']);
  expect(connections[2]).toMatchObject({ isResumed: true });
});

test('a page that was hidden for a moment keeps its connection', async () => {
  const { rest } = await silent();
  page.document.visibilityState = 'hidden';
  sleep(600);
  page.document.dispatchEvent(new Event('visibilitychange'));
  expect(proxy.streams).toBe(1);
  vi.setSystemTime(Date.now() - 599_000);
  page.document.visibilityState = 'visible';
  page.document.dispatchEvent(new Event('visibilitychange'));
  expect(proxy.streams).toBe(1);

  vi.setSystemTime(Date.now() + 599_000);
  page.document.dispatchEvent(new Event('visibilitychange'));
  await soon(rest);
  expect(proxy.streams).toBe(2);
});

test('a page that waits for its server tries at once when it is online', async () => {
  const run = await connect(server.url).invoke('emit_events', { n: 5, rate: 0 });
  proxy.spoil([{ fault: 'refuse' }]);
  const watch = connect(proxy.url).watch(run, {
    reconnect: { firstS: 3600, longestS: 3600 },
    onConnection: ({ state }) => {
      if (state === 'waiting') setTimeout(() => page.window.dispatchEvent(new Event('online')), 1);
    },
  });
  const ended = new Promise<void>((end, error) => watch.listen({ end, error }));
  await soon(ended);

  expect(proxy.streams).toBe(2);
});

test('a watch that was closed leaves nothing on the page', async () => {
  const listeners = new Set<string>();
  for (const target of [page.document, page.window]) {
    vi.spyOn(target, 'addEventListener').mockImplementation((name) => void listeners.add(name));
    vi.spyOn(target, 'removeEventListener').mockImplementation(
      (name) => void listeners.delete(name),
    );
  }
  const run = await connect(server.url).invoke('emit_events', { n: 5, rate: 0 });
  const ended = new Promise<void>((end, error) => {
    connect(server.url).watch(run).listen({ end, error });
  });
  expect(listeners).toEqual(new Set(['visibilitychange', 'online', 'pageshow']));
  await soon(ended);
  expect(listeners).toEqual(new Set());
});
