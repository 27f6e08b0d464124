import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Asked, Said } from '../src/data/shared/messages';

/** The streams of a window: what is stored from the server, and what follows from the worker. */

const BASE = 'http://server/';
const RUN = `${BASE}runs/r/events`;

let asked: Asked[];
let requests: { readonly url: string; readonly after: string; readonly accept: string }[];
/** What the server answers, one after the other: events after a position, or a whole answer. */
let answers: (string | Response)[];
let port: { onmessage: (event: { data: Said }) => void; postMessage: (word: Asked) => void };
let shared: typeof import('../src/data/shared/streams')['shared'];

beforeEach(async () => {
  vi.useFakeTimers();
  vi.resetModules();
  asked = [];
  requests = [];
  answers = [];
  vi.stubGlobal('fetch', async (url: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers);
    const after = headers.get('last-event-id') ?? '';
    requests.push({ url, after, accept: headers.get('accept') ?? '' });
    const answer = answers.shift() ?? new Response(null, { status: 204 });
    if (typeof answer !== 'string') return answer;
    return new Response(answer, { headers: { 'runcast-epoch': 'e' } });
  });
  vi.stubGlobal(
    'SharedWorker',
    class {
      port = {
        onmessage: () => {},
        postMessage: (word: Asked) => asked.push(word),
      };
      constructor() {
        port = this.port;
      }
    },
  );
  ({ shared } = await import('../src/data/shared/streams'));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** A stream without events begins with a comment. */
const NOTHING = ':\n\n';
const frame = (seq: number, data = `{"n":${seq}}`): string => `id: e-${seq}\ndata: ${data}\n\n`;
const step = (seq: number) => [`e-${seq}`, `{"n":${seq}}`] as const;
const turn = () => vi.advanceTimersByTimeAsync(0);
const say = (said: Said) => port.onmessage({ data: said });

/** Open a stream, and collect what it gives. */
async function open(url = RUN, headers: Record<string, string> = {}) {
  const stop = new AbortController();
  const opening = shared(BASE, url, { headers, signal: stop.signal });
  await turn();
  const seen = { text: '', end: '' };
  const read = async () => {
    const decoder = new TextDecoder();
    const response = await opening;
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      seen.text += decoder.decode(value, { stream: true });
    }
    seen.end = 'end';
  };
  void read().catch((error: Error) => {
    seen.end = error.message;
  });
  await turn();
  return { seen, stop, opening };
}

const idOf = (word: Asked | undefined): number => (word?.do === 'join' ? word.id : -1);

test('a window reads what is stored, and then what the worker says', async () => {
  answers = [frame(1) + frame(2)];
  const { seen } = await open();
  expect(requests).toEqual([{ url: `${RUN}?live=false`, after: '', accept: '' }]);
  expect(asked).toMatchObject([{ do: 'join', run: 'r', list: '', after: 'e-2' }]);

  const id = idOf(asked[0]);
  say({ kind: 'joined', id, place: 'e-2' });
  say({ kind: 'frames', id, frames: [step(2), step(3), step(4)] }); // the second was seen
  say({ kind: 'beat' });
  await turn();

  expect(seen.text).toBe(`${frame(1)}${frame(2)}${frame(3)}${frame(4)}:\n\n`);
  expect(asked.at(-1)).toEqual({ do: 'here' });
  expect(requests).toHaveLength(1);
});

test('a window resumes after its position, and asks the server for what the worker has read', async () => {
  answers = [NOTHING, frame(5) + frame(6)];
  const { seen } = await open(RUN, { 'last-event-id': 'e-4', 'runcast-link': 'secret' });
  expect(asked).toMatchObject([{ do: 'join', after: 'e-4', link: 'secret' }]);
  say({ kind: 'joined', id: idOf(asked[0]), place: 'e-6' }); // while the window was joining
  await turn();

  expect(requests.map(({ after }) => after)).toEqual(['e-4', 'e-4']);
  expect(seen.text).toBe(NOTHING + frame(5) + frame(6));
});

test('what does not follow the own position comes from the server', async () => {
  answers = [frame(1), frame(2) + frame(3)];
  const { seen } = await open();
  const id = idOf(asked[0]);
  say({ kind: 'frames', id, frames: [step(3), step(4)] });
  await turn();

  expect(requests.map(({ after }) => after)).toEqual(['', 'e-1']);
  expect(seen.text).toBe([1, 2, 3, 4].map((seq) => frame(seq)).join(''));
});

