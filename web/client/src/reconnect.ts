import { isTerminal } from './events.js';

/**
 * What a client does after each thing that happens to its connection, without any I/O.
 *
 * The same table as `runcast.client.reconnect` in Python, and the same vectors test both:
 * `conformance/reconnect.json`.
 */

/** The waits of a client, in seconds. */
export interface ReconnectOptions {
  /** The first wait, until the server sends another one with `retry`. */
  readonly firstS: number;
  /** The longest wait, unless `retry` itself is longer. */
  readonly longestS: number;
  /** The longest `Retry-After` that is obeyed. */
  readonly longestRetryAfterS: number;
  /** A connection that lasted so long does not count as failed, even without an event. */
  readonly steadyS: number;
  /** Failed connections in a row after which to stop; null never stops. */
  readonly attempts: number | null;
}

export const USUAL: ReconnectOptions = {
  firstS: 2,
  longestS: 30,
  longestRetryAfterS: 300,
  steadyS: 10,
  attempts: null,
};

export interface ReconnectState {
  /** What to send as `Last-Event-ID`; "" sends none. */
  readonly position: string;
  /** The id that frames without an id still have after a gap; it does not move the position. */
  readonly voidId: string;
  /** The server's last `retry`, in seconds. */
  readonly retryS: number | null;
  /** Failed connections in a row. */
  readonly failures: number;
  /** Whether an event has come on this connection. */
  readonly hasMoved: boolean;
}

export const begin = (position = ''): ReconnectState => ({
  position,
  voidId: '',
  retryS: null,
  failures: 0,
  hasMoved: false,
});

export type Happened =
  | {
      readonly on: 'answer';
      readonly status: number;
      readonly isStream?: boolean;
      readonly retryAfterS?: number | null;
      readonly retryable?: boolean | null;
    }
  | { readonly on: 'event'; readonly id: string; readonly type: string }
  | { readonly on: 'gap'; readonly after: string }
  | { readonly on: 'retry'; readonly retryMs: number }
  | { readonly on: 'cut'; readonly lastedS?: number };

export type StopReason =
  | 'complete'
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'refused'
  | 'unreachable';

export type Action =
  | { readonly do: 'read' }
  | { readonly do: 'connect'; readonly waitS: number }
  | { readonly do: 'stop'; readonly reason: StopReason };

const READ: Action = { do: 'read' };
const REASONS: Record<number, StopReason> = {
  204: 'complete',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
};
/** The largest random part of a wait. */
const JITTER = 0.5;

/** Whether a status may pass: the same request can succeed later. */
export const mayPass = (status: number): boolean =>
  status >= 500 || status === 408 || status === 425 || status === 429;

const stop = (reason: StopReason): Action => ({ do: 'stop', reason });

/**
 * The next state and action of a client.
 *
 * @param chance a random number from 0 up to 1, new for each call.
 */
export function react(
  state: ReconnectState,
  happened: Happened,
  chance = 0,
  options: ReconnectOptions = USUAL,
): [ReconnectState, Action] {
  switch (happened.on) {
    case 'answer': {
      const { status, isStream = true, retryAfterS, retryable } = happened;
      const reason = REASONS[status];
      if (reason) return [state, stop(reason)];
      if (status === 200) return [state, isStream ? READ : stop('refused')];
      if (!(retryable ?? mayPass(status))) return [state, stop('refused')];
      const leastS = Math.min(retryAfterS ?? 0, options.longestRetryAfterS);
      return comeBack(state, state.failures, leastS, chance, options);
    }
    case 'event': {
      const moves = happened.id !== '' && happened.id !== state.voidId;
      const moved = moves ? { position: happened.id, voidId: '' } : undefined;
      return [
        { ...state, ...moved, hasMoved: true },
        isTerminal(happened) ? stop('complete') : READ,
      ];
    }
    case 'gap':
      return [{ ...state, position: happened.after, voidId: state.voidId || state.position }, READ];
    case 'retry':
      return [{ ...state, retryS: happened.retryMs / 1000 }, READ];
    case 'cut': {
      const isSteady = state.hasMoved || (happened.lastedS ?? 0) >= options.steadyS;
      return comeBack(state, isSteady ? 0 : state.failures, 0, chance, options);
    }
  }
}

function comeBack(
  before: ReconnectState,
  failures: number,
  leastS: number,
  chance: number,
  options: ReconnectOptions,
): [ReconnectState, Action] {
  const state = { ...before, voidId: '', failures: failures + 1, hasMoved: false };
  if (options.attempts !== null && state.failures >= options.attempts) {
    return [state, stop('unreachable')];
  }
  const firstS = state.retryS ?? options.firstS;
  const doubledS = firstS * 2 ** Math.min(failures, 32);
  const waitS = Math.min(doubledS, Math.max(firstS, options.longestS)) * (1 + JITTER * chance);
  return [state, { do: 'connect', waitS: Math.max(waitS, leastS) }];
}
