/**
 * A run in a Jupyter notebook: `<runcast-run>`, whose source is the kernel of the notebook.
 *
 * The messages are described in src/runcast/client/channel.py. Whatever a run says is data.
 *
 * Source of `render`: https://anywidget.dev/en/afm/
 */

import { make } from './element/dom.js';
import './element.js';
import type { RunElement } from './element.js';
import { errorOf, RuncastError } from './errors.js';
import { isGap, isTerminal, type RunEvent } from './events.js';
import type { Snapshot } from './protocol.generated.js';
import type { RunSource, RunView } from './stores.js';
import type { FollowOptions } from './watch.js';

/** What anywidget passes of the widget in the kernel. */
export interface Model {
  get(name: 'run_id' | 'first' | 'early'): string;
  send(content: unknown): void;
  on(name: string, call: (content: unknown) => void): void;
  off(name: string, call: (content: unknown) => void): void;
}

interface First {
  readonly state: Snapshot;
  readonly position: string;
}

type Item = readonly [text: string, position: string];

/** A message of the kernel. */
interface Told {
  readonly id?: string;
  readonly n?: number;
  readonly sent?: number;
  readonly events?: readonly Item[];
  readonly end?: boolean;
  readonly gone?: boolean;
  readonly value?: unknown;
  readonly error?: { readonly code: string; readonly message: string; readonly status: number };
}

/** How long the kernel may take until the state that it has kept is shown, in ms. */
const PATIENCE_MS = 400;
/** Pause before a watch that the kernel has ended is taken up again, in ms. */
const AGAIN_MS = 3000;

/** Where a position is: its epoch, and the number of its event. */
function placeOf(position: string): { epoch: string; seq: number } {
  const cut = position.lastIndexOf('-');
  return { epoch: position.slice(0, cut), seq: Number(position.slice(cut + 1)) || 0 };
}

const newId = (): string =>
  Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join('');

/** One run, through the messages between this page and the kernel. */
export class KernelSource implements RunSource {
  readonly #model: Model;
  /** The watch that began last. */
  #watch: KernelWatch | null = null;

  constructor(model: Model) {
    this.#model = model;
  }

  /** The state so far: the kernel's, or the one that it has kept while it reads no messages. */
  async snapshot(): Promise<First> {
    const kept = new Promise<First>((resolve) => {
      const look = (): void => {
        const first = this.#model.get('first');
        if (!first) return;
        this.#model.off('change:first', look);
        resolve(JSON.parse(first) as First);
      };
      this.#model.on('change:first', look);
      setTimeout(look, PATIENCE_MS);
    });
    return Promise.race([this.#ask<First>({ op: 'snapshot' }), kept]);
  }

  /** Whether what is watched leads to a position. */
  reaches(position: string): boolean {
    return this.#watch?.reaches(position) ?? true;
  }

  watch(_runId: string, options: FollowOptions = {}): AsyncIterable<RunEvent> {
    this.#watch = new KernelWatch(this.#model, options);
    return this.#watch;
  }

  answer(_runId: string, question: string, answer: unknown): Promise<unknown> {
    return this.#ask({ op: 'answer', question, answer });
  }

  send(_runId: string, data: unknown): Promise<unknown> {
    return this.#ask({ op: 'send', data, message_id: `m-${newId()}` });
  }

  cancel(_runId: string, reason = 'cancelled'): Promise<unknown> {
    return this.#ask({ op: 'cancel', reason });
  }

  #ask<T>(message: Readonly<Record<string, unknown>>): Promise<T> {
    const id = newId();
    return new Promise((resolve, reject) => {
      const take = (content: unknown): void => {
        const told = content as Told;
        if (told.id !== id) return;
        this.#model.off('msg:custom', take);
        if (told.error) reject(errorIn(told.error));
        else resolve(told.value as T);
      };
      this.#model.on('msg:custom', take);
      this.#model.send({ ...message, id });
    });
  }
}

/** The events that follow a position, each once and in order. */
class KernelWatch implements AsyncIterable<RunEvent> {
  /** The position after the event that was taken last. */
  position: string;
  readonly #model: Model;
  readonly #options: FollowOptions;
  /** Events, numbers of messages that have been read by then, an error, or null for the end. */
  readonly #items: (readonly [RunEvent, string] | number | RuncastError | null)[] = [];
  /** The position after the last event in `#items`. */
  #end: string;
  #id = '';
  #number = 0;
  #isOpen = false;
  #wake: (() => void) | null = null;

  constructor(model: Model, options: FollowOptions) {
    this.#model = model;
    this.#options = options;
    this.position = this.#end = options.after ?? '';
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<RunEvent, void, undefined> {
    const { signal } = this.#options;
    const stop = (): void => this.#put(null);
    signal?.addEventListener('abort', stop);
    this.#model.on('msg:custom', this.#take);
    this.#model.on('change:early', this.#takeEarly);
    this.#begin();
    this.#takeEarly();
    try {
      while (!signal?.aborted) {
        const item = this.#items.shift();
        if (item === undefined) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          continue;
        }
        if (item instanceof RuncastError) throw item;
        if (!item) return;
        if (typeof item === 'number') {
          this.#model.send({ op: 'ack', id: this.#id, n: item });
          continue;
        }
        const [event, position] = item;
        this.position = position;
        yield event;
      }
    } finally {
      signal?.removeEventListener('abort', stop);
      this.#model.off('msg:custom', this.#take);
      this.#model.off('change:early', this.#takeEarly);
      this.#model.send({ op: 'leave', id: this.#id });
      this.#options.onConnection?.({ state: 'closed' });
    }
  }

