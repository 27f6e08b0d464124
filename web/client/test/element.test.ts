// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { RunElement } from '../src/element.js';
import { ScriptedSource, shown } from './scripted.js';

let source: ScriptedSource;
let element: RunElement;

function mount(attributes: Record<string, string> = {}): ShadowRoot {
  element = document.createElement('runcast-run');
  for (const [name, value] of Object.entries({ run: 'r', lang: 'en', ...attributes })) {
    element.setAttribute(name, value);
  }
  element.source = source;
  document.body.append(element);
  return element.shadowRoot as ShadowRoot;
}

const text = (root: ShadowRoot, selector: string): string =>
  root.querySelector(selector)?.textContent ?? '';
const buttons = (root: ShadowRoot) =>
  Array.from(root.querySelectorAll('fieldset button'), (button) => button.textContent);
const click = (root: ShadowRoot, label: string) =>
  Array.from(root.querySelectorAll('button'))
    .find((button) => button.textContent === label)
    ?.click();

const ASKED = {
  type: 'interrupt_request',
  data: { interrupt_id: 'q', message: 'Deploy?', args: { to: 'production' } },
};

beforeEach(() => {
  source = new ScriptedSource();
  source.write({ type: 'started', data: { function: 'report' } });
});
afterEach(() => {
  document.body.replaceChildren();
});

test('everything that a run says is shown', async () => {
  const root = mount();
  const place = { node: 'draft', agent: 'writer' };
  source.write(
    { type: 'step_start', data: { message: 'reading' }, ...place },
    { type: 'progress', data: { current: 1, total: 4, message: 'pages' } },
    { type: 'content', data: { text: 'Once upon ' }, ...place },
    { type: 'content', data: { text: 'a time' }, ...place },
    { type: 'thinking', data: { text: 'Hm.' } },
    { type: 'tool_call', data: { call_id: '1', tool: 'search', args: { q: 'x' } } },
    { type: 'log', data: { level: 'info', message: 'a line' } },
    { type: 'error', data: { message: 'slow index', code: 'slow' } },
  );
  await shown(() => expect(text(root, '[part=text]')).toBe('Once upon a time'));
  source.write({ type: 'progress', data: { percent: 50, task: 'download' } });
  await shown(() => expect(root.querySelectorAll('.bar')).toHaveLength(2));

  expect(text(root, 'h2')).toBe('report');
  expect(text(root, '.status')).toBe('running');
  expect(text(root, 'li.open')).toContain('reading');
  expect(root.querySelector<HTMLProgressElement>('[part=progress] progress')?.value).toBeDefined();
  const bars = Array.from(root.querySelectorAll('.bar'), (bar) => bar.textContent);
  expect(bars).toEqual(['pages25 %', 'download50 %']);
  expect(text(root, '[part=thought]')).toBe('Hm.');
  expect(text(root, '[part=tool] summary')).toBe('… search');
  expect(text(root, '[part=line].error')).toContain('slow index');

  source.write(
    { type: 'tool_result', data: { call_id: '1', tool: 'search', result: { hits: 3 }, ok: true } },
    { type: 'step_complete', data: { message: 'read' }, ...place },
    { type: 'files', data: { files: [{ path: 'a b.txt', url: 'javascript:alert(1)' }] } },
    { type: 'done', data: { result: { pages: 4 } } },
  );
  await shown(() => expect(text(root, '.status')).toBe('done'));
  expect(text(root, '[part=tool] summary')).toBe('✓ search');
  expect(text(root, 'li.ended')).toContain('reading: read');
  expect(JSON.parse(text(root, '[part=result]'))).toEqual({ pages: 4 });
  expect(root.querySelector('a')?.getAttribute('href')).toBe(
    'http://server/runs/r/files/a%20b.txt',
  );
});

