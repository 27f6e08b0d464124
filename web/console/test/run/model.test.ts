import type { RunEvent } from '@runcast/client';
import { describe, expect, it } from 'vitest';
import { parseExact } from '../../src/data/json';
import { answerFor, changesOf, choicesOf, textOf } from '../../src/run/model/answers';
import { Heights } from '../../src/run/model/heights';
import { filterLines, LogIndex } from '../../src/run/model/index';
import { RunLog } from '../../src/run/model/log';
import { advance, seekByKey } from '../../src/run/model/player';
import { Replay } from '../../src/run/model/replay';
import { Story, textAt } from '../../src/run/model/story';
import { rowsOf, type Span, spanAt, Timeline } from '../../src/run/model/timeline';
import { log, random } from './events';

const held = (events: readonly RunEvent[]): RunLog => {
  const made = new RunLog();
  made.append(events);
  return made;
};

describe('the events that a page holds', () => {
  it('are each there once, and holes are known', () => {
    const events = log({}, {}, {}, {}, {});
    const made = held(events.slice(2));
    expect(made.append(events.slice(3))).toEqual([]);
    made.append([{ ...(events[4] as RunEvent), seq: 9 }]);
    expect(made.lost).toEqual([{ after: 5, count: 3, reason: 'trimmed' }]);
    made.prepend(events.slice(0, 3));
    expect(made.events.map((event) => event.seq)).toEqual([1, 2, 3, 4, 5, 9]);
    expect(made.lost).toHaveLength(1);
    expect([
      made.countTo(5),
      made.countTo(8),
      made.countTo(0),
      made.at(9)?.seq,
      made.at(7),
    ]).toEqual([5, 5, 0, 9, undefined]);
  });

  it('are found by time although clocks go backwards', () => {
    const made = held(log({ time: 10 }, { time: 5 }, { time: 20 }));
    expect([made.seqAt(9), made.seqAt(10), made.seqAt(19), made.seqAt(99)]).toEqual([0, 2, 2, 3]);
    expect(made.timeAt(2)).toBe(10);
  });
});

describe('the state at a moment', () => {
  /** A fold whose state is the last events that it has seen. */
  class Sum {
    constructor(readonly snapshot: number[] = []) {}
    apply(event: RunEvent): void {
      this.snapshot.push(event.seq);
      if (this.snapshot.length > 5) this.snapshot.shift();
    }
    copy = (): Sum => new Sum([...this.snapshot]);
  }
  const begin = (): Sum => new Sum();

  it('is the fold of the events up to it, at each event, in any order, across holes', () => {
    const events = log(...Array.from({ length: 3000 }, () => ({}))).filter(
      (event) => event.seq < 900 || event.seq > 1100,
    );
    const replay = new Replay(held(events), begin);
    const next = random(5);
    for (let round = 0; round < 3000; round += 1) {
      const seq = Math.floor(next() * 3100);
      expect(replay.at(seq)).toEqual(
        events
          .filter((event) => event.seq <= seq)
          .slice(-5)
          .map((event) => event.seq),
      );
    }
  });

  it('costs little after the first time, and memory does not grow with the run', () => {
    const replay = new Replay(held(log(...Array.from({ length: 100_000 }, () => ({})))), begin);
    replay.at(100_000);
    expect(replay.applied).toBe(100_000);
    expect(replay.checkpoints).toBeLessThanOrEqual(128);
    const next = random(1);
    for (let round = 0; round < 50; round += 1) {
      const before = replay.applied;
      replay.at(Math.floor(next() * 100_000));
      expect(replay.applied - before).toBeLessThanOrEqual(replay.interval);
    }
  });

  it('begins again when earlier events come', () => {
    const events = log({}, {}, {}, {});
    const made = held(events.slice(2));
    const replay = new Replay(made, begin);
    expect(replay.at(4)).toEqual([3, 4]);
    made.prepend(events.slice(0, 2));
    expect(replay.at(4)).toEqual([1, 2, 3, 4]);
  });
});

