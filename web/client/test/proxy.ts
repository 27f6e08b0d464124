import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** What happens to one stream; `conformance/README.md` says what each fault means. */
export interface Fault {
  readonly fault:
    | 'pass'
    | 'cut'
    | 'reset'
    | 'stall'
    | 'delay'
    | 'hold'
    | 'pieces'
    | 'refuse'
    | 'status'
    | 'page';
  readonly after_bytes?: number;
  readonly ms?: number;
  readonly bytes?: number;
  readonly status?: number;
  readonly retry_after?: string;
  /** Whether it meets every stream from here on. */
  readonly always?: boolean;
}

/** A proxy that spoils streams on purpose, one after the other. Other requests pass. */
export class SpoilingProxy {
  readonly #server: http.Server;
  readonly #upstream: number;
  #faults: readonly Fault[] = [];
  #port = 0;
  /** Streams that were asked for. */
  streams = 0;
  /** Long polls that were asked for. */
  polls = 0;

  constructor(upstream: number) {
    this.#upstream = upstream;
    this.#server = http.createServer((request, answer) => this.#forward(request, answer));
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  /** Spoil the next streams like this. */
  spoil(faults: readonly Fault[]): void {
    this.#faults = faults;
    this.streams = 0;
    this.polls = 0;
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await ended;
  }

  #next({ url = '', headers }: http.IncomingMessage): Fault {
    const pass: Fault = { fault: 'pass' };
    if (!headers.accept?.includes('text/event-stream')) {
      if (url.includes('live=')) this.polls++;
      return pass;
    }
    const met = this.#faults[this.streams++];
    const last = this.#faults.at(-1);
    return met ?? (last?.always ? last : pass);
  }

  #forward(request: http.IncomingMessage, answer: http.ServerResponse): void {
    const fault = this.#next(request);
    const socket = answer.socket;
    if (fault.fault === 'refuse') {
      socket?.destroy();
      return;
    }
    if (fault.fault === 'status') {
      const headers = fault.retry_after ? { 'retry-after': fault.retry_after } : {};
      answer.writeHead(fault.status ?? 503, headers).end();
      return;
    }
    if (fault.fault === 'page') {
      answer.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Please log in</h1>');
      return;
    }
    const upstream = http.request(
      {
        port: this.#upstream,
        host: '127.0.0.1',
        method: request.method,
        path: request.url,
        headers: request.headers,
      },
      (from) => {
        void this.#pass(fault, from, answer).catch(() => socket?.destroy());
      },
    );
    upstream.on('error', () => socket?.destroy());
    answer.on('close', () => upstream.destroy());
    request.pipe(upstream);
  }

  async #pass(
    fault: Fault,
    from: http.IncomingMessage,
    answer: http.ServerResponse,
  ): Promise<void> {
    const held: Buffer[] = [];
    if (fault.fault !== 'hold') {
      answer.writeHead(from.statusCode ?? 502, from.headers);
      answer.flushHeaders();
    }
    let left = fault.after_bytes ?? Number.POSITIVE_INFINITY;
    for await (const chunk of from as AsyncIterable<Buffer>) {
      if (fault.fault === 'hold') {
        held.push(chunk);
        continue;
      }
      if (fault.fault === 'delay') await new Promise((resolve) => setTimeout(resolve, fault.ms));
      const sent = chunk.subarray(0, left);
      left -= sent.length;
      const size = fault.fault === 'pieces' ? (fault.bytes ?? 1) : sent.length || 1;
      for (let place = 0; place < sent.length; place += size) {
        answer.write(sent.subarray(place, place + size));
        if (fault.fault === 'pieces') await new Promise(setImmediate);
      }
      if (left > 0 || fault.after_bytes === undefined) continue;
      if (fault.fault === 'stall') {
        await new Promise((resolve) => answer.once('close', resolve));
        return;
      }
      // What was written has to leave before the connection breaks.
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (fault.fault === 'reset') answer.socket?.resetAndDestroy();
      else answer.socket?.destroy();
      return;
    }
    if (fault.fault === 'hold') {
      answer.writeHead(from.statusCode ?? 502, from.headers);
      for (const chunk of held) answer.write(chunk);
    }
    answer.end();
  }
}
