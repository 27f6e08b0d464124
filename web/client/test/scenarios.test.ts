import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Connection, connect, RuncastError, type RunEvent } from '../src/index.js';
import { type Fault, SpoilingProxy } from './proxy.js';
import { Server, soon } from './server.js';
import { vectors } from './vectors.js';

interface Scenario {
  readonly run: Record<string, number>;
  readonly streams: readonly Fault[];
  readonly client?: { readonly attempts?: number; readonly timeout_s?: number };
  readonly kill_after?: number;
  readonly then: {
    readonly ends?: string;
    readonly code?: string;
    readonly error?: string;
    readonly streams?: number;
    readonly least_streams?: number;
    readonly polls?: boolean;
  };
}

const server = new Server({ retry_s: '0.02', heartbeat_s: '0.1', long_poll_s: '1' });
let proxy: SpoilingProxy;

beforeAll(async () => {
  await server.start();
  proxy = await new SpoilingProxy(server.port).start();
}, 60_000);
afterAll(async () => {
  await proxy.end();
  await server.end();
});

test('every file of scenarios is run', () => {
  const folder = new URL('../../../conformance/scenarios', import.meta.url);
  expect(readdirSync(folder)).toEqual(['watching.json']);
});

test.each(vectors<Scenario>('scenarios/watching.json'))('$name', async (scenario) => {
  const { run: inputs, streams, then, client: how = {}, kill_after: killAfter } = scenario;
  const run = await connect(server.url).invoke('emit_events', inputs);
  proxy.spoil(streams);
  const { attempts = null, timeout_s: timeoutS = 30 } = how;
  const client = connect({ url: proxy.url, timeoutS, attempts });
  const events: RunEvent[] = [];
  const connections: Connection[] = [];
  const watch = client.watch(run, {
    bufferedS: then.polls ? 0.4 : 20,
    onConnection: (connection) => connections.push(connection),
  });
  let error: unknown;

  const read = async () => {
    for await (const event of watch) {
      events.push(event);
      if (events.length === killAfter) void server.kill().then(() => server.start());
    }
  };
  await soon(read(), 'the end of the watch', 30).catch((thrown) => {
    error = thrown;
  });

  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  if (then.error) {
    expect(error).toBeInstanceOf(RuncastError);
    expect((error as RuncastError).code).toBe(then.error);
  } else {
    expect(error).toBeUndefined();
    expect(events.at(-1)?.type).toBe(then.ends);
    if (then.ends === 'done') expect(events).toHaveLength((inputs.n ?? 0) + 2);
    if (then.code) expect(events.at(-1)?.data).toMatchObject({ code: then.code });
  }
  if (then.streams !== undefined) expect(proxy.streams).toBe(then.streams);
  expect(proxy.streams).toBeGreaterThanOrEqual(then.least_streams ?? 1);
  expect(proxy.polls > 0).toBe(then.polls ?? false);
  expect(connections.at(-1)).toEqual({ state: 'closed' });
});