describe('the timeline', () => {
  const timeline = (...events: Partial<RunEvent>[]): Timeline => {
    const made = new Timeline();
    for (const event of log(...events)) made.add(event);
    return made;
  };
  const outline = (spans: readonly Span[], indent = ''): string[] =>
    spans.flatMap((span) => [
      `${indent}${span.kind} ${span.name} ${span.start - 1000}-${span.end === null ? '' : span.end - 1000} ${span.ended ?? 'open'}`,
      ...outline(span.children, `${indent}  `),
    ]);

  it('nests agents, their steps and their tools', () => {
    const place = { node: 'look', agent: 'scout', path: ['boss'] };
    const made = timeline(
      { type: 'started' },
      { type: 'step_start', data: { message: 'looking' }, ...place },
      { type: 'tool_call', data: { call_id: '1', tool: 'search' }, ...place },
      { type: 'tool_result', data: { call_id: '1', ok: false }, ...place },
      { type: 'step_complete', data: null, ...place },
      { type: 'step_start', data: { message: 'telling' }, agent: 'boss' },
      { type: 'done' },
    );
    expect(outline(made.roots)).toEqual([
      'agent boss 1-6 ok',
      '  agent scout 1-4 ok',
      '    step looking 1-4 ok',
      '      tool search 2-3 failed',
      '  step telling 5-6 stopped',
    ]);
  });

  it('was at a moment what had happened by then', () => {
    const made = timeline(
      { type: 'step_start', node: 'a' },
      { type: 'step_start', node: 'b' },
      { type: 'step_complete', node: 'a' },
    );
    const [first] = made.roots as [Span];
    expect(rowsOf(made.roots, 1, new Set())).toHaveLength(1);
    expect(spanAt(first, 2, 1001)).toMatchObject({ isOpen: true, end: 1001 });
    expect(spanAt(first, 3, 1002)).toMatchObject({ isOpen: false, end: 1002, ended: 'ok' });
    expect(spanAt(first, 0, 1000)).toBeNull();
  });

  it('takes a duration that an event reports', () => {
    const made = timeline({}, {}, { type: 'step_complete', node: 'a', duration: 1.5 });
    expect(outline(made.roots)).toEqual(['step a 0.5-2 ok']);
  });

  it('ends what a crash interrupted, and goes on with agents after it', () => {
    const made = timeline(
      { type: 'started' },
      { type: 'step_start', node: 'a', agent: 'x' },
      { type: 'started', data: { recovered: true } },
      { type: 'step_start', node: 'a', agent: 'x' },
      { type: 'failed' },
    );
    expect(outline(made.roots)).toEqual([
      'agent x 1-4 stopped',
      '  step a 1-2 lost',
      '  step a 3-4 stopped',
    ]);
    expect(made.markers.map((marker) => marker.kind)).toEqual(['step', 'attempt', 'step']);
  });

  it('takes any events without failing', () => {
    const next = random(9);
    const types = [
      'started',
      'step_start',
      'step_progress',
      'step_complete',
      'tool_call',
      'tool_call_delta',
      'tool_result',
      'interrupt_request',
      'interrupt_response',
      'interrupt_resolved',
      'error',
      'message',
      'message_read',
      'content',
      'content_complete',
      'done',
      'made_up',
      'constructor',
      '__proto__',
    ];
    const datas = [
      null,
      'text',
      1,
      [],
      [1],
      {},
      { call_id: '__proto__' },
      { call_id: 5, attempt: 2 },
      { interrupt_id: 'a', args: [] },
      { message_ids: ['a', {}] },
      { message_id: 'a', text: 'b' },
      { recovered: true },
    ];
    for (let round = 0; round < 300; round += 1) {
      const pickOf = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)] as T;
      const events = log(
        ...Array.from({ length: 60 }, () => ({
          type: pickOf(types),
          data: pickOf<unknown>(datas),
          agent: pickOf(['', 'a', '__proto__']),
          path: pickOf([[], ['b'], ['a', 'a']]),
        })),
      );
      const made = new LogIndex(held(events));
      for (const upTo of [0, 10, 60]) {
        const rows = rowsOf(made.timeline.roots, upTo, new Set());
        for (const span of rows) {
          const view = spanAt(span, upTo, 1060);
          expect(view && view.end >= view.start).toBe(true);
        }
      }
    }
  });
});

describe('the story', () => {
  const story = (...events: Partial<RunEvent>[]): Story => {
    const made = new Story();
    for (const event of log(...events)) made.add(event);
    return made;
  };

  it('has each text as it was at each event', () => {
    const piece = (text: string, attempt = 1) => ({
      type: 'content',
      data: { text, message_id: 'm', attempt },
    });
    const made = story(
      piece('Hel'),
      piece('lo'),
      { type: 'log' },
      piece('Good', 2),
      piece('late'),
      piece('bye', 2),
    );
    const [item] = made.items;
    if (item?.kind !== 'text') throw new Error('no text');
    expect([1, 2, 3, 4, 5, 6].map((seq) => textAt(item, seq).text)).toEqual([
      'Hel',
      'Hello',
      'Hello',
      'Good',
      'Good',
      'Goodbye',
    ]);
    expect(textAt(item, 6).attempt).toBe(2);
  });

  it('has questions with their answers, and messages with when they were read', () => {
    const made = story(
      { type: 'interrupt_request', data: { interrupt_id: 'q' } },
      { type: 'message', data: { message_id: 'm', data: 'hi' } },
      { type: 'interrupt_response', data: { interrupt_id: 'q', by: 'ann' } },
      { type: 'message_read', data: { message_ids: ['m'] } },
    );
    expect(made.items).toMatchObject([
      { kind: 'question', response: { seq: 3 } },
      { kind: 'message', readSeq: 4, readTime: 1003 },
    ]);
    expect([made.countAt(0), made.countAt(1), made.countAt(9)]).toEqual([0, 1, 2]);
  });

  it('shows types of its own, also those that are named like parts of JavaScript', () => {
    expect(
      story({ type: 'constructor' }, { type: 'invoice.sent' }).items.map((item) => item.kind),
    ).toEqual(['event', 'event']);
  });
});

