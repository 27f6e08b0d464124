import { expect, test } from 'vitest';
import { type Frame, SseDecoder } from '../src/sse.js';
import { vectors } from './vectors.js';

interface Vector {
  readonly input?: string | string[];
  readonly input_base64?: string;
  readonly events: Frame[];
  readonly last_event_id: string;
  readonly retry_ms: number | null;
}

const VECTORS = vectors<Vector>('sse-decode.json');

function bytesOf({ input, input_base64 }: Vector): Uint8Array {
  if (input_base64 !== undefined) return Buffer.from(input_base64, 'base64');
  return new TextEncoder().encode([input ?? []].flat().join(''));
}

function check(vector: Vector, chunks: Iterable<Uint8Array>): void {
  const decoder = new SseDecoder();
  const events = [...chunks].flatMap((chunk) => decoder.feed(chunk));
  expect(events).toEqual(vector.events);
  expect(decoder.lastEventId).toBe(vector.last_event_id);
  expect(decoder.retryMs).toBe(vector.retry_ms);
}

test.each(VECTORS)('$name', (vector) => {
  const bytes = bytesOf(vector);
  check(vector, [bytes]);
  check(
    vector,
    Array.from(bytes, (byte) => Uint8Array.of(byte)),
  );
  const none = new Uint8Array();
  for (let cut = 0; cut <= bytes.length; cut++) {
    check(vector, [none, bytes.subarray(0, cut), none, bytes.subarray(cut)]);
    if (bytes.length > 40) continue;
    for (let end = cut; end <= bytes.length; end++) {
      check(vector, [bytes.subarray(0, cut), bytes.subarray(cut, end), bytes.subarray(end)]);
    }
  }
});

test('a frame that never ends is refused', () => {
  const decoder = new SseDecoder();
  const chunk = new Uint8Array(1024 * 1024).fill(97);
  expect(() => {
    for (let sent = 0; sent < 20; sent++) decoder.feed(chunk);
  }).toThrow('expected a frame of at most');
});
