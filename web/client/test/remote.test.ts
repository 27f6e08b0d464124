import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Client, connect, type RuncastError } from '../src/index.js';
import { RemoteRun, type RemoteRunOptions } from '../src/remote.js';
import { Server, soon, taken } from './server.js';

const server = new Server({ max_event_bytes: '2000' });
let client: Client;

beforeAll(async () => {
  await server.start();
  client = connect(server.url);
}, 60_000);
afterAll(() => server.end());

const options = (more: Partial<RemoteRunOptions> = {}): RemoteRunOptions => ({
  url: server.url,
  name: 'train',
  ...more,
});

/** The numbers that the run has, in their order. */
async function numbers(runId: string): Promise<unknown[]> {
  const events = await taken(client.watch(runId, { types: ['step'] }));
  return events.flatMap(({ type, data }) => (type === 'step' ? [numberOf(data)] : []));
}

const numberOf = (data: unknown): unknown => (data as { n?: unknown }).n;

/** A proxy that lets requests arrive, and cuts the answers of some of them. */
class CuttingProxy {
  cuts = 0;
  readonly #server: http.Server;

  constructor() {
    this.#server = http.createServer((request, answer) => {
      const { method, url: path, headers } = request;
      const asked = { host: '127.0.0.1', port: server.port, method, path, headers };
      const upstream = http.request(asked, (from) => {
        if (method !== 'GET' && !path?.includes('heartbeat') && this.cuts-- > 0) {
          from.resume().once('end', () => answer.socket?.destroy());
        } else {
          answer.writeHead(from.statusCode ?? 502, from.headers);
          from.pipe(answer);
        }
      });
      upstream.on('error', () => answer.socket?.destroy());
      answer.on('close', () => upstream.destroy());
      request.pipe(upstream);
    });
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  end(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

test('watchers see a run that is written from elsewhere', async () => {
  const labels = { user: 'ada' };
  let runId = '';
  const result = await RemoteRun.write(options({ labels }), (run) => {
    runId = run.runId;
    run.emit('progress', { percent: 50 }, { node: 'fit', agent: 'a', path: ['a'] });
    run.emit('content', { text: 'half' });
    return { loss: 0.1 };
  });

  const events = await taken(client.watch(runId));
  expect(events.map(({ type }) => type)).toEqual(['started', 'progress', 'content', 'done']);
  expect(events[1]).toMatchObject({ node: 'fit', agent: 'a', data: { percent: 50 } });
  expect(await client.result(runId)).toEqual(result);
  const { function: name, labels: given } = await client.snapshot(runId);
  expect([name, given]).toEqual(['train', labels]);
});

test('a request whose answer is cut after the server has taken it counts once', async () => {
  const proxy = new CuttingProxy();
  const url = await proxy.start();
  proxy.cuts = 1; // the answer to the beginning
  const run = await RemoteRun.begin(options({ url }));
  for (let n = 1; n <= 50; n++) {
    if (n % 10 === 0) proxy.cuts = 2;
    run.emit('step', { n });
    if (n % 5 === 0) await soon(run.flush());
  }
  proxy.cuts = 1;
  await soon(run.done());
  proxy.end();

  expect(await numbers(run.runId)).toEqual(Array.from({ length: 50 }, (_, n) => n + 1));
  expect(run.statistics()).toEqual({ waiting: 0, waitingBytes: 0, stored: 51, refused: 0 });
});

test('a run goes on when the server was killed and is started again', async () => {
  const own = await new Server().start();
  const run = await RemoteRun.begin({ url: own.url, name: 'train', leaseS: 60 });
  run.emit('step', { n: 1 });
  await soon(run.flush());
  await own.kill();
  for (let n = 2; n <= 100; n++) run.emit('step', { n });
  await own.start();
  run.emit('step', { n: 101 });
  await soon(run.done());

  const found = await taken(connect(own.url).watch(run.runId));
  const seen = found.flatMap(({ type, data }) => (type === 'step' ? [numberOf(data)] : []));
  expect(seen).toEqual(Array.from({ length: 101 }, (_, n) => n + 1));
  await own.end();
});

test('a writer whose run another one has begun again writes nothing more', async () => {
  const first = await RemoteRun.begin(options({ runId: 'shared' }));
  first.emit('step', { n: 1 });
  await soon(first.flush());
  await expect(RemoteRun.begin(options({ runId: 'shared' }))).rejects.toMatchObject({
    code: 'conflict',
  });

  const second = await RemoteRun.begin(options({ runId: 'shared', replace: true }));
  const write = async () => {
    first.emit('step', { n: 2 });
    await first.flush();
  };
  await expect(soon(write())).rejects.toThrow('lease_id');
  expect(first.signal.aborted).toBe(true);
  expect(() => first.emit('step', { n: 3 })).toThrow();
  second.emit('step', { n: 10 });
  await soon(second.done());

  expect(await numbers('shared')).toEqual([10]);
});

test('two writers of two runs do not mix', async () => {
  const runs = await Promise.all([RemoteRun.begin(options()), RemoteRun.begin(options())]);
  for (let n = 0; n < 200; n++) runs[n % 2]?.emit('step', { n });
  await soon(Promise.all(runs.map((run) => run.done())));

  for (const [at, run] of runs.entries()) {
    expect(await numbers(run.runId)).toEqual(Array.from({ length: 100 }, (_, n) => 2 * n + at));
  }
});

test('a run that is cancelled hears of it, and ends as cancelled', async () => {
  let work: Promise<void> | undefined;
  const run = await new Promise<RemoteRun>((begun) => {
    work = RemoteRun.write(options(), async (run) => {
      begun(run);
      await new Promise((_, reject) => {
        run.signal.addEventListener('abort', () => reject(run.signal.reason), { once: true });
      });
    });
  });
  await client.cancel(run.runId, 'enough');

  await expect(work).rejects.toMatchObject({ code: 'cancelled', message: 'enough' });
  expect(() => run.emit('step')).toThrow();
  expect((await client.snapshot(run.runId)).status).toBe('cancelled');
});

test('watchers see the kind of an error, and not its text', async () => {
  let runId = '';
  const work = RemoteRun.write(options(), (run) => {
    runId = run.runId;
    throw new RangeError('secret');
  });

  await expect(work).rejects.toThrow('secret');
  const { status, state } = await client.snapshot(runId);
  expect(status).toBe('failed');
  expect(JSON.stringify(state)).not.toContain('secret');
  expect(state.failure?.message).toBe('RangeError');
});

test('an event that the server refuses has a line in its place, and others are stored', async () => {
  const run = await RemoteRun.begin(options());
  run.emit('step', { n: 1 });
  run.emit('interrupt_response', { forged: true });
  run.emit('step', { n: 2 });
  await soon(run.done());

  const events = await taken(client.watch(run.runId));
  expect(events.map(({ type }) => type)).toEqual(['started', 'step', 'log', 'step', 'done']);
  expect(JSON.stringify(events[2])).toContain('left out');
  expect(run.statistics()).toMatchObject({ stored: 3, refused: 1 });
});

test('files that a run saves are listed at its end, and can be downloaded', async () => {
  const run = await RemoteRun.begin(options());
  const saved = await soon(run.saveFile('plots/loss 1.csv', '1,2'));
  await soon(run.saveFile('plots/loss 1.csv', new Blob(['3,4'])));
  const late = run.saveFile('late.bin', new Uint8Array([1, 2]));
  await soon(run.done());
  await late;

  expect(saved).toMatchObject({ path: 'plots/loss 1.csv', size: 3, type: 'text/csv' });
  const events = await taken(client.watch(run.runId));
  expect(events.map(({ type }) => type)).toEqual(['started', 'files', 'done']);
  const found = await client.download(run.runId, saved.path);
  expect(await found.text()).toBe('3,4');
  const bytes = await (await client.download(run.runId, 'late.bin')).arrayBuffer();
  expect([...new Uint8Array(bytes)]).toEqual([1, 2]);
  await expect(run.saveFile('after.txt', 'x')).rejects.toMatchObject({ code: 'run_closed' });
});

test('a file whose answer is cut is kept once; one that is refused says why', async () => {
  const proxy = new CuttingProxy();
  const run = await RemoteRun.begin(options({ url: await proxy.start() }));
  proxy.cuts = 1;
  await soon(run.saveFile('a.txt', 'a'));
  await expect(soon(run.saveFile('../b.txt', 'b'))).rejects.toMatchObject({ status: 404 });
  await expect(soon(run.saveFile('b\\c', 'b'))).rejects.toMatchObject({ code: 'invalid_value' });
  await soon(run.done());
  proxy.end();

  const [, files] = await taken(client.watch(run.runId));
  expect(files?.data).toMatchObject({ files: [{ path: 'a.txt', size: 1 }] });
});

test('what cannot be stored is refused at the call', async () => {
  const run = await RemoteRun.begin(options({ pendingBytes: 1000 }));
  const refused = (data: unknown): RuncastError['code'] => {
    try {
      run.emit('step', data);
    } catch (error) {
      return (error as RuncastError).code;
    }
    return '';
  };
  const circle: Record<string, unknown> = {};
  circle.self = circle;

  expect([refused(circle), refused(1n), refused({ text: 'é'.repeat(1500) })]).toEqual([
    'invalid_event',
    'invalid_event',
    'invalid_event',
  ]);
  expect(refused({ text: 'x'.repeat(900) })).toBe('');
  expect(refused({ text: 'x'.repeat(900) })).toBe('overloaded');
  await soon(run.drain());
  expect(refused({ text: 'x'.repeat(900) })).toBe('');
  await expect(run.done(circle)).rejects.toMatchObject({ code: 'invalid_event' });
  await soon(run.done());
  expect(refused({})).toBe('run_closed');
  await expect(RemoteRun.begin({ ...options(), name: '' })).rejects.toThrow('expected a name');
});