describe('log lines', () => {
  it('are filtered by level, text and moment', () => {
    const lines = log(
      { data: { level: 'DEBUG', message: 'a' } },
      { data: { level: 'warn', message: 'Bee' } },
      { data: { level: 'critical', message: 'bee' } },
      { data: 'bee' },
    );
    const found = (least: 'debug' | 'info' | 'warning' | 'error', text = '', upTo = 9) =>
      filterLines(lines, { least, text, upTo }).map((event) => event.seq);
    expect(found('debug')).toEqual([1, 2, 3, 4]);
    expect(found('info')).toEqual([2, 3, 4]);
    expect(found('warning', 'BEE')).toEqual([2, 3]);
    expect(found('error')).toEqual([3]);
    expect(found('debug', 'bee', 2)).toEqual([2]);
  });
});

describe('playing', () => {
  const made = held(log({ time: 0 }, { time: 1 }, { time: 100 }, { time: 101 }));
  it('goes as fast as asked, and does not wait through silences', () => {
    expect(advance(made, 0, 0.5, 1)).toBe(0.5);
    expect(advance(made, 0, 0.5, 2)).toBe(1);
    expect(advance(made, 2, 0.1, 1)).toBe(99.5);
    expect(advance(made, 100.5, 9, 50)).toBe(101);
  });

  it('goes by events, twentieths and markers with keys', () => {
    const markers = [{ seq: 2 }, { seq: 4 }];
    const keys = ['ArrowLeft', 'ArrowRight', 'Home', 'End', ']', '[', 'x'];
    expect(keys.map((key) => seekByKey(made, 3, key, markers))).toEqual([
      2,
      4,
      1,
      null,
      4,
      2,
      undefined,
    ]);
    expect(seekByKey(made, 1, 'ArrowLeft', markers)).toBe(1);
    expect(seekByKey(made, 4, 'ArrowRight', markers)).toBeNull();
  });
});

describe('an answer', () => {
  const question = { args: { path: '/old' }, config: null };
  it('that accepts changed arguments sends the changes', () => {
    expect(answerFor('accept', { args: '{"path": "/new"}', said: '' }, question)).toEqual({
      type: 'edit',
      args: { path: '/new' },
    });
    expect(answerFor('accept', { args: '{ "path":"/old" }', said: '' }, question)).toEqual({
      type: 'accept',
    });
    expect(answerFor('accept', { args: null, said: '' }, question)).toEqual({ type: 'accept' });
    expect(answerFor('accept', { args: '{"path"', said: '' }, question)).toBe('json');
    expect(changesOf({ args: '', said: '' }, question.args)).toEqual({ value: null });
  });

  it('never leaves behind what was typed without a word', () => {
    expect(answerFor('accept', { args: null, said: 'but' }, question)).toBe('said');
    expect(answerFor('reject', { args: '{"path": "/new"}', said: '' }, question)).toBe('changed');
    expect(answerFor('reject', { args: '{"path"', said: '' }, question)).toBe('changed');
    expect(answerFor('reject', { args: '{"path": 1}', said: 'no' }, question, true)).toEqual({
      type: 'reject',
      args: 'no',
    });
    expect(answerFor('response', { args: null, said: ' ' }, question)).toBe('empty');
    expect(answerFor('response', { args: null, said: 'x ' }, question)).toEqual({
      type: 'response',
      args: 'x ',
    });
  });

  it('is what a schema asks for', () => {
    const config = { response_schema: { type: 'integer' } };
    expect(answerFor('response', { args: null, said: '12' }, { config })).toEqual({
      type: 'response',
      args: 12,
    });
    expect(answerFor('response', { args: null, said: 'a' }, { config })).toBe('json');
    expect(choicesOf({ response_schema: { enum: ['a', 'b'] } })).toEqual(['a', 'b']);
    expect(choicesOf({ response_schema: { type: 'boolean' } })).toEqual([true, false]);
    expect(choicesOf(null)).toEqual([]);
  });

  it('keeps all digits of numbers where the engine can', () => {
    const text = '{"path":12345678901234567890}';
    const canKeep = 'rawJSON' in JSON;
    expect(JSON.stringify(parseExact(text)) === text).toBe(canKeep);
    expect(textOf({ a: 1 })).toBe('{\n  "a": 1\n}');
  });
});

describe('the heights of rows', () => {
  it('are summed as if one by one', () => {
    const heights = new Heights(20);
    const plain: number[] = [];
    const next = random(2);
    for (let round = 0; round < 400; round += 1) {
      const count =
        round % 50 === 49 ? Math.floor(plain.length / 2) : plain.length + Math.floor(next() * 5);
      heights.resize(count);
      while (plain.length < count) plain.push(20);
      plain.length = count;
      const row = Math.floor(next() * count);
      if (count > 0) {
        plain[row] = 5 + Math.floor(next() * 100);
        heights.set(row, plain[row]);
      }
      const sum = (to: number) => plain.slice(0, to).reduce((total, each) => total + each, 0);
      expect(heights.total).toBe(sum(count));
      const top = next() * heights.total;
      const at = heights.rowAt(top);
      expect(sum(at) <= top && (top < sum(at + 1) || at === count - 1 || count === 0)).toBe(true);
    }
  });
});
