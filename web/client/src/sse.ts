/**
 * Decodes Server-Sent Events, as WHATWG HTML 9.2.6 says.
 *
 * Two rules matter here that common parsers leave out. An id without data moves the position
 * (docs/protocol.md ). And an event is due with the last byte that it needs, even if this byte
 * is a lone CR. The vectors in `conformance/sse-decode.json` test both.
 */

export interface Frame {
  readonly event: string;
  readonly data: string;
  /** The last id of the stream at the end of this frame: its own, or an earlier one. */
  readonly id: string;
}

/** The longest line, and the most data of one frame, in characters: as in Python. */
export const MAX_CHARS = 16 * 1024 * 1024;

export class SseDecoder {
  /** The last id at an empty line, for `Last-Event-ID`. */
  lastEventId: string;
  /** The last reconnection time, in milliseconds. */
  retryMs: number | null = null;
  readonly #text = new TextDecoder();
  #tail = '';
  #id: string;
  #event = '';
  #data: string[] = [];
  #chars = 0;
  #skipsLf = false;

  constructor(lastEventId = '') {
    this.lastEventId = lastEventId;
    this.#id = lastEventId;
  }

  /**
   * The frames that end within the next bytes of the stream.
   *
   * @throws RangeError a line or a frame is longer than `MAX_CHARS`.
   */
  feed(chunk: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    let text = this.#text.decode(chunk, { stream: true });
    if (this.#skipsLf && text) {
      if (text[0] === '\n') text = text.slice(1);
      this.#skipsLf = false;
    }
    if (text.includes('\r')) {
      this.#skipsLf = text.endsWith('\r');
      text = text.replace(/\r\n?/g, '\n');
    }
    const lines = text.split('\n');
    // The tail grows as a rope: joining it at every chunk would take quadratic time.
    const rest = lines.pop() as string;
    if (lines.length) {
      lines[0] = this.#tail + lines[0];
      this.#tail = '';
      for (const line of lines) this.#read(line, frames);
    }
    this.#tail += rest;
    check(this.#tail.length);
    return frames;
  }

  #read(line: string, frames: Frame[]): void {
    if (!line) {
      const id = this.#id;
      this.lastEventId = id;
      if (this.#data.length) {
        frames.push({ event: this.#event || 'message', data: this.#data.join('\n'), id });
      }
      this.#data = [];
      this.#chars = 0;
      this.#event = '';
      return;
    }
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (name === 'data') {
      this.#data.push(value);
      this.#chars += value.length + 1;
      check(this.#chars);
    } else if (name === 'id') {
      if (!value.includes('\0')) this.#id = value;
    } else if (name === 'event') {
      this.#event = value;
    } else if (name === 'retry' && /^[0-9]+$/.test(value)) {
      this.retryMs = Math.min(Number(value), MAX_RETRY_MS);
    }
  }
}

/** The longest reconnection time: a timer of JavaScript cannot wait longer. */
const MAX_RETRY_MS = 2 ** 31 - 1;

function check(chars: number): void {
  if (chars > MAX_CHARS)
    throw new RangeError(`expected a frame of at most ${MAX_CHARS} characters`);
}
