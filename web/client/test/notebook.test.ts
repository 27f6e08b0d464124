// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import notebook, { KernelSource, type Model } from '../src/notebook.js';

/** What anywidget has in a page; the test is the kernel. */
class Kernel implements Model {
  readonly traits: Record<string, string> = { run_id: 'r', first: '', early: '[]' };
  readonly sent: Record<string, unknown>[] = [];
  readonly #calls: [string, (content: unknown) => void][] = [];

  get(name: string): string {
    return this.traits[name] ?? '';
  }
  send(content: unknown): void {
    this.sent.push(content as Record<string, unknown>);
  }
  on(name: string, call: (content: unknown) => void): void {
    this.#calls.push([name, call]);
  }
  off(name: string, call: (content: unknown) => void): void {
    const at = this.#calls.findIndex((it) => it[0] === name && it[1] === call);
    if (at >= 0) this.#calls.splice(at, 1);
  }
  tell(content: unknown, name = 'msg:custom'): void {
    for (const [on, call] of [...this.#calls]) if (on === name) call(content);
  }
  asked(op: string): Record<string, unknown>[] {
    return this.sent.filter((message) => message.op === op);
  }
}

const item = (seq: number, type = 'log') => [
  JSON.stringify({ seq, time: 1, type, data: { message: `line ${seq}` } }),
  `e-${seq}`,
];

let kernel: Kernel;
let seen: number[];
let stop: AbortController;

beforeEach(() => {
  kernel = new Kernel();
  seen = [];
  stop = new AbortController();
});
afterEach(() => {
  stop.abort();
  document.body.replaceChildren();
  vi.useRealTimers();
});

function watch(after: string): Promise<void> {
  return (async () => {
    const watching = new KernelSource(kernel).watch('r', { after, signal: stop.signal });
    for await (const { seq } of watching) seen.push(seq);
  })();
}

const settled = () => new Promise((resolve) => setTimeout(resolve));
const last = (op: string) => kernel.asked(op).at(-1) ?? {};

test('each event comes once, and what was read is confirmed', async () => {
  const over = watch('e-1');
  const { id, after } = last('watch');
  expect(after).toBe('e-1');
  kernel.tell({ id, n: 1, events: [item(2), item(3)] });
  kernel.tell({ id: 'of another page', n: 1, events: [item(9)] });
  await settled();
  expect(kernel.asked('ack')).toEqual([{ op: 'ack', id, n: 1 }]);
  kernel.tell({ id, n: 2, events: [item(3), item(4, 'done')] });
  await over;
  expect(seen).toEqual([2, 3, 4]);
  expect(last('leave').id).toBe(id);
});

test('a message that was lost on its way is asked for again', async () => {
  const over = watch('');
  const { id } = last('watch');
  kernel.tell({ id, n: 1, events: [item(1)] });
  kernel.tell({ id, n: 3, events: [item(3)] });
  expect(last('watch').after).toBe('e-1');
  const again = last('watch').id;
  kernel.tell({ id: again, sent: 1 }); // its first message was lost, too
  expect(last('watch').after).toBe('e-1');
  kernel.tell({ id: last('watch').id, n: 1, events: [item(2), item(3, 'done')], end: true });
  await over;
  expect(seen).toEqual([1, 2, 3]);
});

test('a watch that the kernel has ended is taken up again later', async () => {
  vi.useFakeTimers();
  const over = watch('e-5');
  kernel.tell({ id: last('watch').id, gone: true });
  expect(kernel.asked('watch')).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(3000);
  kernel.tell({ id: last('watch').id, n: 1, events: [item(6, 'failed')], end: true });
  await over;
  expect(seen).toEqual([6]);
});

test('what a kernel keeps while it is at work is read, and does not come again', async () => {
  kernel.traits.early = JSON.stringify([item(1), item(2)]);
  const over = watch('e-1');
  await settled();
  kernel.traits.early = JSON.stringify([item(1), item(2), item(3)]);
  kernel.tell(null, 'change:early');
  await settled();
  expect(seen).toEqual([2, 3]);
  kernel.tell({ id: last('watch').id, n: 1, events: [item(2), item(3), item(4, 'done')] });
  await over;
  expect(seen).toEqual([2, 3, 4]);
});

test('an answer of the kernel ends the question, and a refusal is its error', async () => {
  const source = new KernelSource(kernel);
  const answered = source.answer('r', 'q', { type: 'accept' });
  kernel.tell({ id: last('answer').id, value: { type: 'accept' } });
  expect(await answered).toEqual({ type: 'accept' });
  const cancelled = source.cancel('r');
  kernel.tell({
    id: last('cancel').id,
    error: { code: 'not_found', message: 'gone', status: 404 },
  });
  await expect(cancelled).rejects.toMatchObject({ code: 'not_found', message: 'gone' });
});

test('a view shows the run, and leaves when its cell is removed', async () => {
  const el = document.createElement('div');
  document.body.append(el);
  const leave = notebook.render({ model: kernel, el });
  await settled();
  expect(last('snapshot').op).toBe('snapshot');
  kernel.tell({
    id: last('snapshot').id,
    error: { code: 'not_found', message: 'none', status: 404 },
  });
  await vi.waitFor(() => {
    expect(el.querySelector('runcast-run')?.shadowRoot?.textContent).toContain('none');
  });
  leave();
  expect(el.childElementCount).toBe(0);
});
