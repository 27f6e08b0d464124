import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Client, connect, fold, is, RuncastError } from '../src/index.js';
import { Server, taken } from './server.js';

const server = new Server();
let client: Client;

beforeAll(async () => {
  await server.start();
  client = connect(server.url);
}, 60_000);
afterAll(() => server.end());

test('a run from its beginning to its result', async () => {
  const run = await client.invoke('write', { words: 2 }, { labels: { thread: 't' } });
  const events = await taken(client.watch(run));

  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  expect(events.map(({ type }) => type)).toEqual(
    'started step_start content progress content progress step_complete done'.split(' '),
  );
  const texts = events.flatMap((event) => (is(event, 'content') ? [event.data.text] : []));
  expect(texts).toEqual(['word 0 ', 'word 1 ']);
  expect(await client.result(run)).toEqual({ words: 2 });
});

test('the fold of the events is the state that the server has', async () => {
  const run = await client.invoke('write', { words: 40 });
  const events = await taken(client.watch(run));
  const { state, position, status } = await client.snapshot(run);

  expect(JSON.parse(JSON.stringify(fold(events)))).toEqual(state);
  expect(status).toBe('done');
  expect(await taken(client.watch(run, { after: position }))).toEqual([]);
});

test('an invocation names the chats that its run is delivered to', async () => {
  const invoking = client.invoke('write', { words: 1 }, { deliver: ['telegram:none'] });

  await expect(invoking).rejects.toMatchObject({
    code: 'invalid_value',
    message: expect.stringContaining('telegram:none'),
  });
});

test('a run without deliveries has none, and no receipt of one', async () => {
  const run = await client.invoke('write', { words: 1 });

  expect(await client.deliveries(run)).toEqual([]);
  await expect(client.receipt(run, 'none')).rejects.toMatchObject({ code: 'not_found' });
});

test('a receipt is asked for until the delivery has ended', async () => {
  const found = { delivery_id: 'd', run_id: 'a', target: 'telegram:1', begun_at: 1 };
  const asked: string[] = [];
  const answers = ['delivering', 'delivering', 'delivered'];
  const scripted = connect({
    url: server.url,
    fetch: async (url) => {
      asked.push(String(url));
      return Response.json({ deliveries: [{ ...found, status: answers[asked.length - 1] }] });
    },
  });

  expect(await scripted.receipt('a', 'd')).toEqual({ ...found, status: 'delivered' });
  expect(asked).toHaveLength(3);
  expect(asked[0]).toMatch(/\/runs\/a\/deliveries\?delivery_id=d&wait_s=\d+$/);
});

test('requests that meet a server that shuts down are sent again, with the same key', async () => {
  const asked: { method: string; path: string; key: string | null; body: unknown }[] = [];
  const ending = { code: 'overloaded', status: 503, detail: 'shutting down', retryable: true };
  const answers: Record<string, unknown> = {
    invoke: { run_id: 'a' },
    messages: { message_id: 'm' },
    interrupts: { decision: { type: 'accept' }, repeated: false },
    cancel: { run_id: 'a' },
  };
  const scripted = connect({
    url: server.url,
    fetch: async (url, { method, headers, body } = {}) => {
      const { pathname } = new URL(String(url));
      const key = new Headers(headers).get('idempotency-key');
      asked.push({ method: method ?? '', path: pathname, key, body });
      if (asked.length % 2) {
        return Response.json(ending, { status: 503, headers: { 'retry-after': '0' } });
      }
      const name = Object.keys(answers).find((each) => pathname.includes(each)) ?? '';
      return Response.json(answers[name]);
    },
  });

  expect(await scripted.invoke('write')).toBe('a');
  expect(await scripted.send('a', 'hello')).toBe('m');
  expect(await scripted.answer('a', 'q', { type: 'accept' })).toMatchObject({ repeated: false });
  expect(await scripted.cancel('a')).toMatchObject({ run_id: 'a' });
  expect(asked).toHaveLength(8);
  for (let each = 0; each < asked.length; each += 2) {
    expect(asked[each]).toEqual(asked[each + 1]);
  }
  expect(asked[0]?.key).toBeTruthy();
  expect(asked[2]?.body).toContain('message_id');
});

test('what must not happen twice is sent once', async () => {
  let count = 0;
  const ending = { code: 'overloaded', status: 503, detail: 'shutting down', retryable: true };
  const scripted = connect({
    url: server.url,
    fetch: async () => {
      count += 1;
      return Response.json(ending, { status: 503, headers: { 'retry-after': '0' } });
    },
  });

  await expect(scripted.invoke('write', {}, { runId: 'a' })).rejects.toMatchObject({
    code: 'overloaded',
    retryable: true,
    retryAfterS: 0,
  });
  await expect(scripted.delete('a')).rejects.toMatchObject({ code: 'overloaded' });
  expect(count).toBe(2);
});

