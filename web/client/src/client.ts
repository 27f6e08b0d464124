import type { DeliveryInfo, DeliveryWays } from './answers.js';
import {
  BasicClient,
  type ConnectOptions,
  pathOf,
  select,
  viewed,
  type WatchOptions,
} from './basic.js';
import { isRecord, RuncastError } from './errors.js';
import { type EventOfRun, isTerminal, type ThreadChange } from './events.js';
import type { FileInfo } from './protocol.generated.js';
import { followDialect, followMany, followThread } from './sources.js';
import type { FollowOptions, Watch } from './watch.js';

/** How long one request waits for the end of a delivery, in seconds: less than a client's time-out. */
const RECEIPT_WAIT_S = 20;

/** The functions and the runs of a server. Every method throws `RuncastError`. */
export class Client extends BasicClient {
  /**
   * Wait for the end of a run and return its result.
   *
   * @throws RuncastError with `runId` set if the run failed or was cancelled.
   */
  async result(runId: string, options: FollowOptions = {}): Promise<unknown> {
    const watch = this.watch(runId, { ...options, types: ['done'] });
    for await (const { type, data } of watch) {
      if (isTerminal({ type })) return outcome(runId, type, isRecord(data) ? data : {});
    }
    options.signal?.throwIfAborted();
    const { status, result, failure, cancel_reason: reason } = (await this.snapshot(runId)).state;
    return outcome(runId, status, { ...failure, result, reason });
  }

  /**
   * A run's events in the form of a dialect, such as `flat`, each as the JSON of its frame. It ends
   * once the server has said that nothing follows.
   */
  watchDialect(runId: string, dialect: string, options: WatchOptions = {}): Watch<unknown> {
    const query = viewed(options);
    query.set('dialect', dialect);
    return this.follow(followDialect(pathOf(runId), query), options);
  }

  /** The events of 1 to 32 runs over one connection, until all have ended. */
  watchAll(runs: readonly string[], options: FollowOptions = {}): Watch<EventOfRun> {
    return this.follow(followMany(this.transport, runs), options);
  }

  /**
   * The events of all runs with some labels over one connection, also of runs that begin later. No
   * end. It begins with the newest runs: at most `limit`, 1 to 32.
   */
  watchThread(
    labels: Readonly<Record<string, string>>,
    options: FollowOptions & { readonly function?: string; readonly limit?: number } = {},
  ): Watch<ThreadChange> {
    const query = select(new URLSearchParams(), { ...options, labels });
    if (options.limit) query.set('limit', String(options.limit));
    return this.follow(followThread(this.transport, query), options);
  }

  /** Delete a run. A run that is at work is cancelled first. */
  async delete(runId: string): Promise<void> {
    await this.transport.ask('DELETE', pathOf(runId));
  }

  /**
   * Have the server deliver a run to a chat, and return the id of the delivery. Several calls deliver
   * it once.
   *
   * @param target a name of the server's channels file, like `telegram:ops`.
   * @param ways what is shown, and how it ends; without them, as the channels file says.
   */
  async deliver(runId: string, target: string, ways: DeliveryWays = {}): Promise<string> {
    const path = `${pathOf(runId)}/deliveries`;
    const json = { target, ...ways };
    const begun = await this.insist<{ delivery_id: string }>('POST', path, { json });
    return begun.delivery_id;
  }

  /** The deliveries of a run to chats, newest first, and what became of them. */
  async deliveries(runId: string): Promise<DeliveryInfo[]> {
    const path = `${pathOf(runId)}/deliveries`;
    return (await this.insist<{ deliveries: DeliveryInfo[] }>('GET', path)).deliveries;
  }

  /**
   * Wait until a delivery of a run has ended, and return what became of it.
   *
   * @throws RuncastError `not_found` if the run has no such delivery.
   */
  async receipt(
    runId: string,
    deliveryId: string,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<DeliveryInfo> {
    const query = new URLSearchParams({ delivery_id: deliveryId, wait_s: String(RECEIPT_WAIT_S) });
    const path = `${pathOf(runId)}/deliveries?${query}`;
    for (;;) {
      const { deliveries } = await this.insist<{ deliveries: DeliveryInfo[] }>(
        'GET',
        path,
        options,
      );
      const [found] = deliveries;
      if (!found) {
        throw new RuncastError('not_found', `the run has no delivery ${deliveryId}`, 404);
      }
      if (found.status !== 'delivering') return found;
    }
  }

  /** The files that a run made; none until its end. */
  async files(runId: string): Promise<FileInfo[]> {
    return (await this.insist<{ files: FileInfo[] }>('GET', `${pathOf(runId)}/files`)).files;
  }
}

/** A client of a server; by default of that which served the page. */
export const connect = (options: ConnectOptions | string = {}): Client => new Client(options);

function outcome(runId: string, type: string, data: Record<string, unknown>): unknown {
  if (type === 'done') return data.result;
  const isCancelled = type === 'cancelled';
  const code = isCancelled ? 'cancelled' : String(data.code ?? 'function_error');
  const said = isCancelled
    ? `the run was cancelled: ${data.reason ?? ''}`
    : String(data.message ?? '');
  throw new RuncastError(code, said, 500, null, { runId });
}