  /** Ask for what follows the last event. */
  #begin(): void {
    this.#id = newId();
    this.#number = 0;
    this.#model.send({ op: 'watch', id: this.#id, after: this.#end });
  }

  readonly #take = (content: unknown): void => {
    const told = content as Told;
    if (told.id !== this.#id) return;
    if (told.error) this.#put(errorIn(told.error));
    else if (told.gone) setTimeout(() => this.#begin(), AGAIN_MS);
    else if (told.n === this.#number + 1) {
      this.#number = told.n;
      this.#open();
      for (const item of told.events ?? []) this.#append(item);
      this.#put(told.n);
      if (told.end) this.#put(null);
    } else if ((told.n ?? told.sent ?? 0) > this.#number) {
      this.#begin(); // a message was lost on its way
    } else if (told.sent) {
      this.#model.send({ op: 'ack', id: this.#id, n: this.#number });
    }
  };

  reaches(position: string): boolean {
    if (this.#number) return true; // the kernel reads messages
    const [now, then] = [placeOf(this.#end), placeOf(position)];
    return now.epoch === then.epoch && now.seq >= then.seq;
  }

  /** Take what the kernel has kept while it reads no messages. */
  readonly #takeEarly = (): void => {
    if (this.#number) return;
    if (this.#model.get('first')) this.#open();
    for (const item of JSON.parse(this.#model.get('early') || '[]') as Item[]) {
      const [now, then] = [placeOf(this.#end), placeOf(item[1])];
      if (then.epoch !== now.epoch || then.seq !== now.seq + 1) continue;
      this.#append(item);
    }
  };

  #append([text, position]: Item): void {
    const event = JSON.parse(text) as RunEvent;
    const [now, then] = [placeOf(this.#end), placeOf(position)];
    if (then.epoch === now.epoch && then.seq <= now.seq && !isGap(event)) return;
    this.#end = position;
    this.#put([event, position]);
    if (isTerminal(event)) this.#put(null);
  }

  #open(): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#options.onConnection?.({ state: 'open', isResumed: false, via: 'stream' });
  }

  #put(item: readonly [RunEvent, string] | number | RuncastError | null): void {
    this.#items.push(item);
    this.#wake?.();
    this.#wake = null;
  }
}

const errorIn = ({ code, message, status }: NonNullable<Told['error']>): RuncastError =>
  status ? errorOf(status, { code, detail: message }) : new RuncastError(code, message);

const show = (form: HTMLElement, isShown: boolean): void => {
  form.hidden = !isShown;
  form.style.display = isShown ? 'flex' : 'none';
};

/** A line to write to the run, while it is at work. */
function messageForm(source: () => KernelSource, runId: string): HTMLFormElement {
  const input = make('input', { 'aria-label': 'Message to the run', placeholder: 'Message' });
  const said = make('span', { role: 'status' });
  const form = make('form', { class: 'runcast-message' }, input, make('button', {}, 'Send'), said);
  form.style.cssText = 'margin: 0.4rem 0; gap: 0.4rem';
  input.style.cssText = 'flex: 1; max-width: 30rem; padding: 0.3rem 0.5rem; font: inherit';
  show(form, false);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!text) return;
    said.textContent = '…';
    source()
      .send(runId, text)
      .then(
        () => {
          if (input.value.trim() === text) input.value = '';
          said.textContent = '✓';
        },
        (error: unknown) => {
          said.textContent = error instanceof Error ? error.message : String(error);
        },
      );
  });
  // A notebook takes keys for its own commands.
  form.addEventListener('keydown', (event) => event.stopPropagation());
  return form;
}

/** Show the run of a widget. Returns a function that ends the view. */
function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const runId = model.get('run_id');
  const run: RunElement = document.createElement('runcast-run');
  run.setAttribute('run', runId);
  let source: KernelSource;
  const begin = (): void => {
    source = new KernelSource(model);
    run.source = source;
  };
  const form = messageForm(() => source, runId);
  const change = (event: Event): void => {
    const { state, isLoaded } = (event as CustomEvent<RunView>).detail;
    show(form, isLoaded && !isTerminal({ type: state.status }));
  };
  // A kernel that is at work keeps a newer state now and then, which events do not lead to.
  const renew = (): void => {
    const first = model.get('first');
    if (first && !source.reaches((JSON.parse(first) as First).position)) begin();
  };
  run.addEventListener('runcast-change', change);
  run.addEventListener('keydown', (event) => event.stopPropagation());
  model.on('change:first', renew);
  begin();
  el.append(run, form);
  return () => {
    model.off('change:first', renew);
    run.removeEventListener('runcast-change', change);
    run.remove();
    form.remove();
  };
}

export default { render };
