export type * from './answers.js';
export {
  BasicClient,
  type ConnectOptions,
  type InvokeOptions,
  type RunsOptions,
  type Selection,
  type SendOptions,
  type WatchOptions,
} from './basic.js';
export { Client, connect } from './client.js';
export { type ErrorDetails, RuncastError } from './errors.js';
export {
  type EventFields,
  type EventOfRun,
  type GapData,
  type GapEvent,
  is,
  isGap,
  isTerminal,
  type KnownEvent,
  type RunEvent,
  type ThreadChange,
} from './events.js';
export { Fold, fold } from './fold.js';
export type * from './protocol.generated.js';
export type { ReconnectOptions } from './reconnect.js';
export {
  type FeedSource,
  type ListOptions,
  ListStore,
  type ListView,
  type RunSource,
  RunStore,
  type RunView,
  type Store,
  type ThreadSource,
  ThreadStore,
  type ThreadView,
} from './stores.js';
export type { ServerOptions } from './transport.js';
export { type Connection, type FollowOptions, type Listeners, Watch } from './watch.js';