test('a watch continues after a position', async () => {
  const run = await client.invoke('write', { words: 5 });
  const watch = client.watch(run);
  const first = await taken(watch, ({ seq }) => seq === 4);
  const rest = await taken(client.watch(run, { after: watch.position }));

  expect([...first, ...rest].map(({ seq }) => seq)).toEqual(
    [...first, ...rest].map((_, index) => index + 1),
  );
  expect(first).toHaveLength(4);
});

test('only some events are watched', async () => {
  const run = await client.invoke('write', { words: 3 });
  const events = await taken(client.watch(run, { types: ['progress'], agents: [] }));

  expect(events.map(({ type }) => type)).toEqual(['progress', 'progress', 'progress', 'done']);
});

test('callbacks get what a loop gets', async () => {
  const run = await client.invoke('write', { words: 1 });
  const seen: string[] = [];
  const connections: string[] = [];
  await new Promise<void>((end, error) => {
    client
      .watch(run, { onConnection: ({ state }) => connections.push(state) })
      .listen({ event: ({ type }) => seen.push(type), end, error });
  });

  expect(seen.at(-1)).toBe('done');
  expect(connections).toEqual(['open', 'closed']);
});

test('leaving a watch does not cancel the run', async () => {
  const run = await client.invoke('write', { words: 2, gate: 'left' });
  await taken(client.watch(run), ({ type }) => type === 'content');
  const watch = client.watch(run);
  const rest = taken(watch);
  watch.close();
  await rest;
  expect((await client.snapshot(run)).status).toBe('running');

  await client.invoke('open_gate', { gate: 'left' });
  expect(await client.result(run)).toEqual({ words: 2 });
});

test('a question is answered once', async () => {
  const run = await client.invoke('confirm', { to: 'production' });
  const events = client.watch(run);
  const asked = await taken(events, ({ type }) => type === 'interrupt_request');
  expect(asked.at(-1)?.data).toMatchObject({ args: { to: 'production' } });
  const answer = { type: 'edit', args: { to: 'staging' }, by: 'ann' } as const;

  expect(await client.answer(run, 'deploy', answer)).toMatchObject({ repeated: false, by: 'ann' });
  expect(await client.answer(run, 'deploy', answer)).toMatchObject({ repeated: true });
  await expect(client.answer(run, 'deploy', { type: 'reject' })).rejects.toMatchObject({
    code: 'conflict',
    decision: { type: 'edit' },
  });
  expect(await client.result(run)).toEqual({ type: 'edit', args: { to: 'staging' } });
});

test('messages reach a run, each once', async () => {
  const run = await client.invoke('listen');
  expect(await client.send(run, 'first', { messageId: 'm1', from: 'ann' })).toBe('m1');
  expect(await client.send(run, 'first', { messageId: 'm1', from: 'ann' })).toBe('m1');
  await client.send(run, 'stop');

  expect(await client.result(run)).toEqual([
    ['ann', 'first'],
    ['', 'stop'],
  ]);
});

test('a run is cancelled, and says so', async () => {
  const run = await client.invoke('listen');
  await taken(client.watch(run), () => true);
  await client.cancel(run, 'enough');

  await expect(client.result(run)).rejects.toMatchObject({
    code: 'cancelled',
    runId: run,
    message: 'the run was cancelled: enough',
  });
  await client.delete(run);
  await expect(client.snapshot(run)).rejects.toMatchObject({ code: 'not_found', status: 404 });
});

test('a run that fails says why', async () => {
  const run = await client.invoke('fail', { text: 'no disk' });

  await expect(client.result(run)).rejects.toMatchObject({ code: 'no_luck', message: 'no disk' });
  const again = client.result(run, { after: (await client.snapshot(run)).position });
  await expect(again).rejects.toMatchObject({ code: 'no_luck', message: 'no disk', runId: run });
});

test('files go in and out', async () => {
  const content = new File(['to be'], 'plan b/ü.txt');
  const uploaded = await client.upload(content);
  const run = await client.invoke('shout', {}, { files: { input: [uploaded] } });

  expect(await client.result(run)).toBe(1);
  const [file] = await client.files(run);
  const answer = await client.download(run, file?.path ?? '');
  expect(await answer.text()).toBe('TO BE');
  expect(await (await fetch(client.fileUrl(run, file?.path ?? ''))).text()).toBe('TO BE');
});

test('an empty file and a text are uploaded', async () => {
  expect(await client.upload('', { name: 'none' })).toMatchObject({ size: 0, name: 'none' });
  expect(await client.upload('ä')).toMatchObject({ size: 2, name: 'file' });
});

test('functions, and pages of runs', async () => {
  const functions = await client.functions();
  expect(functions.find(({ name }) => name === 'write')).toMatchObject({
    description: expect.stringContaining('Write words'),
    inputs: { properties: { words: { type: 'integer' } } },
  });

  const labels = { page: 'yes' };
  for (const _ of [1, 2, 3]) await client.result(await client.invoke('write', {}, { labels }));
  const first = await client.runs({ labels, limit: 2, status: 'done', function: 'write' });
  expect(first.runs).toHaveLength(2);
  const second = await client.runs({ labels, limit: 2, before: first.before ?? '' });
  expect(second.runs).toHaveLength(1);
  expect(second.before).toBeNull();
});