test('a gap in what is stored moves the position, and the run that has ended ends the answer', async () => {
  const gap = 'data: {"type":"gap","data":{"reason":"trimmed","after":"f-7"}}\n\n';
  answers = [gap];
  const { seen } = await open(RUN, { 'last-event-id': 'e-1' });
  expect(asked).toMatchObject([{ do: 'join', after: 'f-7' }]);
  say({ kind: 'frames', id: idOf(asked[0]), frames: [['', '']] }); // only the server can say
  await turn();

  expect(requests.at(-1)?.after).toBe('f-7'); // which answers that nothing follows
  expect(seen).toEqual({ text: gap, end: 'end' });
  expect(asked.at(-1)).toMatchObject({ do: 'leave' });
});

test('a window that is slower than the worker asks the server instead', async () => {
  answers = [frame(1), frame(2)];
  const { seen } = await open();
  const id = idOf(asked[0]);
  const many = Array.from({ length: 1500 }, (_, at) => step(at + 2));
  say({ kind: 'frames', id, frames: [step(2)] });
  say({ kind: 'frames', id, frames: many });
  say({ kind: 'frames', id, frames: many });
  await turn();

  expect(requests.length).toBeGreaterThan(1);
  expect(seen.text).toBe(frame(1) + frame(2));
});

test('without room in the worker the window asks the server now and then', async () => {
  answers = [frame(1), NOTHING, frame(2)];
  const { seen } = await open();
  say({ kind: 'full', id: idOf(asked[0]) });
  await turn();
  expect(seen.text).toBe(frame(1) + NOTHING);
  await vi.advanceTimersByTimeAsync(2000);
  expect(seen.text).toBe(frame(1) + NOTHING + frame(2));
  await vi.advanceTimersByTimeAsync(2000);
  expect(seen.end).toBe('end');
});

test('a refusal is passed on, and nothing is followed', async () => {
  answers = [new Response('no', { status: 401 })];
  const { opening } = await open();
  expect((await opening).status).toBe(401);
  expect(asked).toEqual([]);
});

test('a subscription that is cut ends the answer with an error', async () => {
  answers = [frame(1)];
  const { seen } = await open();
  say({ kind: 'cut', id: idOf(asked[0]) });
  await turn();
  expect(seen).toEqual({ text: frame(1), end: 'the shared connection is lost' });
});

test('a window that stops leaves the worker, and may leave twice', async () => {
  answers = [frame(1)];
  const { stop } = await open();
  stop.abort();
  await turn();
  expect(asked.map((word) => word.do)).toEqual(['join', 'leave']);
});

test('a list comes from the worker alone', async () => {
  const { seen } = await open(`${BASE}runs?limit=50`);
  expect(requests).toEqual([]);
  expect(asked).toMatchObject([{ do: 'join', run: '', list: 'runs?limit=50' }]);
  const id = idOf(asked[0]);
  say({ kind: 'joined', id, place: '' });
  say({
    kind: 'frames',
    id,
    frames: [
      ['p1', '{"run":1}'],
      ['p2', ''],
    ],
  });
  await turn();
  await turn();
  expect(seen.text).toBe(':\n\nid: p1\ndata: {"run":1}\n\nid: p2\n\n');
});

test('a list that the worker does not follow is refused as the server refuses it', async () => {
  answers = [new Response('no', { status: 403 })];
  const { opening } = await open(`${BASE}runs`);
  say({ kind: 'cut', id: idOf(asked[0]) });
  await turn();
  expect((await opening).status).toBe(403);
  expect(requests).toMatchObject([{ url: `${BASE}runs`, accept: 'application/json' }]);
});

test('other addresses, and lists that are asked for, go to the server', async () => {
  for (const url of [`${BASE}runs?live=long-poll`, `${BASE}runs/r`, 'http://other/runs/r/events']) {
    await open(url);
  }
  expect(requests).toHaveLength(3);
  expect(asked).toEqual([]);
});

test('a worker that does not start within ten seconds is given up', async () => {
  answers = [frame(1), 'whole'];
  const { seen } = await open();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(seen.end).toBe('the shared connection is lost');

  const { seen: direct } = await open();
  expect(requests.at(-1)?.url).toBe(RUN);
  expect(direct.text).toBe('whole');
});
