/**
 * The shared worker: it reads the streams of all windows of a browser over a few connections.
 *
 * One connection is for all runs, one for the list of runs, and at most two are for links. They leave
 * room for requests among the six connections that a browser opens to a server with HTTP/1.1.
 *
 * The worker promises little, so that it can stay small: it forwards frames. Each window compares
 * them with its own position and asks the server if they do not fit (`streams.ts`). So the worker
 * cannot make a window miss an event, see one twice, or see a run that the server refuses to it.
 */

import { Feed, Runs, type Subscription } from './channels';
import type { Asked } from './messages';

/** The most links that are followed at once; further ones are asked for now and then. */
const MAX_LINKS = 2;
/** How often windows hear that a connection lives, and say that they live, in ms. */
const BEAT_MS = 10_000;
/** A window that has said nothing for so long is gone, in ms. */
const GONE_MS = 45_000;

/** A window, and what it follows. */
interface Window {
  readonly port: MessagePort;
  readonly subscriptions: Map<number, Subscription>;
  seenAt: number;
}

const windows = new Set<Window>();
const runs = new Map<string, Runs>();
const feeds = new Map<string, Feed>();
const links = new Map<string, Runs>();
let beatAt = 0;

function connect(port: MessagePort): void {
  const window: Window = { port, subscriptions: new Map(), seenAt: Date.now() };
  windows.add(window);
  port.onmessage = ({ data }: MessageEvent<Asked>) => {
    window.seenAt = Date.now();
    windows.add(window); // it was only asleep
    if (data.do === 'join') join(window, data);
    else if (data.do === 'leave') leave(window, data.id);
    else if (data.do === 'bye') forget(window);
    else if (data.do === 'check') check();
  };
  check(); // a page is loaded after a sign-in or a sign-out, too
}

/**
 * Open the connections again, with the cookie that the browser has now. If the server refuses it,
 * each window asks for itself, and is refused.
 */
function check(): void {
  for (const channel of [...runs.values(), ...feeds.values()]) channel.restart();
}

function join(window: Window, asked: Extract<Asked, { do: 'join' }>): void {
  const { id, base, run, list, after, link } = asked;
  const subscription: Subscription = {
    run,
    list,
    after,
    steps: [],
    say: (said) => window.port.postMessage({ ...said, id }),
  };
  const key = link ? `${base} ${run} ${link}` : base;
  if (link && !links.has(key) && links.size >= MAX_LINKS) {
    subscription.say({ kind: 'full' });
    return;
  }
  const channel = link
    ? of(links, key, () => new Runs(base, beat, link))
    : run
      ? of(runs, key, () => new Runs(base, beat, ''))
      : of(feeds, key, () => new Feed(base, beat));
  window.subscriptions.set(id, subscription);
  subscription.leave = () => {
    channel.leave(subscription);
    if (link && channel.isEmpty) links.delete(key);
  };
  channel.join(subscription);
}

function leave(window: Window, id: number): void {
  window.subscriptions.get(id)?.leave?.();
  window.subscriptions.delete(id);
}

function forget(window: Window): void {
  for (const id of [...window.subscriptions.keys()]) leave(window, id);
  windows.delete(window);
}

/** A connection lives. Windows that were closed without a word are found here, too. */
function beat(): void {
  const now = Date.now();
  if (now - beatAt < BEAT_MS) return;
  beatAt = now;
  for (const window of windows) {
    if (now - window.seenAt > GONE_MS) forget(window);
    else window.port.postMessage({ kind: 'beat' });
  }
}

function of<C>(channels: Map<string, C>, key: string, make: () => C): C {
  const found = channels.get(key) ?? make();
  channels.set(key, found);
  return found;
}

const scope = globalThis as unknown as { onconnect: (event: MessageEvent) => void };
scope.onconnect = ({ ports: [port] }) => {
  if (port) connect(port);
};
