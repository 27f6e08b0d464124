import type { EventData } from './protocol.generated.js';

/** The fields of an event besides its type and data. Source: docs/protocol.md. */
export interface EventFields {
  /** The place in the log, from 1. */
  readonly seq: number;
  /** Unix time in seconds. */
  readonly time: number;
  /** The place in the function's graph. */
  readonly node?: string;
  /** The agent that acts. */
  readonly agent?: string;
  /** The agents above, outermost first. */
  readonly path?: readonly string[];
  /** Seconds. */
  readonly duration?: number;
}

/** An event of a type that runcast gives a meaning. */
export type KnownEvent = {
  [T in keyof EventData]: EventFields & { readonly type: T; readonly data: EventData[T] };
}[keyof EventData];

/** The data of a gap: events between `before` and `after` cannot be read any more. */
export interface GapData {
  readonly reason: 'trimmed' | 'replaced' | 'rewound';
  readonly before: string;
  readonly after: string;
}

/** The notice of a loss. Its `seq` is 0, because it is not an event of the log. */
export interface GapEvent extends EventFields {
  readonly seq: 0;
  readonly type: 'gap';
  readonly data: GapData;
}

/** An event of any type, with data of any shape, as it is on the wire. */
export interface RunEvent extends EventFields {
  readonly type: string;
  readonly data: unknown;
}

/** An event of one of several runs. */
export interface EventOfRun {
  readonly run: string;
  readonly event: RunEvent;
}

/** What a stream of all runs with some labels brings. Source: docs/protocol.md. */
export type ThreadChange =
  | EventOfRun
  /** There are older runs: `runs({ labels, before })` lists them. */
  | { readonly earlier: string }
  /** A run that was deleted. */
  | { readonly deleted: string }
  /** A run whose labels do not match any more. */
  | { readonly left: string }
  /** A run for which there is no room: it comes when it ends or there is room. */
  | { readonly left_out: string }
  /** Everything begins again, and replaces what there is. */
  | { readonly gap: { readonly reason: string } };

/** Whether this is the notice of a loss. */
export const isGap = (event: RunEvent): event is GapEvent => event.type === 'gap' && !event.seq;

/** Whether this event ends its run. */
export const isTerminal = ({ type }: { readonly type: string }): boolean =>
  type === 'done' || type === 'failed' || type === 'cancelled';

/**
 * Whether an event has this known type; its data then has the fields of that type.
 *
 * The fields may have any type all the same, because a function may write what it likes.
 */
export const is = <T extends keyof EventData>(
  event: RunEvent,
  type: T,
): event is RunEvent & { readonly type: T; readonly data: EventData[T] } =>
  event.type === type && typeof event.data === 'object' && event.data !== null;
