/** A frame of a stream; without data it only moves the position. */
export interface Frame {
  /** The last position of the stream at the end of this frame. */
  readonly id: string;
  readonly data: string;
}

/**
 * Decodes the streams of this server, whose lines end with LF and whose events have one line of data
 * each (docs/protocol.md ). Everything else a stream may have is left out, so that the
 * worker stays small.
 */
export class FrameDecoder {
  readonly #text = new TextDecoder();
  #tail = '';
  #id: string;

  constructor(id: string) {
    this.#id = id;
  }

  *feed(chunk: Uint8Array): Generator<Frame> {
    const blocks = (this.#tail + this.#text.decode(chunk, { stream: true })).split('\n\n');
    this.#tail = blocks.pop() as string;
    for (const block of blocks) {
      const id = /^id: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1] ?? '';
      this.#id = id ?? this.#id;
      if (id || data) yield { id: this.#id, data };
    }
  }
}
