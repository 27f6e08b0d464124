import { describe, expect, test } from 'vitest';
import type { RunEvent } from '../src/events.js';
import { Fold, fold } from '../src/fold.js';
import type { Snapshot } from '../src/protocol.generated.js';
import { vectors } from './vectors.js';

interface Vector {
  readonly events: readonly RunEvent[];
  readonly start?: Partial<Snapshot>;
  readonly snapshot: Partial<Snapshot>;
}

const VECTORS = vectors<Vector>('fold.json');
const EMPTY = VECTORS[0]?.snapshot as Snapshot;
const whole = (part: Partial<Snapshot> | undefined): Snapshot => ({
  ...structuredClone(EMPTY),
  ...part,
  dropped: { ...EMPTY.dropped, ...part?.dropped },
});
const asJson = (value: Snapshot): Snapshot => JSON.parse(JSON.stringify(value));

describe.each(VECTORS)('$name', (vector) => {
  const { events } = vector;
  const expected = whole(vector.snapshot);

  test('adds up to the snapshot', () => {
    expect(asJson(fold(events, whole(vector.start)))).toEqual(expected);
  });

  test('adds up to it in two parts, cut at every place, the first one stored as JSON', () => {
    const first = new Fold(whole(vector.start));
    // Long logs are cut at fewer places.
    const every = Math.ceil(events.length / 50);
    for (const [index, event] of events.entries()) {
      first.apply(event);
      if (index % every) continue;
      const rest = events.slice(index + 1);
      const stored = fold(rest, asJson(first.snapshot));
      const copied = rest.reduce((copy, each) => copy.apply(each), first.copy());
      expect(asJson(stored)).toEqual(expected);
      expect(asJson(copied.snapshot)).toEqual(expected);
    }
    expect(asJson(first.snapshot)).toEqual(expected);
  });

  test('changes no snapshot that was taken before', () => {
    const folded = new Fold(whole(vector.start));
    const before = folded.snapshot;
    const text = JSON.stringify(before);
    for (const event of events.slice(0, 40)) {
      const earlier = folded.snapshot;
      const said = JSON.stringify(earlier);
      folded.apply(event);
      folded.snapshot;
      expect(JSON.stringify(earlier)).toBe(said);
    }
    expect(JSON.stringify(before)).toBe(text);
  });
});

const text = (seq: number): RunEvent => ({ seq, time: seq, type: 'content', data: { text: 'a ' } });

test('parts that did not change are the same objects as before', () => {
  const folded = new Fold();
  folded.apply({ seq: 1, time: 1, type: 'started', data: {} });
  folded.apply({ seq: 2, time: 2, type: 'log', data: { message: 'x' } });
  const before = folded.snapshot;
  folded.apply(text(3));
  const after = folded.snapshot;

  expect(folded.snapshot).toBe(after);
  expect(after).not.toBe(before);
  expect(after.logs).toBe(before.logs);
  expect(after.texts).not.toBe(before.texts);
});

test('a copy goes its own way', () => {
  const one = new Fold().apply(text(1));
  const other = one.copy().apply(text(2));
  one.apply({ seq: 2, time: 2, type: 'log', data: 'x' });

  expect(one.snapshot.texts[0]?.text).toBe('a ');
  expect(one.snapshot.logs).toHaveLength(1);
  expect(other.snapshot.texts[0]?.text).toBe('a a ');
  expect(other.snapshot.logs).toHaveLength(0);
});

test.each(['__proto__', 'constructor', 'toString'])('%s is a name like others', (name) => {
  const data = JSON.parse(`{"labels": {"${name}": "x"}, "function": "f"}`);
  const folded = new Fold().apply({ seq: 1, time: 1, type: 'started', data });
  folded.apply({ seq: 2, time: 2, type: name, data: null });

  const { labels, counts } = asJson(folded.snapshot);
  expect(Object.entries(labels)).toEqual([[name, 'x']]);
  expect(Object.entries(counts)).toEqual([
    ['started', 1],
    [name, 1],
  ]);
});

test.each([null, 7, 'text', [], [[]], { text: 7 }, { labels: 3 }, { message_ids: {} }])(
  'no data of any type fails: %j',
  (data) => {
    const folded = new Fold();
    const types = Object.keys(EMPTY.counts).concat(
      'started done failed step_start step_progress step_complete progress log content thinking',
      'content_complete tool_call tool_call_delta tool_result usage interrupt_request message',
      'interrupt_response interrupt_resolved message_read error result files'.split(' '),
    );
    for (const [index, type] of types.join(' ').split(' ').filter(Boolean).entries()) {
      folded.apply({ seq: index + 1, time: 1, type, data });
    }
    expect(folded.snapshot.seq).toBeGreaterThan(20);
  },
);
