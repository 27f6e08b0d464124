import { RuncastError } from '../errors.js';
import type { RunState, Unread } from '../protocol.generated.js';
import type { Line } from './line.js';
import type { Replies } from './replies.js';

/** What somebody sent into a run. */
export interface Message {
  /** The same when the message is sent again. */
  readonly id: string;
  readonly data: unknown;
  /** Who sent it, as they said. */
  readonly sender: string;
  /** Unix seconds. */
  readonly time: number;
  /** The place of the message in the run's log. */
  readonly seq: number;
}

/**
 * The messages that are sent into a run, in order: `for await (const message of run.inbox())`.
 *
 * The loop goes on until it is left, or throws `cancelled` when somebody cancels the run. A message is
 * acknowledged when the next one is asked for, or when the run ends and was not cancelled.
 */
export class Inbox implements AsyncIterable<Message> {
  readonly #line: Line;
  readonly #replies: Replies;
  #after = 0;
  #inHand: readonly string[] = [];
  #isRead = false;

  /** @internal */
  constructor(line: Line, replies: Replies) {
    this.#line = line;
    this.#replies = replies;
  }

  /** The next message; null if there is none now. */
  poll(): Promise<Message | null> {
    return this.#reading(async () => this.#take(await this.#next(this.#inHand, false)));
  }

  /**
   * The messages that are there now, in order. They are acknowledged together, when the next ones are
   * asked for.
   */
  pollAll(): Promise<Message[]> {
    return this.#reading(async () => {
      const found: Message[] = [];
      let read = this.#inHand;
      for (;;) {
        const message = await this.#next(read, false);
        read = []; // acknowledged by the first call
        if (!message) break;
        found.push(message);
        this.#after = message.seq;
      }
      this.#inHand = found.map(({ id }) => id);
      return found;
    });
  }

  [Symbol.asyncIterator](): AsyncIterator<Message, undefined> {
    const wait = async () => this.#take(await this.#next(this.#inHand, true));
    return {
      next: async () => {
        const value = await this.#reading(wait);
        return value ? { value, done: false } : { value: undefined, done: true };
      },
    };
  }

  /** @internal The ids of what is still to be acknowledged, which are then forgotten. */
  takeRead(): readonly string[] {
    const read = this.#inHand;
    this.#inHand = [];
    return read;
  }

  #take(message: Message | null): Message | null {
    this.#inHand = message ? [message.id] : [];
    if (message) this.#after = message.seq;
    return message;
  }

  /** Acknowledge messages, then find the first unread one after the last. */
  async #next(read: readonly string[], wait: boolean): Promise<Message | null> {
    this.#line.signal.throwIfAborted();
    if (read.length) {
      await this.#line.drain();
      this.#line.emit('message_read', { message_ids: read });
    }
    for (;;) {
      const { events, state } = await this.#line.ask<RunState>('GET', '');
      for (const unread of state.messages) {
        const message = messageOf(unread);
        if (message.seq > this.#after && !read.includes(message.id)) return message;
      }
      if (!wait) return null;
      await this.#replies.messageAfter(Math.max(this.#after, events));
    }
  }

  async #reading<T>(read: () => Promise<T>): Promise<T> {
    if (this.#isRead) {
      throw new RuncastError(
        'invalid_value',
        'expected one reader of the inbox at a time: asking for a message acknowledges the one ' +
          'before; read in one place, and hand messages on from there',
      );
    }
    this.#isRead = true;
    try {
      return await read();
    } finally {
      this.#isRead = false;
    }
  }
}

function messageOf({ message_id: id = '', data = null, from = '', time, seq }: Unread): Message {
  return { id, data, sender: from, time, seq };
}
