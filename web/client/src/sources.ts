import type { RunChange } from './answers.js';
import { isRecord, RuncastError } from './errors.js';
import { type EventOfRun, isGap, isTerminal, type RunEvent, type ThreadChange } from './events.js';
import type { Transport } from './transport.js';
import type { Page, Source } from './watch.js';

/** How long a server and the networks between may hold a long poll, in seconds. */
const LONG_POLL_S = 60;

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
      const event = eventOf(parse(data));
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
      if (!Array.isArray(page?.events)) throw notRuncast();
      const epoch = page.position.slice(0, page.position.lastIndexOf('-'));
      const frames = page.events.map((event) => ({
        data: JSON.stringify(event),
        id: event.seq ? `${epoch}-${event.seq}` : '',
      }));
      if (page.gap)
        frames.unshift({ data: JSON.stringify({ type: 'gap', data: page.gap }), id: '' });
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
export function followMany(runs: readonly string[]): Source<EventOfRun> {
  const open = new Set(runs);
  return {
    path: withQuery('/events', new URLSearchParams(runs.map((run) => ['run', run]))),
    read(data, id) {
      const value = ofRun(parse(data));
      if (isTerminal(value.event)) open.delete(value.run);
      // The position of a run does not move at its gap: the next event has a vector with it.
      return { value, happened: { on: 'event', id, type: open.size ? '' : value.event.type } };
    },
  };
}

/** The events of runs that are not known beforehand. */
export function followThread(query: URLSearchParams): Source<ThreadChange> {
  return {
    path: withQuery('/events', query),
    read(data, id) {
      const given = record(parse(data));
      const value = 'run' in given ? ofRun(given) : (given as unknown as ThreadChange);
      return { value, happened: { on: 'event', id, type: '' } };
    },
  };
}

/** The runs of a list, and then each run that changes. */
export function followFeed(query: URLSearchParams): Source<RunChange> {
  return {
    path: withQuery('/runs', query),
    read(data, id) {
      const value = record(parse(data)) as unknown as RunChange;
      return { value, happened: { on: 'event', id, type: '' } };
    },
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

function parse(data: string): unknown {
  try {
    return JSON.parse(data);
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
