/**
 * `<runcast-run src="https://host/runs/ID">` shows a run in anyone's page.
 *
 *     <script type="module" src="…/element.js"></script>
 *     <runcast-run src="http://127.0.0.1:8000/runs/my-run"></runcast-run>
 *
 * Whatever a run says is data: it becomes text, never markup.
 */

import { connect } from './client.js';
import { make } from './element/dom.js';
import { dress } from './element/style.js';
import { textsOf } from './element/texts.js';
import { View } from './element/view.js';
import { isTerminal } from './events.js';
import { type RunSource, RunStore, type RunView } from './stores.js';

export type { RunSource, RunView } from './stores.js';

// A server that renders pages has no elements; it may import this all the same.
const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement;

/**
 * The element. Attributes: `src`, the address of the run; or `run`, its id, with the property
 * `source`; `lang`; `readonly`, to show questions without their forms.
 *
 * It fires `runcast-change` with the `RunView` as its `detail`, and `runcast-end` once the run has
 * ended.
 */
export class RunElement extends Base {
  static readonly observedAttributes = ['src', 'run', 'lang', 'readonly', 'messages'];
  #source: RunSource | null = null;
  #token: string | undefined;
  #leave: (() => void) | null = null;
  #isDrawn = false;

  /** Where the run is, instead of `src`: a `Client`, or an object with its methods. */
  get source(): RunSource | null {
    return this.#source;
  }

  set source(source: RunSource | null) {
    this.#source = source;
    this.#begin();
  }

  /** The access token for `src`. An attribute could be read by others, so it is a property. */
  set token(token: string) {
    this.#token = token;
    this.#begin();
  }

  connectedCallback(): void {
    // A property that was set before the element was defined hides the setter.
    for (const name of ['source', 'token'] as const) {
      if (!Object.hasOwn(this, name)) continue;
      const value = this[name as 'source'];
      delete (this as Record<string, unknown>)[name];
      this[name as 'source'] = value;
    }
    this.#begin();
  }

  disconnectedCallback(): void {
    this.#leave?.();
    this.#leave = null;
  }

  attributeChangedCallback(_: string, before: string | null, now: string | null): void {
    // While a page is parsed, attributes come before the element is connected.
    if (before !== now && this.shadowRoot) this.#begin();
  }

  #begin(): void {
    this.#leave?.();
    this.#leave = null;
    if (!this.isConnected) return;
    const root = this.shadowRoot ?? this.attachShadow({ mode: 'open' });
    if (!this.#isDrawn) {
      this.#isDrawn = true;
      dress(root);
    }
    const texts = textsOf(this.closest('[lang]')?.getAttribute('lang') ?? navigator.language);
    const run = this.#run();
    for (const old of root.querySelectorAll('[data-view]')) old.remove();
    if (!run) {
      root.append(make('p', { 'data-view': '', role: 'alert' }, texts.expected));
      return;
    }
    const view = new View(run.source, run.id, texts, {
      isReadonly: this.hasAttribute('readonly'),
      hasMessages: this.hasAttribute('messages'),
    });
    root.append(view.element);
    const store = new RunStore(run.source, run.id);
    const draw = () => {
      const { current } = store;
      view.draw(current);
      this.#fire('change', current);
      if (isTerminal({ type: current.state.status })) this.#fire('end', current);
    };
    view.draw(store.current);
    this.#leave = store.subscribe(draw);
  }

  #fire(name: string, detail: RunView): void {
    this.dispatchEvent(
      new CustomEvent(`runcast-${name}`, { detail, bubbles: true, composed: true }),
    );
  }

  #run(): { source: RunSource; id: string } | null {
    const id = this.getAttribute('run') ?? '';
    if (this.#source && id) return { source: this.#source, id };
    const found = /^(.*)\/runs\/([^/?#]+)/.exec(this.getAttribute('src') ?? '');
    if (!found) return null;
    const [, url = '', name = ''] = found;
    const options = { url: url || '/' };
    const token = this.#token;
    const source = connect(token === undefined ? options : { ...options, token });
    return { source, id: decodeURIComponent(name) };
  }
}

if (globalThis.customElements && !customElements.get('runcast-run')) {
  customElements.define('runcast-run', RunElement);
}

declare global {
  interface HTMLElementTagNameMap {
    'runcast-run': RunElement;
  }
}
