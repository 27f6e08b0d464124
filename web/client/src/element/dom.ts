/** Small parts of a page. Contents become text nodes, never markup. */

type Properties = Readonly<Record<string, string | (() => void)>>;

/** An element with attributes (`onclick` takes a function) and contents. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...contents: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...contents);
  return element;
}

/** Show a text. What was shown and only grew is not drawn again, and a selection stays. */
export function setText(element: Element, text: string): void {
  const { firstChild: node } = element;
  if (!(node instanceof Text)) element.textContent = text;
  else if (node.data === text) return;
  else if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}

/** A value as people read it: texts as they are, all else as JSON. */
export const asText = (value: unknown): string =>
  typeof value === 'string' ? value : (JSON.stringify(value, null, 2) ?? '');

/** A list whose items keep their elements, so that what is open or typed stays. */
export class Items<T> {
  readonly element: HTMLElement;
  readonly #make: (item: T) => { readonly element: HTMLElement; update(item: T): void };
  readonly #keyOf: (item: T) => string;
  #shown = new Map<string, { item: T; part: { element: HTMLElement; update(item: T): void } }>();
  #last: readonly T[] | null = null;

  constructor(
    element: HTMLElement,
    keyOf: (item: T) => string,
    make: (item: T) => { readonly element: HTMLElement; update(item: T): void },
  ) {
    this.element = element;
    this.#keyOf = keyOf;
    this.#make = make;
  }

  show(items: readonly T[]): void {
    if (items === this.#last) return;
    this.#last = items;
    this.element.hidden = !items.length;
    const before = this.#shown;
    this.#shown = new Map();
    let place: ChildNode | null = this.element.firstChild;
    for (const item of items) {
      const key = this.#keyOf(item);
      const known = before.get(key);
      before.delete(key);
      const part = known?.part ?? this.#make(item);
      if (known?.item !== item) part.update(item);
      this.#shown.set(key, { item, part });
      if (part.element === place) place = place.nextSibling;
      else this.element.insertBefore(part.element, place);
    }
    for (const { part } of before.values()) part.element.remove();
  }
}
