/** What a line of Markdown is made of. There is no node for markup: HTML is text. */
export type Inline =
  | string
  | { readonly type: 'strong' | 'em' | 'strike'; readonly children: Inline[] }
  | { readonly type: 'code'; readonly text: string }
  | { readonly type: 'link'; readonly href: string; readonly children: Inline[] }
  | { readonly type: 'break' };

type Mark = 'strong' | 'em' | 'strike';

interface Open {
  readonly type: Mark | 'root';
  readonly marker: string;
  readonly children: Inline[];
}

/** Most emphases within each other; deeper markers are text. */
const MAX_OPEN = 12;
/** Longest text and address of a link that is looked for. */
const MAX_LINK = 1_000;
const SPECIAL = /[\\`*_~[<!\n]|https?:\/\//g;
const PUNCTUATION = /[!-/:-@[-`{-~]/;

/**
 * Return an address if people may follow it: absolute, and http, https or mailto. Null otherwise.
 *
 * Everything else is shown as text: `javascript:` would run, and a relative address would name a
 * page of this server.
 */
export function safeHref(text: string): string | null {
  const clean = text.trim();
  if (!/^(https?:\/\/|mailto:)/i.test(clean)) return null;
  try {
    const url = new URL(clean);
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/**
 * Return a line of Markdown as nodes: code, emphasis, links, line breaks.
 *
 * Time grows with the length alone, whatever the text is. With `isOpen` more text will follow:
 * what has begun and not ended counts as ended, and markers that may become something are hidden,
 * so that a text does not flicker while it is written.
 */
export function parseInline(text: string, isOpen = false): Inline[] {
  return new InlineParser(text, isOpen).parse();
}

class InlineParser {
  readonly #text: string;
  readonly #isOpen: boolean;
  readonly #stack: Open[] = [{ type: 'root', marker: '', children: [] }];
  /** Lengths of runs of backticks that nothing closes. */
  readonly #unclosed = new Set<number>();
  #at = 0;

  constructor(text: string, isOpen: boolean) {
    this.#text = text;
    this.#isOpen = isOpen;
  }

  parse(): Inline[] {
    const text = this.#text;
    while (this.#at < text.length) {
      SPECIAL.lastIndex = this.#at;
      const found = SPECIAL.exec(text);
      this.#put(text.slice(this.#at, found ? found.index : text.length));
      if (!found) break;
      this.#at = found.index;
      this.#special(found[0]);
    }
    while (this.#stack.length > 1) this.#giveUp();
    return (this.#stack[0] as Open).children;
  }

  get #top(): Open {
    return this.#stack.at(-1) as Open;
  }

  #put(node: Inline): void {
    const { children } = this.#top;
    const last = children.at(-1);
    if (node === '') return;
    if (typeof node === 'string' && typeof last === 'string')
      children[children.length - 1] = last + node;
    else children.push(node);
  }

  #special(found: string): void {
    const next = this.#text[this.#at + 1] ?? '';
    if (found === '\\') this.#escape(next);
    else if (found === '`') this.#code();
    else if (found === '*' || found === '_' || found === '~') this.#emphasis(found);
    else if (found === '[') this.#link(false);
    else if (found === '!') {
      if (next === '[') this.#link(true);
      else this.#literal(1);
    } else if (found === '<') this.#bracketed();
    else if (found === '\n') this.#newline();
    else this.#address();
  }

  #literal(length: number): void {
    this.#put(this.#text.slice(this.#at, this.#at + length));
    this.#at += length;
  }

  #escape(next: string): void {
    if (next === '\n') {
      this.#put({ type: 'break' });
      this.#at += 2;
    } else if (PUNCTUATION.test(next)) {
      this.#put(next);
      this.#at += 2;
    } else this.#literal(1);
  }

  #newline(): void {
    const { children } = this.#top;
    const last = children.at(-1);
    if (typeof last === 'string' && last.endsWith('  ')) {
      children[children.length - 1] = last.trimEnd();
      this.#put({ type: 'break' });
    } else this.#put('\n');
    this.#at += 1;
  }

  #code(): void {
    const text = this.#text;
    let length = 1;
    while (text[this.#at + length] === '`') length += 1;
    const start = this.#at + length;
    const end = this.#unclosed.has(length) ? -1 : findRun(text, start, length);
    if (end < 0) {
      if (this.#isOpen && !this.#unclosed.has(length)) {
        if (start < text.length) this.#put({ type: 'code', text: text.slice(start) });
        this.#at = text.length;
        return;
      }
      this.#unclosed.add(length);
      this.#literal(length);
      return;
    }
    const code = text.slice(start, end).replaceAll('\n', ' ');
    const isPadded = code.startsWith(' ') && code.endsWith(' ') && code.trim() !== '';
    this.#put({ type: 'code', text: isPadded ? code.slice(1, -1) : code });
    this.#at = end + length;
  }

  #emphasis(char: string): void {
    const text = this.#text;
    let length = 1;
    while (text[this.#at + length] === char) length += 1;
    const before = text[this.#at - 1] ?? ' ';
    const after = text[this.#at + length] ?? ' ';
    if (this.#isOpen && this.#at + length === text.length) {
      this.#closeAll(char, length, before);
      this.#at = text.length;
      return;
    }
    if (char === '~' && length !== 2) {
      this.#literal(length);
      return;
    }
    const isLeft =
      !/\s/.test(after) &&
      (!PUNCTUATION.test(after) || /\s/.test(before) || PUNCTUATION.test(before));
    const isRight =
      !/\s/.test(before) &&
      (!PUNCTUATION.test(before) || /\s/.test(after) || PUNCTUATION.test(after));
    const isWord = char === '_';
    const canOpen = isLeft && (!isWord || !isRight || PUNCTUATION.test(before));
    const canClose = isRight && (!isWord || !isLeft || PUNCTUATION.test(after));
    let left = length;
    while (canClose && left > 0) {
      const closed = this.#close(char, left);
      if (closed === 0) break;
      left -= closed;
    }
    while (canOpen && left > 0 && this.#stack.length <= MAX_OPEN) {
      const size = left >= 2 ? 2 : 1;
      const type = char === '~' ? 'strike' : size === 2 ? 'strong' : 'em';
      this.#stack.push({ type, marker: char.repeat(size), children: [] });
      left -= size;
    }
    this.#put(char.repeat(left));
    this.#at += length;
  }

  /** At the end of a text that goes on, a run of markers closes what it can; the rest is hidden. */
  #closeAll(char: string, length: number, before: string): void {
    if (/\s/.test(before)) return;
    for (let left = length; left > 0; ) {
      const closed = this.#close(char, left);
      if (closed === 0) return;
      left -= closed;
    }
  }

  /** Close the innermost emphasis of this marker; return how many characters that took. */
  #close(char: string, most: number): number {
    for (let depth = this.#stack.length - 1; depth > 0; depth -= 1) {
      const open = this.#stack[depth] as Open;
      if (open.marker[0] !== char || open.marker.length > most) continue;
      while (this.#stack.length - 1 > depth) this.#giveUp(true);
      this.#stack.pop();
      if (open.type !== 'root') this.#put({ type: open.type, children: open.children });
      return open.marker.length;
    }
    return 0;
  }

  /** End the innermost emphasis that nothing closed. */
  #giveUp(isText = !this.#isOpen): void {
    const open = this.#stack.pop() as Open;
    if (open.type === 'root') return;
    if (!isText) {
      if (open.children.length > 0) this.#put({ type: open.type, children: open.children });
      return;
    }
    this.#put(open.marker);
    for (const child of open.children) this.#put(child);
  }

  #link(isImage: boolean): void {
    const text = this.#text;
    const start = this.#at + (isImage ? 2 : 1);
    const close = findClosing(text, start, '[', ']');
    if (close === null) {
      if (this.#isOpen && text.length - start < MAX_LINK) this.#at = start;
      else this.#literal(isImage ? 2 : 1);
      return;
    }
    const isUnfinished = this.#isOpen && close === text.length - 1;
    if (text[close + 1] !== '(' && !isUnfinished) {
      this.#literal(isImage ? 2 : 1);
      return;
    }
    const end = isUnfinished ? null : findClosing(text, close + 2, '(', ')');
    const label = text.slice(start, close);
    if (end === null) {
      if (!this.#isOpen || text.length - close > MAX_LINK) {
        this.#literal(isImage ? 2 : 1);
        return;
      }
      for (const node of parseInline(label)) this.#put(node);
      this.#at = text.length;
      return;
    }
    const target = text.slice(close + 2, end).trim();
    const address = target.replace(/\s+["'(][\s\S]*$/, '').replace(/^<([\s\S]*)>$/, '$1');
    const href = safeHref(address);
    const children = label ? parseInline(label).filter((node) => !isLink(node)) : [address];
    if (href !== null) this.#put({ type: 'link', href, children });
    else this.#put(text.slice(this.#at, end + 1));
    this.#at = end + 1;
  }

  /** An address in angle brackets; other markup is text. */
  #bracketed(): void {
    const end = this.#text.indexOf('>', this.#at);
    const inner = end < 0 || end - this.#at > MAX_LINK ? '' : this.#text.slice(this.#at + 1, end);
    const href = /^\S+$/.test(inner) ? safeHref(inner) : null;
    if (href === null) {
      this.#literal(1);
      return;
    }
    this.#put({ type: 'link', href, children: [inner] });
    this.#at = end + 1;
  }

  #address(): void {
    const pattern = /https?:\/\/[^\s<>"'`\]|*]{1,1000}/y;
    pattern.lastIndex = this.#at;
    let found = pattern.exec(this.#text)?.[0] ?? '';
    found = found.replace(/[.,;:!?]+$/, '');
    if (found.endsWith(')') && !found.includes('(')) found = found.slice(0, -1);
    const href = found ? safeHref(found) : null;
    const before = this.#text[this.#at - 1] ?? ' ';
    if (href === null || /\w/.test(before)) {
      this.#literal(4);
      return;
    }
    this.#put({ type: 'link', href, children: [found] });
    this.#at += found.length;
  }
}

const isLink = (node: Inline): boolean => typeof node !== 'string' && node.type === 'link';

/** Return where a run of exactly `length` backticks begins, -1 if there is none. */
function findRun(text: string, from: number, length: number): number {
  for (let at = text.indexOf('`', from); at >= 0; at = text.indexOf('`', at)) {
    let end = at;
    while (text[end] === '`') end += 1;
    if (end - at === length) return at;
    at = end;
  }
  return -1;
}

/** Return where a bracket is closed that was opened before `from`; null if it is not, or too far. */
function findClosing(text: string, from: number, open: string, close: string): number | null {
  let depth = 1;
  const end = Math.min(text.length, from + MAX_LINK);
  for (let at = from; at < end; at += 1) {
    const char = text[at];
    if (char === '\\') at += 1;
    else if (char === '\n' && text[at + 1] === '\n') return null;
    else if (char === open) depth += 1;
    else if (char === close) {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return null;
}
