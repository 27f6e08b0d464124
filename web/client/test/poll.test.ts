import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Client, type Connection, connect, type EventOfRun } from '../src/index.js';
import { SpoilingProxy } from './proxy.js';
import { Server, taken } from './server.js';

/** A network that holds every stream back until its end, which a live stream never has. */

const server = new Server({ long_poll_s: '1' });
let proxy: SpoilingProxy;
let direct: Client;
let client: Client;

beforeAll(async () => {
  await server.start();
  proxy = await new SpoilingProxy(server.port).start();
  direct = connect(server.url);
}, 60_000);
afterAll(async () => {
  await proxy.end();
  await server.end();
});
beforeEach(() => {
  proxy.spoil([{ fault: 'hold', always: true }]);
  client = connect(proxy.url);
});

test('several runs are followed by asking, each event once', async () => {
  const runs = [
    await direct.invoke('write', { words: 2 }),
    await direct.invoke('write', { words: 3, gate: 'polled' }),
  ];
  const seen: EventOfRun[] = [];
  for await (const each of client.watchAll(runs, { bufferedS: 0.3 })) {
    seen.push(each);
    const isHalf = each.run === runs[1] && each.event.type === 'progress';
    if (isHalf) await direct.invoke('open_gate', { gate: 'polled' }, { key: 'once' });
  }

  for (const run of runs) {
    const own = seen.filter((each) => each.run === run).map(({ event }) => event);
    expect(own.map(({ seq }) => seq)).toEqual(own.map((_, place) => place + 1));
    expect(own.at(-1)?.type).toBe('done');
  }
  expect(proxy.streams).toBe(1);
});

test('a position of polling continues in a stream', async () => {
  const runs = [await direct.invoke('write', { words: 2 }), await direct.invoke('write', {})];
  const watch = client.watchAll(runs, { bufferedS: 0.3 });
  const first = await taken(watch, ({ event }) => event.type === 'step_complete');
  const rest = await taken(direct.watchAll(runs, { after: watch.position }));

  for (const run of runs) {
    const own = [...first, ...rest].filter((each) => each.run === run);
    expect(own.map(({ event }) => event.seq)).toEqual(own.map((_, place) => place + 1));
  }
});

test('a list is followed by asking: new runs, changes and deletions, each once', async () => {
  const labels = { polled: 'yes' };
  await direct.invoke('write', { words: 2, gate: 'listed' }, { labels, runId: 'one' });
  const seen: string[] = [];
  for await (const { run, deleted } of client.feed({ labels, bufferedS: 0.3 })) {
    seen.push(run ? `${run.run_id} ${run.status}` : `deleted ${deleted}`);
    if (seen.at(-1) === 'one running') await direct.invoke('open_gate', { gate: 'listed' });
    if (seen.at(-1) === 'one done') await direct.delete('one');
    if (deleted) break;
  }

  expect(seen.filter((each) => /done|deleted/.test(each))).toEqual(['one done', 'deleted one']);
  expect(new Set(seen).size).toBe(seen.length);
});

test('a thread is followed by asking, each event once, also of later runs', async () => {
  const labels = { thread: 'polled' };
  await direct.invoke('write', { words: 2 }, { labels, runId: 't1' });
  const seen: string[] = [];
  const ways = new Set<string>();
  const onConnection = (connection: Connection) => {
    if (connection.state === 'open') ways.add(connection.via);
  };
  const ended = new Set<string>();
  for await (const each of client.watchThread(labels, { bufferedS: 0.3, onConnection })) {
    if (!('run' in each)) continue;
    seen.push(`${each.run} ${each.event.seq}`);
    if (each.event.type !== 'done') continue;
    ended.add(each.run);
    if (each.run === 't1') await direct.invoke('write', { words: 2 }, { labels, runId: 't2' });
    else break;
  }

  expect([...ended]).toEqual(['t1', 't2']);
  expect(new Set(seen).size).toBe(seen.length);
  for (const run of ended) {
    const own = seen.filter((each) => each.startsWith(`${run} `));
    expect(own).toEqual(own.map((_, place) => `${run} ${place + 1}`));
  }
  expect([...ways]).toEqual(['poll']);
});