test('no content becomes markup or an address', async () => {
  const evil = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>';
  const root = mount();
  const place = { node: evil, agent: evil };
  source.write(
    { type: 'step_start', data: { message: evil, step_id: '1' }, ...place },
    { type: 'step_start', data: { message: evil, step_id: '2' }, ...place },
    { type: 'step_complete', data: { message: evil, step_id: '2' }, ...place },
    { type: 'progress', data: { message: evil, task: evil, percent: 3 } },
    { type: 'content', data: { text: evil, message_id: evil }, ...place },
    { type: 'reasoning', data: { text: evil } },
    { type: 'tool_call', data: { tool: evil, args: { [evil]: evil } } },
    { type: 'tool_result', data: { tool: evil, result: evil, ok: false } },
    { type: 'log', data: { level: evil, message: evil, logger: evil } },
    { type: 'error', data: { message: evil, code: evil } },
    { ...ASKED, data: { interrupt_id: evil, message: evil, action: evil, args: evil } },
    { type: 'files', data: { files: [evil, { path: evil }, { path: '', url: 'javascript:1' }] } },
    { type: 'failed', data: { message: evil, code: evil } },
  );
  await shown(() => expect(text(root, '[part=error]')).toBe(evil));

  expect(root.querySelectorAll('img, script, iframe')).toHaveLength(0);
  for (const { href } of root.querySelectorAll('a')) expect(href).toMatch(/^http:\/\/server\//);
  expect((globalThis as { owned?: number }).owned).toBeUndefined();
});

test('an edit that a person made is never dropped, whichever button is pressed', async () => {
  const root = mount();
  source.write(ASKED);
  await shown(() => expect(text(root, 'legend')).toBe('Deploy?'));
  expect(buttons(root)).toEqual(['Approve', 'Reject', 'Send the reply']);
  const editor = root.querySelector<HTMLTextAreaElement>('textarea.code') as HTMLTextAreaElement;
  editor.value = '{"to": "staging"}';
  editor.dispatchEvent(new Event('input'));
  source.write({ type: 'log', data: 'meanwhile' });
  await shown(() => expect(text(root, '[part=line]')).toContain('meanwhile'));
  expect(editor.value).toBe('{"to": "staging"}');
  click(root, 'Approve the changed arguments');

  await shown(() =>
    expect(source.answer).toHaveBeenCalledWith('r', 'q', { type: 'edit', args: { to: 'staging' } }),
  );
});

test('a button that would drop what a person typed says so', async () => {
  const root = mount();
  source.write(ASKED);
  await shown(() => expect(text(root, 'legend')).toBe('Deploy?'));
  const [editor, reply] = root.querySelectorAll('textarea');
  if (!editor || !reply) throw new Error('expected two fields');
  reply.value = 'not on a Friday';
  click(root, 'Approve');
  expect(text(root, 'fieldset [role=alert]')).toContain('Your reply would be lost');
  editor.value = '{"to": "staging"}';
  click(root, 'Approve');
  click(root, 'Send the reply');
  expect(text(root, 'fieldset [role=alert]')).toContain('Your changes would be lost');
  expect(source.answer).not.toHaveBeenCalled();

  click(root, 'Reject');
  const rejected = { type: 'reject', args: 'not on a Friday' };
  await shown(() => expect(source.answer).toHaveBeenCalledWith('r', 'q', rejected));
});

test('arguments that are not JSON are not sent, and stay', async () => {
  const root = mount();
  source.write(ASKED);
  await shown(() => expect(text(root, 'legend')).toBe('Deploy?'));
  const editor = root.querySelector<HTMLTextAreaElement>('textarea.code') as HTMLTextAreaElement;
  editor.value = '{"to": ';
  editor.dispatchEvent(new Event('input'));
  click(root, 'Approve the changed arguments');

  expect(text(root, 'fieldset [role=alert]')).toContain('not JSON');
  expect(editor.value).toBe('{"to": ');
  expect(source.answer).not.toHaveBeenCalled();
});

test('an answer that was refused says so, and can be given again', async () => {
  source.answer.mockRejectedValueOnce(new Error('somebody was faster'));
  const root = mount();
  source.write(ASKED);
  await shown(() => expect(text(root, 'legend')).toBe('Deploy?'));
  click(root, 'Reject');
  await shown(() => expect(text(root, 'fieldset [role=alert]')).toBe('somebody was faster'));
  expect(root.querySelector('fieldset')?.disabled).toBe(false);
});

test.each([
  [{ allow_accept: false }, ['Approve the changed arguments', 'Reject', 'Send the reply']],
  [{ allow_edit: false, allow_respond: false }, ['Approve', 'Reject']],
])('only answers that are allowed are offered: %j', async (config, expected) => {
  const root = mount();
  source.write({ ...ASKED, data: { ...ASKED.data, config } });
  await shown(() => expect(text(root, 'legend')).toBe('Deploy?'));
  expect(buttons(root)).toEqual(expected);
});

test('a question without forms is shown on a page that only reads', async () => {
  const root = mount({ readonly: '' });
  source.write(ASKED);
  await shown(() => expect(text(root, 'legend')).toBe('Deploy?'));
  expect(buttons(root)).toEqual([]);
  expect(text(root, 'fieldset pre')).toContain('production');
  expect(root.querySelector<HTMLElement>('[part=cancel]')?.hidden).toBe(true);
});

test('cancelling asks once more', async () => {
  const root = mount();
  await shown(() => expect(text(root, '.status')).toBe('running'));
  click(root, 'Cancel the run');
  expect(source.cancel).not.toHaveBeenCalled();
  click(root, 'Click again to cancel');
  expect(source.cancel).toHaveBeenCalledWith('r');
});

test('it speaks Chinese', async () => {
  const root = mount({ lang: 'zh-CN' });
  await shown(() => expect(text(root, '.status')).toBe('运行中'));
});

test('it says what is missing', () => {
  const bare = document.createElement('runcast-run');
  bare.setAttribute('src', 'nonsense');
  document.body.append(bare);
  expect(bare.shadowRoot?.textContent).toContain('src="…/runs/ID"');
});

test('it says that it is over, and follows no longer once it is removed', async () => {
  mount();
  const ended = vi.fn();
  element.addEventListener('runcast-end', ended);
  await shown(() => expect(source.open).toBe(1));
  element.remove();
  await shown(() => expect(source.open).toBe(0));
  document.body.append(element);
  source.write({ type: 'done' });
  await shown(() => expect(ended).toHaveBeenCalled());
  expect(ended.mock.lastCall?.[0].detail.state.status).toBe('done');
});

test('another run, or language, replaces what is shown', async () => {
  const root = mount();
  await shown(() => expect(text(root, '.status')).toBe('running'));
  element.setAttribute('lang', 'zh');
  await shown(() => expect(text(root, '.status')).toBe('运行中'));
  element.setAttribute('run', 'other');
  await shown(() => expect(source.watches).toHaveLength(3));

  expect(root.querySelectorAll('section')).toHaveLength(1);
  await shown(() => expect(source.open).toBe(1));
});

test('an element in markup begins once', async () => {
  const place = document.createElement('div');
  document.body.append(place);
  place.innerHTML = '<runcast-run run="r" lang="en"></runcast-run>';
  const parsed = place.querySelector('runcast-run') as RunElement;
  parsed.source = source;
  await shown(() => expect(text(parsed.shadowRoot as ShadowRoot, '.status')).toBe('running'));
  expect(parsed.shadowRoot?.querySelectorAll('section')).toHaveLength(1);
});

test('a property that was set before the element was known counts', async () => {
  const late = document.createElement('runcast-run');
  Object.defineProperty(late, 'source', { value: source, configurable: true, writable: true });
  late.setAttribute('run', 'r');
  document.body.append(late);
  await shown(() => expect(source.open).toBe(1));
  expect(late).toBeInstanceOf(RunElement);
});

test('a message is sent into the run, and what could not be sent stays', async () => {
  const sent: unknown[] = [];
  const send = vi.fn(async (_: string, data: unknown) => {
    if (sent.push(data) === 1) throw new Error('the server is away');
  });
  source = Object.assign(source, { send });
  const root = mount({ messages: '' });
  await shown(() => expect(root.querySelector<HTMLElement>('[part=message]')?.hidden).toBe(false));
  const field = root.querySelector('[part=message] input') as HTMLInputElement;
  const submit = () =>
    root
      .querySelector('[part=message]')
      ?.dispatchEvent(new Event('submit', { bubbles: true, cancelable: true }));

  field.value = ' faster ';
  submit();
  await shown(() => expect(text(root, '[part=message] .error')).toBe('the server is away'));
  expect(field.value).toBe(' faster ');
  submit();
  await shown(() => expect(field.value).toBe(''));
  expect(sent).toEqual(['faster', 'faster']);

  source.write({ type: 'done', data: { result: 1 } });
  await shown(() => expect(root.querySelector<HTMLElement>('[part=message]')?.hidden).toBe(true));
  element.remove();
  expect(mount().querySelector('[part=message]')).toBeNull();
  element.remove();
  expect(mount({ messages: '', readonly: '' }).querySelector('[part=message]')).toBeNull();
});
