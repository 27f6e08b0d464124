import { isTerminal } from '../events.js';
import type { CompletedStep, ErrorNote, LogLine } from '../protocol.generated.js';
import type { RunSource, RunView } from '../stores.js';
import { Items, make, setText } from './dom.js';
import { messageForm } from './message.js';
import {
  answeredPart,
  barPart,
  filePart,
  linePart,
  stepPart,
  textPart,
  toolPart,
} from './parts.js';
import { questionPart } from './question.js';
import type { Texts } from './texts.js';

/** What the element shows of a run. */
export class View {
  readonly element: HTMLElement;
  readonly #texts: Texts;
  readonly #name = make('h2', { part: 'name' });
  readonly #status = make('span', { class: 'status', part: 'status' });
  readonly #connection = make('span', { class: 'connection', part: 'connection' });
  readonly #notice = make('p', { class: 'error', part: 'error', role: 'alert' });
  readonly #gap = make('p', { class: 'quiet' });
  readonly #result = make('pre', { part: 'result' });
  readonly #cancel: HTMLButtonElement;
  readonly #message: HTMLFormElement | null;
  readonly #progress = barPart();
  /** Why the run could not be cancelled. */
  #problem = '';
  readonly #lists: ((view: RunView) => void)[];

  constructor(
    source: RunSource,
    id: string,
    texts: Texts,
    { isReadonly, hasMessages }: { readonly isReadonly: boolean; readonly hasMessages: boolean },
  ) {
    this.#texts = texts;
    const canSend = hasMessages && !isReadonly && source.send;
    this.#message = canSend ? messageForm(source, id, texts) : null;
    setText(this.#name, id);
    setText(this.#gap, texts.gap);
    this.#cancel = this.#cancelButton(source, id);
    this.#cancel.hidden = true;
    this.#progress.element.hidden = true;
    if (isReadonly || !source.cancel) this.#cancel.dataset.never = '';
    const answering = isReadonly ? undefined : source.answer?.bind(source, id);
    const place = (item: { node?: string; agent?: string }) => [item.node, item.agent].join('\n');
    const bars = new Items(
      make('div'),
      (bar) => `${bar.task}\n${place(bar)}`,
      () => barPart(),
    );
    const ended = new Items<CompletedStep>(
      make('ul'),
      ({ seq }) => `${seq}`,
      () => stepPart(),
    );
    const open = new Items(
      make('ul'),
      (step) => `${step.since}\n${place(step)}\n${step.step_id}`,
      () => stepPart(),
    );
    const written = new Items(
      make('div', { 'aria-live': 'polite' }),
      (text) => `${text.kind}\n${text.first_seq}\n${text.attempt}`,
      textPart(texts),
    );
    const tools = new Items(make('div'), ({ seq }) => `${seq}`, toolPart(texts));
    const answered = new Items(make('div'), ({ seq }) => `${seq}`, answeredPart(texts));
    const questions = new Items(make('div'), ({ seq }) => `${seq}`, questionPart(texts, answering));
    const errors = new Items<ErrorNote>(
      make('ul'),
      ({ seq }) => `${seq}`,
      () => linePart(),
    );
    const logs = new Items<LogLine>(
      make('ul'),
      ({ seq }) => `${seq}`,
      () => linePart(),
    );
    const files = new Items<unknown>(
      make('ul'),
      (file) => JSON.stringify(file),
      () => filePart((path) => source.fileUrl?.(id, path)),
    );
    const folded = (title: string, list: { readonly element: HTMLElement }) =>
      make('details', {}, make('summary', {}, title), list.element);
    const log = folded(texts.log, logs);
    this.#lists = [
      ({ state }) => bars.show(state.bars),
      ({ state }) => ended.show(state.completed_steps),
      ({ state }) => open.show(state.steps),
      ({ state }) => written.show(state.texts),
      ({ state }) => tools.show(state.tools),
      ({ state }) => answered.show(state.answered),
      ({ state }) => questions.show(state.interrupts),
      ({ state }) => errors.show(state.errors),
      ({ state }) => logs.show(state.logs),
      ({ state }) => files.show(state.files),
      ({ state }) => {
        log.hidden = !state.logs.length;
      },
    ];
    this.element = make(
      'section',
      { 'data-view': '', part: 'run' },
      make('header', {}, this.#name, this.#status, this.#connection, this.#cancel),
      this.#notice,
      this.#gap,
      this.#progress.element,
      ...[bars, ended, open, written, tools, answered, questions, errors].map((it) => it.element),
      this.#result,
      files.element,
      log,
      ...(this.#message ? [this.#message] : []),
    );
  }

  draw(view: RunView): void {
    const { state, connection, error, isLoaded, hasGap } = view;
    const texts = this.#texts;
    const isOver = isTerminal({ type: state.status });
    if (state.function) setText(this.#name, state.function);
    setText(this.#status, isLoaded ? texts[state.status] : '');
    this.#status.dataset.status = state.status;
    const isLost = connection.state === 'waiting' || connection.state === 'connecting';
    const waits = isLoaded ? texts.reconnecting : texts.connecting;
    setText(this.#connection, isLost && !isOver && !error ? waits : '');
    const said = this.#problem || (error?.message ?? state.failure?.message ?? state.cancel_reason);
    setText(this.#notice, said ?? '');
    this.#notice.hidden = !said;
    this.#gap.hidden = !hasGap && !state.missed;
    this.#cancel.hidden = isOver || !isLoaded || this.#cancel.dataset.never !== undefined;
    if (this.#message) this.#message.hidden = isOver || !isLoaded;
    const { progress } = state;
    // What has no name stays beside the named bars.
    if (!progress) this.#progress.element.hidden = true;
    else if (!progress.task) {
      this.#progress.element.hidden = false;
      this.#progress.update(progress);
    }
    for (const show of this.#lists) show(view);
    this.#result.hidden = state.result === null;
    const { result } = state;
    setText(this.#result, typeof result === 'string' ? result : JSON.stringify(result, null, 2));
  }

  /** A button that asks once more: a run that was cancelled does not come back. */
  #cancelButton(source: RunSource, id: string): HTMLButtonElement {
    const texts = this.#texts;
    let isSure = false;
    const button = make('button', { type: 'button', part: 'cancel' }, texts.cancel);
    button.addEventListener('blur', () => {
      isSure = false;
      setText(button, texts.cancel);
    });
    button.addEventListener('click', () => {
      if (!isSure) {
        isSure = true;
        setText(button, texts.really);
        return;
      }
      button.disabled = true;
      source.cancel?.(id).catch((failure: unknown) => {
        button.disabled = false;
        this.#problem = failure instanceof Error ? failure.message : String(failure);
        this.#notice.hidden = false;
        setText(this.#notice, this.#problem);
      });
    });
    return button;
  }
}
