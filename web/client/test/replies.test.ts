import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Client, connect } from '../src/index.js';
import { type Message, RemoteRun } from '../src/remote.js';
import { Server, soon, taken } from './server.js';

/** What comes back to a run that is written from elsewhere: answers and messages. */

const server = new Server();
let client: Client;

beforeAll(async () => {
  await server.start();
  client = connect(server.url);
}, 60_000);
afterAll(() => server.end());

const begin = () => RemoteRun.begin({ url: server.url, name: 'train' });

/** Wait until a run asks a question. */
async function asked(runId: string, from = client): Promise<void> {
  await taken(from.watch(runId), ({ type }) => type === 'interrupt_request');
}

const unread = async (runId: string): Promise<unknown[]> =>
  (await client.snapshot(runId)).state.messages.map(({ data }) => data);

test('a question is answered from elsewhere, and asked again it has the answer at once', async () => {
  const run = await begin();
  const options = { action: 'deploy', args: { to: 'a' }, interruptId: 'q', node: 'n' };
  const both = Promise.all([run.ask('Deploy?', options), run.ask('Deploy?', options)]);
  await asked(run.runId);
  const [question] = (await client.snapshot(run.runId)).state.interrupts;
  expect(question).toMatchObject({ interrupt_id: 'q', message: 'Deploy?', action: 'deploy' });
  expect((await client.snapshot(run.runId)).status).toBe('waiting');
  await client.answer(run.runId, 'q', { type: 'edit', args: { to: 'b' }, by: 'ada' });

  const answer = { type: 'edit', args: { to: 'b' }, by: 'ada', approved: true };
  expect(await soon(both)).toEqual([answer, answer]);
  expect(await soon(run.ask('Deploy?', { interruptId: 'q' }))).toEqual(answer);
  await soon(run.done());
  const types = (await taken(client.watch(run.runId))).map(({ type }) => type);
  expect(types.filter((type) => type === 'interrupt_request')).toHaveLength(1);
});

test('a question that nobody answers in time expires', async () => {
  const run = await begin();
  const answer = await soon(run.ask('Deploy?', { timeoutS: 0.05, interruptId: 'q' }));

  expect(answer).toMatchObject({ type: 'expired', approved: false });
  await expect(client.answer(run.runId, 'q', { type: 'accept' })).rejects.toMatchObject({
    code: 'conflict',
  });
  await soon(run.done());
});

test('a wait for an answer goes on when the server was killed and is started again', async () => {
  const own = await new Server().start();
  const run = await RemoteRun.begin({ url: own.url, name: 'train', leaseS: 60 });
  const answer = run.ask('Go on?', { interruptId: 'q' });
  await asked(run.runId, connect(own.url));
  await own.kill();
  await own.start();
  await connect(own.url).answer(run.runId, 'q', { type: 'reject' });

  expect(await soon(answer)).toMatchObject({ type: 'reject', approved: false });
  await soon(run.done());
  await own.end();
});

test('a cancellation ends the waits for an answer and for a message', async () => {
  const run = await begin();
  expect(run.isCancelled).toBe(false);
  const answer = run.ask('Go on?');
  const message = run.inbox()[Symbol.asyncIterator]().next();
  const waits = Promise.allSettled([answer, message]);
  await asked(run.runId);
  await client.cancel(run.runId, 'enough');

  const reason = { code: 'cancelled', message: 'enough' };
  for (const wait of await soon(waits)) {
    expect(wait).toMatchObject({ status: 'rejected', reason });
  }
  expect(run.isCancelled).toBe(true);
  await soon(run.cancelled());
});

test('the end of a run ends its waits, and its own signal ends one', async () => {
  const run = await begin();
  const own = new AbortController();
  const answers = Promise.allSettled([
    run.ask('First?', { signal: own.signal }),
    run.ask('Second?'),
  ]);
  await asked(run.runId);
  own.abort(new Error('no more'));
  await soon(run.done());

  const [first, second] = await soon(answers);
  expect(first).toMatchObject({ status: 'rejected', reason: { message: 'no more' } });
  expect(second).toMatchObject({ status: 'rejected', reason: { code: 'run_closed' } });
});

test('messages are read in order, and each is acknowledged when the next one is asked for', async () => {
  const run = await begin();
  const heard: Message[] = [];
  const reading = (async () => {
    for await (const message of run.inbox()) {
      heard.push(message);
      if (message.data === 'stop') break;
    }
  })();
  await client.send(run.runId, { n: 1 }, { from: 'ada', messageId: 'm1' });
  await client.send(run.runId, 2);
  await client.send(run.runId, 'stop');
  await client.send(run.runId, 'late');
  await soon(reading);

  expect(heard.map(({ data }) => data)).toEqual([{ n: 1 }, 2, 'stop']);
  expect(heard[0]).toMatchObject({ id: 'm1', sender: 'ada' });
  await soon(run.flush());
  expect(await unread(run.runId)).toEqual(['stop', 'late']);
  await soon(run.done());
  expect(await unread(run.runId)).toEqual(['late']); // the end acknowledges what was read
});

test('a run that is cancelled acknowledges no message that it has in hand', async () => {
  const run = await begin();
  await client.send(run.runId, 'one');
  expect(await soon(run.inbox().poll())).toMatchObject({ data: 'one' });
  await soon(run.cancelled('enough'));
  expect(await unread(run.runId)).toEqual(['one']);
});

test('messages that are there are taken one by one or together, without waiting', async () => {
  const run = await begin();
  expect(await soon(run.inbox().poll())).toBeNull();
  for (const n of [1, 2, 3]) await client.send(run.runId, n);
  expect(await soon(run.inbox().poll())).toMatchObject({ data: 1 });
  const both = await soon(run.inbox().pollAll());
  expect(both.map(({ data }) => data)).toEqual([2, 3]);
  expect(await soon(run.inbox().pollAll())).toEqual([]);
  await soon(run.flush());
  expect(await unread(run.runId)).toEqual([]);

  const waiting = run.inbox()[Symbol.asyncIterator]().next();
  await expect(run.inbox().poll()).rejects.toThrow('one reader');
  await client.send(run.runId, 4);
  expect(await soon(waiting)).toMatchObject({ value: { data: 4 }, done: false });
  await soon(run.done());
});

test('questions that cannot be asked are refused at the call', async () => {
  const run = await begin();
  for (const interruptId of ['', '..', 'a/b', 'a\n', 'x'.repeat(129)]) {
    await expect(run.ask('Go?', { interruptId })).rejects.toThrow('expected an interruptId');
  }
  for (const timeoutS of [-1, Number.NaN]) {
    await expect(run.ask('Go?', { timeoutS })).rejects.toThrow('expected timeoutS');
  }
  const many = Promise.allSettled(Array.from({ length: 20 }, () => run.ask('Go?')));
  await expect(run.ask('Go?')).rejects.toMatchObject({ code: 'overloaded' });
  await soon(run.done());
  await soon(many);
});
