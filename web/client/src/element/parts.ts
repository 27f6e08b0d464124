import type {
  Answered,
  CompletedStep,
  LogLine,
  Progress,
  Text as RunText,
  Step,
  Tool,
} from '../protocol.generated.js';
import { asText, make, setText } from './dom.js';
import type { Texts } from './texts.js';

/** The parts of a run's view that only show something. */

export interface Part<T> {
  readonly element: HTMLElement;
  update(item: T): void;
}

const place = ({ node, agent }: { node?: string; agent?: string }): string =>
  [node, agent].filter(Boolean).join(' · ');

const seconds = (duration: number | undefined): string =>
  duration === undefined ? '' : `${duration < 10 ? duration.toFixed(1) : Math.round(duration)} s`;

export function barPart(): Part<Progress> {
  const label = make('span');
  const value = make('span');
  const meter = make('progress', { max: '100' });
  const element = make('div', { class: 'bar', part: 'progress' }, label, value, meter);
  return {
    element,
    update({ task, message, percent, current, total }) {
      setText(label, [task, message].filter(Boolean).join(': '));
      const counted = total === undefined ? `${current ?? ''}` : `${current ?? 0} / ${total}`;
      setText(value, percent === undefined ? counted : `${Math.round(percent)} %`);
      if (percent === undefined) meter.removeAttribute('value');
      else meter.value = percent;
      meter.setAttribute('aria-label', label.textContent || value.textContent || '');
    },
  };
}

export function stepPart(): Part<Step | CompletedStep> {
  const message = make('span');
  const where = make('span', { class: 'quiet' });
  const element = make('li', { part: 'step' }, make('span', {}, message, ' ', where));
  return {
    element,
    update(step) {
      const isEnded = 'ended_at' in step;
      element.className = isEnded ? 'ended' : 'open';
      const said = [step.message, step.note].filter(Boolean);
      setText(message, said.join(': ') || place(step));
      const took = isEnded ? seconds(step.duration) : '';
      const percent = 'percent' in step ? `${Math.round(step.percent ?? 0)} %` : '';
      setText(where, [said.length ? place(step) : '', percent, took].filter(Boolean).join(', '));
    },
  };
}

export function textPart(texts: Texts): (text: RunText) => Part<RunText> {
  return ({ kind }) => {
    const body = make('div', { class: 'text', part: kind === 'content' ? 'text' : 'thought' });
    const note = make('p', { class: 'quiet' });
    const element =
      kind === 'content'
        ? make('div', {}, note, body)
        : make('details', { part: 'thoughts' }, make('summary', {}, texts.thoughts), note, body);
    return {
      element,
      update({ text, dropped }) {
        note.hidden = !dropped;
        if (dropped) setText(note, `… ${dropped} ${texts.cut}`);
        setText(body, text ?? '');
      },
    };
  };
}

export function toolPart(texts: Texts): () => Part<Tool> {
  return () => {
    const name = make('summary');
    const args = make('pre');
    const result = make('pre');
    const element = make(
      'details',
      { part: 'tool' },
      name,
      make('p', { class: 'quiet' }, texts.arguments),
      args,
      make('p', { class: 'quiet' }, texts.result),
      result,
    );
    return {
      element,
      update(tool) {
        const state = tool.ended_at === undefined ? '…' : tool.ok === false ? '✗' : '✓';
        setText(name, [state, tool.tool, place(tool)].filter(Boolean).join(' '));
        name.classList.toggle('error', tool.ok === false);
        const left = (dropped?: number) => (dropped ? `\n… ${dropped} ${texts.cut}` : '');
        setText(args, (tool.args_text || asText(tool.args)) + left(tool.args_dropped));
        setText(result, asText(tool.result) + left(tool.result_dropped));
      },
    };
  };
}

export function linePart(): Part<LogLine | { message?: string; code?: string }> {
  const element = make('li', { part: 'line' });
  return {
    element,
    update(line) {
      const kind = 'level' in line ? line.level : 'code' in line ? line.code : '';
      element.className = 'code' in line || kind === 'error' ? 'error' : '';
      element.replaceChildren(
        make('span', {}, make('span', { class: 'quiet' }, kind ?? ''), ' ', line.message ?? ''),
      );
    },
  };
}

export function answeredPart(texts: Texts): () => Part<Answered> {
  return () => {
    const element = make('p', { class: 'quiet', part: 'answered' });
    return {
      element,
      update({ message, action, answer, outcome, args, by }) {
        const said = [answer || outcome, args === undefined ? '' : asText(args), by];
        const question = message || action || '';
        setText(element, `${texts.answered}: ${question} — ${said.filter(Boolean).join(', ')}`);
      },
    };
  };
}

export function filePart(urlOf: (path: string) => string | undefined): Part<unknown> {
  const element = make('li', { part: 'file' });
  return {
    element,
    update(file) {
      const path = typeof file === 'object' && file && 'path' in file ? String(file.path) : '';
      const url = path && urlOf(path);
      const name = path || asText(file);
      // Only addresses of the server: what an event calls an address is not trusted.
      element.replaceChildren(url ? make('a', { href: url, download: '' }, name) : name);
    },
  };
}
