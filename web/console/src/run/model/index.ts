import type { RunEvent } from '@runcast/client';
import { name } from './fields';
import type { RunLog } from './log';
import { Story } from './story';
import { Timeline } from './timeline';

/** What the page looks up in the events it holds; made again when earlier events are loaded. */
export class LogIndex {
  readonly timeline = new Timeline();
  readonly story = new Story();
  /** The events of type `log`, in order. */
  readonly lines: RunEvent[] = [];
  readonly levels = new Set<string>();
  /** How many events of each type are held. */
  readonly types = new Map<string, number>();

  constructor(log: RunLog) {
    this.add(log.events);
  }

  add(events: readonly RunEvent[]): void {
    for (const event of events) {
      this.timeline.add(event);
      this.story.add(event);
      this.types.set(event.type, (this.types.get(event.type) ?? 0) + 1);
      if (event.type !== 'log') continue;
      this.lines.push(event);
      if (this.levels.size < 50) this.levels.add(levelOf(event));
    }
  }
}

const RANKS: ReadonlyMap<string, number> = new Map([
  ['trace', 0],
  ['debug', 1],
  ['info', 2],
  ['notice', 2],
  ['warn', 3],
  ['warning', 3],
  ['error', 4],
  ['err', 4],
  ['fatal', 5],
  ['critical', 5],
]);

export const LEVELS = ['debug', 'info', 'warning', 'error'] as const;
export type Level = (typeof LEVELS)[number];

export const levelOf = (event: RunEvent): string =>
  name(event, 'level', 'type').toLowerCase() || 'info';

/** How severe a level is, as one of four; a level of unknown name counts as `info`. */
export function severityOf(level: string): Level {
  const rank = RANKS.get(level) ?? 2;
  return rank <= 1 ? 'debug' : rank === 2 ? 'info' : rank === 3 ? 'warning' : 'error';
}

/** Return the log lines of at least a level that contain a text, in any case, up to a `seq`. */
export function filterLines(
  lines: readonly RunEvent[],
  { least, text, upTo }: { least: Level; text: string; upTo: number },
): RunEvent[] {
  const rank = LEVELS.indexOf(least);
  const wanted = text.trim().toLowerCase();
  return lines.filter((event) => {
    if (event.seq > upTo) return false;
    if (rank > 0 && LEVELS.indexOf(severityOf(levelOf(event))) < rank) return false;
    return !wanted || searchable(event).includes(wanted);
  });
}

/** The texts that search looks at, made once for each event. */
const texts = new WeakMap<RunEvent, string>();

export function searchable(event: RunEvent): string {
  let text = texts.get(event);
  if (text === undefined) {
    const where = `${event.type} ${event.node ?? ''} ${event.agent ?? ''}`;
    text =
      `${where} ${typeof event.data === 'string' ? event.data : JSON.stringify(event.data)}`.toLowerCase();
    texts.set(event, text);
  }
  return text;
}
