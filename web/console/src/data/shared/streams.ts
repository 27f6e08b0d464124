/**
 * `fetch` for streams, over the connections that all windows of a browser share.
 *
 * A browser opens six connections to a server with HTTP/1.1, over all its windows. Here a shared
 * worker reads for all of them, and each window still gets an answer of its own: the client that reads
 * it resumes, and meets refusals, as it would without the worker.
 *
 * Events are exact whatever the worker does, because a window takes an event from it only if this is
 * the one that follows its own position. Otherwise it asks the server for what is stored.
 */

import { type Asked, LOOK, type Said } from './messages';

type Asking = Extract<Asked, { do: 'join' }>;

/** How long a worker may take to start, in ms: a phone may be slow. */
const START_MS = 10_000;
/** How often a window asks the server if the worker has no room for it, in ms. */
const LOOK_MS = 2000;
/** The most frames that wait for a window. */
const MAX_WAITING = 2000;

/** What the worker has said about one subscription, to be read in order. */
class Inbox {
  readonly #said: Said[] = [];
  readonly #whenFull: Said;
  #waiting = 0;
  #wake: () => void = () => {};

  constructor(whenFull: Said) {
    this.#whenFull = whenFull;
  }

  put(said: Said): void {
    if (said.kind === 'frames') this.#waiting += said.frames.length;
    // A window that is too slow asks the server instead, which sends no faster than it reads.
    const isFull = this.#waiting > MAX_WAITING && this.#said.length > 0;
    if (isFull) this.#said.length = this.#waiting = 0;
    this.#said.push(isFull ? this.#whenFull : said);
    this.#wake();
  }

  /** The next word; null after some time. */
  async take(withinMs = 0): Promise<Said | null> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    if (!this.#said.length) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (withinMs) timer = setTimeout(resolve, withinMs);
      });
    }
    clearTimeout(timer);
    const said = this.#said.shift() ?? null;
    if (said?.kind === 'frames') this.#waiting -= said.frames.length;
    return said;
  }
}

let port: MessagePort | null | undefined;
const inboxes = new Map<number, Inbox>();
let count = 0;

/** The worker; null if the browser has none. */
function connected(): MessagePort | null {
  if (port !== undefined) return port;
  try {
    const worker = new SharedWorker(new URL('./worker.ts', import.meta.url), { type: 'module' });
    worker.onerror = giveUp;
    port = worker.port;
    port.onmessage = ({ data }: MessageEvent<Said>) => {
      if (data.kind !== 'beat') inboxes.get(data.id)?.put(data);
      else {
        post({ do: 'here' });
        for (const inbox of inboxes.values()) inbox.put(data);
      }
    };
    addEventListener('pagehide', () => {
      post({ do: 'bye' });
      cutAll();
    });
  } catch {
    port = null;
  }
  return port;
}

function post(asked: Asked): void {
  port?.postMessage(asked);
}

/** The server asked for its access token: no other window goes on with what it showed before. */
export function checkAll(): void {
  post({ do: 'check' });
}

/** The worker does not work here: streams are opened by the window itself from now on. */
function giveUp(): void {
  port = null;
  cutAll();
}

function cutAll(): void {
  for (const [id, inbox] of inboxes) inbox.put({ kind: 'cut', id });
}

/**
 * `fetch`, but a stream of a run or of the list of runs comes over the shared connection.
 *
 * @param base the address of the server, with a slash at its end.
 */
export async function shared(base: string, url: string, init: RequestInit): Promise<Response> {
  const path = url.startsWith(base) ? url.slice(base.length) : '';
  const run = /^runs\/([^/?]+)\/events$/.exec(path)?.[1];
  const isList = /^runs(\?(?!.*live=)|$)/.test(path); // not one that asks because streams are held back
  if (!(run || isList) || !connected()) return fetch(url, init);
  const headers = new Headers(init.headers);
  const asking: Asking = {
    do: 'join',
    id: ++count,
    base,
    run: decodeURIComponent(run ?? ''),
    list: isList ? path : '',
    after: headers.get('last-event-id') ?? '',
    link: headers.get('runcast-link') ?? '',
  };
  const asked: RequestInit = { ...init, headers };
  return run ? runStream(url, asked, asking) : listStream(url, asked, asking);
}

async function runStream(url: string, init: RequestInit, asking: Asking): Promise<Response> {
  const stored = (after: string) => {
    const headers = new Headers(init.headers);
    if (after) headers.set('last-event-id', after);
    return fetch(`${url}?live=false`, { ...init, headers });
  };
  const first = await stored(asking.after);
  if (first.status !== 200 || !first.body) return first;
  const start = asking.after || `${first.headers.get('runcast-epoch') ?? ''}-0`;
  return answer(init.signal, asking.id, (out) => followRun(out, first, start, stored, asking));
}