test('an invocation with a key begins one run', async () => {
  const one = await client.invoke('write', {}, { key: 'k' });
  expect(await client.invoke('write', {}, { key: 'k' })).toBe(one);
  await expect(client.invoke('write', {}, { key: 'k', runId: 'r' })).rejects.toThrow(RuncastError);
});

test('a run with an id of its own is begun once, and again if one says so', async () => {
  expect(await client.invoke('write', {}, { runId: 'own' })).toBe('own');
  await expect(client.invoke('write', {}, { runId: 'own' })).rejects.toMatchObject({
    code: 'conflict',
  });
  expect(await client.invoke('write', {}, { runId: 'own', replace: true })).toBe('own');
});

test('a run that was begun again is a gap', async () => {
  const runId = 'again';
  await client.invoke('write', { words: 2, gate: 'never' }, { runId });
  const watch = client.watch(runId);
  await taken(watch, ({ seq }) => seq === 4);
  await client.invoke('write', { words: 1 }, { runId, replace: true });
  const rest = await taken(client.watch(runId, { after: watch.position }));

  const gap = rest.findIndex(({ type }) => type === 'gap');
  expect(rest[gap]).toMatchObject({ seq: 0, data: { reason: 'replaced' } });
  expect(rest[gap + 1]).toMatchObject({ seq: 1, type: 'started' });
  expect(rest.at(-1)).toMatchObject({ type: 'done', data: { result: { words: 1 } } });
});

test('several runs over one connection', async () => {
  const runs = await Promise.all([1, 2, 3].map((words) => client.invoke('write', { words })));
  const events = await taken(client.watchAll(runs));

  for (const [index, run] of runs.entries()) {
    const own = events.filter((each) => each.run === run).map(({ event }) => event);
    expect(own.map(({ seq }) => seq)).toEqual(own.map((_, place) => place + 1));
    expect(own.at(-1)?.data).toEqual({ result: { words: index + 1 } });
  }
});

test('all runs of a thread, also those that begin later', async () => {
  const labels = { thread: 'later' };
  const watch = client.watchThread(labels);
  const seen: string[] = [];
  const begin = async () => client.invoke('write', {}, { labels, runId: 'one' });
  setTimeout(() => void begin(), 50);
  for await (const change of watch) {
    if (!('run' in change)) continue;
    seen.push(`${change.run} ${change.event.type}`);
    if (seen.at(-1) === 'one done') await client.invoke('write', {}, { labels, runId: 'two' });
    if (seen.at(-1) === 'two done') break;
    if (watch.connection.state !== 'open') throw new Error('expected an open connection');
  }
  expect(seen.filter((each) => each.endsWith('started'))).toEqual(['one started', 'two started']);

  await client.invoke('write', {}, { labels, runId: 'three' });
  const rest = await taken(
    client.watchThread(labels, { after: watch.position }),
    (change) => 'run' in change && change.event.type === 'done',
  );
  expect(new Set(rest.map((change) => 'run' in change && change.run))).toEqual(new Set(['three']));
});

test('a list of runs that is live', async () => {
  const labels = { live: 'yes' };
  const old = await client.invoke('write', {}, { labels });
  await client.result(old);
  const feed = client.feed({ labels });
  const seen: string[] = [];
  for await (const { run, deleted } of feed) {
    seen.push(run ? `${run.run_id === old ? 'old' : 'new'} ${run.status}` : `deleted ${deleted}`);
    if (seen.length === 1) await client.invoke('write', {}, { labels, runId: 'young' });
    if (seen.at(-1) === 'new done') await client.delete('young');
    if (deleted) break;
  }

  expect(seen[0]).toBe('old done');
  expect(seen.at(-1)).toBe('deleted young');
});

test('errors say what was wrong', async () => {
  await expect(client.invoke('nothing')).rejects.toMatchObject({ code: 'not_found' });
  await expect(client.invoke('write', { words: 'x' })).rejects.toMatchObject({
    code: 'invalid_inputs',
    problems: [expect.stringContaining('words')],
  });
  await expect(taken(client.watch('nothing'))).rejects.toMatchObject({ code: 'not_found' });
  expect(() => connect('no address')).toThrow('expected an address like');
});

test('a server that is not there', async () => {
  const nobody = connect({ url: 'http://127.0.0.1:9', attempts: 2 });
  const watch = nobody.watch('r', { reconnect: { firstS: 0.01 } });

  await expect(taken(watch)).rejects.toMatchObject({ code: 'server_unavailable', status: 0 });
  expect(watch.connection.state).toBe('closed');
});
