import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Asked, Said } from '../src/data/shared/messages';

/** The worker as windows have it, without a browser. */

let opened: { url: string; signal: AbortSignal; send(text: string): void }[] = [];

beforeEach(async () => {
  vi.useFakeTimers();
  vi.resetModules();
  opened = [];
  vi.stubGlobal('fetch', async (url: string, { signal }: { signal: AbortSignal }) => {
    let send = (_: string): void => {};
    const body = new ReadableStream<Uint8Array>({
      start: (out) => {
        send = (text) => out.enqueue(new TextEncoder().encode(text));
        signal.addEventListener('abort', () => out.error(signal.reason));
      },
    });
    opened.push({ url, signal, send: (text) => send(text) });
    return new Response(body);
  });
  await import('../src/data/shared/worker');
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function open() {
  const said: Said[] = [];
  const port = { onmessage: null as unknown, postMessage: (word: Said) => said.push(word) };
  const { onconnect } = globalThis as unknown as { onconnect(event: object): void };
  onconnect({ ports: [port] });
  const ask = (data: Asked) => (port.onmessage as (event: { data: Asked }) => void)({ data });
  return { said, ask };
}

const following = (id: number, run: string, link = ''): Asked => {
  return { do: 'join', id, base: 'http://server/', run, list: '', after: 'e-0', link };
};
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const live = () => opened.filter(({ signal }) => !signal.aborted);

test('two links are followed, and a third one has room once another has left', async () => {
  const { said, ask } = open();
  for (const id of [1, 2, 3]) ask(following(id, 'a', `secret-${id}`));
  await pass(20);
  expect(said.map(({ kind }) => kind)).toEqual(['joined', 'joined', 'full']);
  expect(live()).toHaveLength(2);

  ask({ do: 'leave', id: 1 });
  ask(following(4, 'a', 'secret-3'));
  await pass(20);
  expect(said.at(-1)?.kind).toBe('joined');
  expect(live()).toHaveLength(2);
});

test('a window that says nothing for long is forgotten, and its connection ends', async () => {
  const [silent, lively] = [open(), open()];
  silent.ask(following(1, 'a'));
  lively.ask(following(1, 'b'));
  await pass(20);
  for (let passed = 0; passed <= 50_000; passed += 10_000) {
    live().at(-1)?.send(':\n\n');
    await pass(10_000);
    lively.ask({ do: 'here' });
  }
  await pass(20);

  expect(live().map(({ url }) => url)).toEqual(['http://server/events?run=b']);
});

test('a window that is refused has all connections opened again', async () => {
  const [one, other] = [open(), open()];
  one.ask(following(1, 'a'));
  await pass(20);
  const [before] = live();
  other.ask({ do: 'check' });
  await pass(20);

  expect(before?.signal.aborted).toBe(true);
  expect(live()).toHaveLength(1);
});