async function followRun(
  out: Out,
  first: Response,
  start: string,
  stored: (after: string) => Promise<Response>,
  asking: Asking,
): Promise<void> {
  let at = await copy(first, start, out);
  const inbox = join({ ...asking, after: at });
  const look = async (): Promise<boolean> => {
    const response = await stored(at);
    if (response.status === 204) return false;
    if (response.status !== 200) throw new TypeError(`the server answered ${response.status}`);
    at = await copy(response, at, out);
    return true;
  };
  let said = await inbox.take(START_MS);
  if (!said) giveUp();
  for (; ; said = await inbox.take()) {
    if (!said || said.kind === 'cut') throw lost();
    if (said.kind === 'beat') await out(':\n\n');
    else if (said.kind === 'full') {
      while (inboxes.has(asking.id) && (await look())) await sleep(LOOK_MS);
      return;
    } else {
      const steps = said.kind === 'frames' ? said.frames : [[said.place, ''] as const];
      let text = '';
      for (const [place, data] of steps) {
        if (isBefore(place, at)) continue;
        if (said.kind === 'joined' || place !== after(at)) {
          await out(text);
          text = '';
          if (!(await look())) return;
        } else {
          text += `id: ${place}\ndata: ${data}\n\n`;
          at = place;
        }
      }
      if (text) await out(text);
    }
  }
}

const lost = () => new TypeError('the shared connection is lost');
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function listStream(url: string, init: RequestInit, asking: Asking): Promise<Response> {
  const inbox = join(asking);
  const said = await inbox.take(START_MS);
  if (said?.kind !== 'joined') {
    if (!said) giveUp();
    leave(asking.id);
    // The server says why; if it answers now, the client tries again.
    const headers = {
      ...Object.fromEntries(new Headers(init.headers)),
      accept: 'application/json',
    };
    const response = await fetch(url, { ...init, headers });
    if (response.ok) throw lost();
    return response;
  }
  return answer(init.signal, asking.id, async (out) => {
    await out(':\n\n');
    for (;;) {
      const next = await inbox.take();
      if (next?.kind === 'cut') throw lost();
      if (next?.kind === 'beat') await out(':\n\n');
      if (next?.kind === 'frames') {
        const texts = next.frames.map(
          ([place, data]) => `id: ${place}\n${data && `data: ${data}\n`}\n`,
        );
        await out(texts.join(''));
      }
    }
  });
}

type Out = (text: string | Uint8Array) => Promise<void>;

/** An answer whose body a function writes, until the signal. */
function answer(
  signal: AbortSignal | null | undefined,
  id: number,
  write: (out: Out) => Promise<void>,
): Response {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const utf8 = new TextEncoder();
  const out: Out = (text) => writer.write(typeof text === 'string' ? utf8.encode(text) : text);
  const stop = () => {
    leave(id);
    void writer.abort(signal?.reason).catch(() => {});
  };
  signal?.addEventListener('abort', stop, { once: true });
  void write(out)
    .then(() => writer.close())
    .catch((error: unknown) => writer.abort(error))
    .catch(() => {})
    .finally(() => {
      signal?.removeEventListener('abort', stop);
      leave(id);
    });
  return new Response(readable, { headers: { 'content-type': 'text/event-stream' } });
}

function join(asking: Asking): Inbox {
  const { id, run } = asking;
  const inbox = new Inbox(run ? { kind: 'frames', id, frames: [LOOK] } : { kind: 'cut', id });
  inboxes.set(id, inbox);
  post(asking);
  return inbox;
}

function leave(id: number): void {
  if (!inboxes.delete(id)) return;
  post({ do: 'leave', id });
}

/** Copy a stream to its end. Returns the position after it. */
async function copy(response: Response, from: string, out: Out): Promise<string> {
  const reader = (response.body as ReadableStream<Uint8Array<ArrayBuffer>>).getReader();
  const utf8 = new TextDecoder();
  let at = from;
  let tail = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return at;
    // The client decodes all of it. Here only the last frame counts: a run may have many events.
    const text = tail + utf8.decode(value, { stream: true });
    const end = text.lastIndexOf('\n\n');
    const frames = `\n${text.slice(0, Math.max(0, end))}`;
    tail = text.slice(Math.max(0, end));
    const id = frames.lastIndexOf('\nid: ');
    if (id >= 0) at = line(frames, id + 5);
    const gap = frames.lastIndexOf('\ndata: {"type":"gap"');
    if (gap > id) at = gapOf(line(frames, gap + 7)) ?? at; // a gap has no position of its own
    await out(value);
  }
}

/** The rest of a line from a place in it. */
function line(text: string, from: number): string {
  const end = text.indexOf('\n', from);
  return text.slice(from, end < 0 ? undefined : end);
}

function gapOf(data: string): string | undefined {
  const { type, data: gap } = JSON.parse(data) as { type: string; data?: { after?: string } };
  return type === 'gap' ? gap?.after : undefined;
}

function parts(position: string): [epoch: string, seq: number] {
  const dash = position.lastIndexOf('-');
  return [position.slice(0, dash), Number(position.slice(dash + 1))];
}

/** The position after another one. */
function after(position: string): string {
  const [epoch, seq] = parts(position);
  return `${epoch}-${seq + 1}`;
}

/** Whether a position is the same as another one, or before it, in the same epoch. */
function isBefore(position: string, other: string): boolean {
  const [epoch, seq] = parts(position);
  const [otherEpoch, otherSeq] = parts(other);
  return epoch === otherEpoch && seq <= otherSeq;
}
