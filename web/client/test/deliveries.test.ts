import { writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Client, connect } from '../src/index.js';
import { Server, soon } from './server.js';

/** Runs that are delivered to a topic of ntfy, whose server is here. */

const published: { readonly title: string; readonly message: string }[] = [];
const ntfy = http.createServer((request, answer) => {
  let said = '';
  request.on('data', (text) => {
    said += text;
  });
  request.on('end', () => {
    const message = JSON.parse(said);
    published.push(message);
    answer.setHeader('content-type', 'application/json');
    answer.end(JSON.stringify({ ...message, id: 'm1', event: 'message' }));
  });
});
const server = new Server({ channels_file: 'channels.toml' });
let client: Client;

beforeAll(async () => {
  await new Promise<void>((resolve) => ntfy.listen(0, '127.0.0.1', resolve));
  const { port } = ntfy.address() as AddressInfo;
  const target = `[ntfy.me]\nto = "topic"\nurl = "http://127.0.0.1:${port}"\nallow = "127.0.0.0/8"\n`;
  writeFileSync(join(server.folder, 'channels.toml'), target);
  await server.start();
  client = connect(server.url);
}, 60_000);
afterAll(async () => {
  await server.end();
  ntfy.close();
  ntfy.closeAllConnections();
});

test('a run that has begun is delivered, once, and its receipt says that it was', async () => {
  const run = await client.invoke('write', { words: 2, gate: 'delivered' });
  const delivery = await client.deliver(run, 'ntfy:me');
  expect(await client.deliver(run, 'ntfy:me')).toBe(delivery);
  await client.invoke('open_gate', { gate: 'delivered' });

  const receipt = await soon(client.receipt(run, delivery));
  expect(receipt).toMatchObject({ delivery_id: delivery, run_id: run, status: 'delivered' });
  expect(published.map(({ title }) => title)).toEqual(['write is done']);
  expect((await client.deliveries(run)).map(({ delivery_id: id }) => id)).toEqual([delivery]);
});

test('only a name of the channels file is delivered to', async () => {
  const run = await client.invoke('write', { words: 1 });
  for (const target of ['ntfy:you', 'ntfy://ntfy.sh/topic']) {
    await expect(client.deliver(run, target)).rejects.toMatchObject({ code: 'invalid_value' });
  }
  const wrong = { shows: 'all' } as object;
  await expect(client.deliver(run, 'ntfy:me', wrong)).rejects.toMatchObject({
    code: 'invalid_value',
  });
  const delivery = await client.deliver(run, 'ntfy:me', { shows: 'notice', finish: 'in_place' });
  expect((await soon(client.receipt(run, delivery))).status).toBe('delivered');
  await expect(client.deliver('no-run', 'ntfy:me')).rejects.toMatchObject({ code: 'not_found' });
});
