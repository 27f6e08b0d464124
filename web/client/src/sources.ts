import type { RunChange } from './answers.js';
import { isRecord, RuncastError } from './errors.js';
import { type EventOfRun, isGap, isTerminal, type RunEvent, type ThreadChange } from './events.js';
import { SseDecoder } from './sse.js';
import { pause, type Transport } from './transport.js';
import type { Page, Source } from './watch.js';

/** How long a server and the networks between may hold a long poll, in seconds. */
const LONG_POLL_S = 60;

/** How long to wait between two questions for what the server cannot hold back, in ms. */
const POLL_MS = 2000;

interface EventsPage {
  readonly events: readonly RunEvent[];
  readonly position: string;
  readonly closed: boolean;
  readonly gap?: unknown;
}

/** Leaves out events that were seen before, by their places in the log. */
class Seen {
  #epoch = '';
  #seq = 0;

  /** Whether an event is new. */
  take(event: RunEvent, id: string): boolean {
    if (isGap(event)) {
      this.#seq = 0;
      return true;
    }
    const epoch = id.slice(0, id.lastIndexOf('-'));
    if (epoch !== this.#epoch) {
      this.#epoch = epoch;
      this.#seq = 0;
    }
    if (event.seq <= this.#seq && event.seq > 0) return false;
    this.#seq = Math.max(this.#seq, event.seq);
    return true;
  }
}

/** The events of one run. */
export function followRun(
  transport: Transport,
  path: string,
  query: URLSearchParams,
): Source<RunEvent> {
  const seen = new Seen();
  return {
    path: withQuery(`${path}/events`, query),
    read(data, id) {
      const event = eventOf(parse(data, transport.parse));
      if (!seen.take(event, id)) return null;
      const happened = isGap(event)
        ? ({ on: 'gap', after: String(event.data.after ?? '') } as const)
        : ({ on: 'event', id, type: event.type } as const);
      return { value: event, happened };
    },
    async poll(position, signal): Promise<Page> {
      const asked = new URLSearchParams(query);
      asked.set('live', 'long-poll');
      if (position) asked.set('after', position);
      const page = await transport.ask<EventsPage>('GET', `${path}/events?${asked}`, {
        signal,
        timeoutS: LONG_POLL_S,
      });
      const frames = eventsOf(page).map(({ event, position: id }) => ({
        data: JSON.stringify(event),
        id,
      }));
      return { frames, position: page.position, closed: page.closed };
    },
  };
}

/** A run's events in the form of a dialect, until nothing follows. */
export function followDialect(path: string, query: URLSearchParams): Source<unknown> {
  return {
    path: withQuery(`${path}/events`, query),
    read: (data, id) => ({ value: parse(data), happened: { on: 'event', id, type: '' } }),
  };
}

/** The events of several runs, until all have ended. */
export function followMany(transport: Transport, runs: readonly string[]): Source<EventOfRun> {
  const open = new Set(runs);
  let isFirst = true;
  return {
    path: withQuery('/events', new URLSearchParams(runs.map((run) => ['run', run]))),
    read(data, id) {
      const value = ofRun(parse(data));
      if (isTerminal(value.event)) open.delete(value.run);
      // The position of a run does not move at its gap: the next event has a vector with it.
      return { value, happened: { on: 'event', id, type: open.size ? '' : value.event.type } };
    },
    async poll(position, signal): Promise<Page> {
      if (!isFirst) await pause(POLL_MS, signal);
      isFirst = false;
      const places = new Map(position.split(',').map(divided));
      places.delete('');
      const asked = [...open].map(async (run) => {
        const query = new URLSearchParams({ live: 'false' });
        const after = places.get(run);
        if (after) query.set('after', after);
        const path = `/runs/${encodeURIComponent(run)}/events?${query}`;
        return [run, await transport.ask<EventsPage>('GET', path, { signal })] as const;
      });
      const frames: { data: string; id: string }[] = [];
      const vector = () => Array.from(places, (each) => each.join('=')).join(',');
      for (const [run, page] of await Promise.all(asked)) {
        for (const { event, position: place } of eventsOf(page)) {
          if (place) places.set(run, place);
          frames.push({ data: JSON.stringify({ run, event }), id: vector() });
        }
        places.set(run, page.position);
        if (page.closed && !page.events.length && !page.gap) open.delete(run);
      }
      return { frames, position: vector(), closed: !open.size && !frames.length };
    },
  };
}

/** A run and its position, from `run=position`. */
function divided(text: string): [string, string] {
  const place = text.lastIndexOf('=');
  return [text.slice(0, Math.max(0, place)), text.slice(place + 1)];
}

/** The events of a page, each with its position; "" for a gap. */
function eventsOf(page: EventsPage): { event: object; position: string }[] {
  if (!Array.isArray(page?.events)) throw notRuncast();
  const epoch = page.position.slice(0, page.position.lastIndexOf('-'));
  const gap = page.gap ? [{ event: { type: 'gap', data: page.gap }, position: '' }] : [];
  const events = page.events.map((event: RunEvent) => ({
    event,
    position: event.seq ? `${epoch}-${event.seq}` : '',
  }));
  return [...gap, ...events];
}

/** The events of runs that are not known beforehand. */
export function followThread(transport: Transport, query: URLSearchParams): Source<ThreadChange> {
  const path = withQuery('/events', query);
  return {
    path,
    poll: nextFrames(transport, path),
    read(data, id) {
      const given = record(parse(data));
      const value = 'run' in given ? ofRun(given) : (given as unknown as ThreadChange);
      return { value, happened: { on: 'event', id, type: '' } };
    },
  };
}

/** The runs of a list, and then each run that changes. */
export function followFeed(transport: Transport, query: URLSearchParams): Source<RunChange> {
  const path = withQuery('/runs', query);
  return {
    path,
    read(data, id) {
      const value = record(parse(data)) as unknown as RunChange;
      return { value, happened: { on: 'event', id, type: '' } };
    },
    poll: nextFrames(transport, path),
  };
}

/** Asks for the next frames of a stream as a whole answer (docs/protocol.md ). */
function nextFrames(transport: Transport, path: string) {
  return async (position: string, signal: AbortSignal): Promise<Page> => {
    const query = new URLSearchParams({ live: 'long-poll', ...(position && { after: position }) });
    const asked = `${path}${path.includes('?') ? '&' : '?'}${query}`;
    const headers = { accept: 'text/event-stream' };
    const text = await transport.read('GET', asked, { headers, signal, timeoutS: LONG_POLL_S });
    const decoder = new SseDecoder(position);
    const frames = decoder.feed(new TextEncoder().encode(text));
    return { frames, position: decoder.lastEventId, closed: false };
  };
}

function record(given: unknown): Record<string, unknown> {
  if (!isRecord(given)) throw notRuncast();
  return given;
}

function ofRun(given: unknown): EventOfRun {
  const { run, event } = record(given);
  if (typeof run !== 'string') throw notRuncast();
  return { run, event: eventOf(event) };
}

const withQuery = (path: string, query: URLSearchParams): string => {
  const text = query.toString();
  return text ? `${path}?${text}` : path;
};

function parse(data: string, read: Transport['parse'] = JSON.parse): unknown {
  try {
    return read(data);
  } catch {
    throw notRuncast();
  }
}

function eventOf(given: unknown): RunEvent {
  if (!isRecord(given) || typeof given.type !== 'string') throw notRuncast();
  const { seq, time } = given;
  const isWhole = typeof seq === 'number' && typeof time === 'number';
  return (isWhole ? given : { seq: 0, time: 0, ...given }) as unknown as RunEvent;
}

const notRuncast = (): RuncastError =>
  new RuncastError(
    'peer_error',
    'expected an event, got something else; is this a runcast server?',
    200,
  );
