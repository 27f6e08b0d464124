import { type Inline, parseInline } from './inline';

/** A part of a Markdown text; `start` is where it begins, and its key while the text grows. */
export type Block = { readonly start: number } & (
  | { readonly type: 'paragraph'; readonly children: Inline[] }
  | { readonly type: 'heading'; readonly level: number; readonly children: Inline[] }
  | { readonly type: 'code'; readonly language: string; readonly text: string }
  | { readonly type: 'quote'; readonly blocks: Block[] }
  | {
      readonly type: 'list';
      readonly isOrdered: boolean;
      readonly first: number;
      readonly items: ListItem[];
    }
  | { readonly type: 'table'; readonly rows: Inline[][][]; readonly aligns: Align[] }
  | { readonly type: 'rule' }
);

export interface ListItem {
  /** Whether the item is ticked; null if it is no task. */
  readonly isTicked: boolean | null;
  readonly blocks: Block[];
}

export type Align = 'left' | 'center' | 'right' | undefined;

/** Most quotes and lists within each other; what is deeper is text. */
const MAX_DEPTH = 10;

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`\n]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+|$)(.*)$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:[ \t]+|$)/;
const DELIMITERS = /^ *\|?[ :-]*-[ :|-]*$/;
/** The end of a growing text that may become the marker of a block. */
const UNDECIDED =
  /(?:^|\n)[ \t]*(?:[-*+>_=]{1,3}|#{1,6}|`{1,2}|~{1,2}|`{3,}[^\n`]*|\d{1,9}[.)])[ \t]*$/;

interface Line {
  readonly text: string;
  readonly start: number;
}

/**
 * Return a Markdown text as blocks: the usual subset of GitHub Flavored Markdown.
 *
 * HTML is text, images are links, and links go to http, https and mailto only (see `safeHref`).
 * With `isOpen` more text will follow: see `parseInline`. Source: CommonMark 0.31, GFM 0.29; both
 * only as far as texts of models and log messages use them.
 */
export function parseMarkdown(text: string, isOpen = false): Block[] {
  const shown = isOpen ? text.replace(UNDECIDED, '') : text;
  return parseBlocks(linesOf(shown, 0), isOpen, 0);
}

/** A Markdown text that grows at its end: finished blocks are parsed once and stay the same objects. */
export class GrowingMarkdown {
  #text = '';
  #isOpen = false;
  #stable: Block[] = [];
  #stableEnd = 0;
  #blocks: Block[] = [];
  /** How many characters were parsed so far, to show what growing costs. */
  parsed = 0;

  /** Return the blocks of the text, which usually continues the text of the last call. */
  update(text: string, isOpen: boolean): Block[] {
    if (text === this.#text && isOpen === this.#isOpen) return this.#blocks;
    if (!text.startsWith(this.#text)) {
      this.#stable = [];
      this.#stableEnd = 0;
    }
    this.#text = text;
    this.#isOpen = isOpen;
    const rest = text.slice(this.#stableEnd);
    const shown = isOpen ? rest.replace(UNDECIDED, '') : rest;
    this.parsed += shown.length;
    const blocks = parseBlocks(linesOf(shown, this.#stableEnd), isOpen, 0);
    this.#blocks = [...this.#stable, ...blocks];
    // What follows can change the last block only.
    const last = blocks.at(-1);
    if (last && blocks.length > 1) {
      this.#stable = this.#blocks.slice(0, -1);
      this.#stableEnd = last.start;
    }
    return this.#blocks;
  }
}

function linesOf(text: string, start: number): Line[] {
  let at = start;
  return text.split('\n').map((line) => {
    const found = {
      text: line.replace(/\r$/, '').replace(/^\t+/, (tabs) => '    '.repeat(tabs.length)),
      start: at,
    };
    at += line.length + 1;
    return found;
  });
}

const isBlank = (line: Line | undefined): boolean => !line || line.text.trim() === '';

const beginsBlock = (text: string): boolean =>
  FENCE.test(text) || HEADING.test(text) || RULE.test(text) || QUOTE.test(text);

function parseBlocks(lines: readonly Line[], isOpen: boolean, depth: number): Block[] {
  const blocks: Block[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at] as Line;
    if (isBlank(line)) {
      at += 1;
      continue;
    }
    const [block, next] = parseBlock(lines, at, isOpen, depth);
    blocks.push(block);
    at = next;
  }
  return blocks;
}

type Parsed = [Block, number];

function parseBlock(lines: readonly Line[], at: number, isOpen: boolean, depth: number): Parsed {
  const { text, start } = lines[at] as Line;
  const heading = HEADING.exec(text);
  if (FENCE.test(text)) return parseFence(lines, at);
  if (heading) {
    const inner = (heading[2] ?? '').replace(/[ \t]+#+[ \t]*$/, '').trim();
    const children = parseInline(inner, isOpen && at === lines.length - 1);
    return [{ type: 'heading', start, level: heading[1]?.length ?? 1, children }, at + 1];
  }
  if (RULE.test(text)) return [{ type: 'rule', start }, at + 1];
  if (QUOTE.test(text) && depth < MAX_DEPTH) return parseQuote(lines, at, isOpen, depth);
  const item = ITEM.exec(text);
  if (item && (item[1]?.length ?? 0) < 4 && depth < MAX_DEPTH) {
    return parseList(lines, at, isOpen, depth);
  }
  return parseTable(lines, at, isOpen) ?? parseParagraph(lines, at, isOpen);
}

function parseFence(lines: readonly Line[], at: number): Parsed {
  const { text, start } = lines[at] as Line;
  const [, fence = '```', info = ''] = FENCE.exec(text) ?? [];
  const indent = text.length - text.trimStart().length;
  const code: string[] = [];
  let next = at + 1;
  for (; next < lines.length; next += 1) {
    const line = (lines[next] as Line).text;
    const end = line.trim();
    if (end.length >= fence.length && end === fence[0]?.repeat(end.length)) break;
    code.push(line.slice(Math.min(indent, line.length - line.trimStart().length)));
  }
  const language = info.trim().split(/[\s{]/)[0] ?? '';
  return [{ type: 'code', start, language, text: code.join('\n') }, next + 1];
}

function parseQuote(lines: readonly Line[], at: number, isOpen: boolean, depth: number): Parsed {
  const inner: Line[] = [];
  let next = at;
  for (; next < lines.length; next += 1) {
    const { text, start } = lines[next] as Line;
    const marker = QUOTE.exec(text)?.[0];
    const isLazy =
      marker === undefined && text.trim() !== '' && !beginsBlock(text) && !ITEM.test(text);
    if (marker === undefined && !isLazy) break;
    inner.push({ text: text.slice(marker?.length ?? 0), start: start + (marker?.length ?? 0) });
  }
  const isLast = isOpen && next >= lines.length;
  const blocks = parseBlocks(inner, isLast, depth + 1);
  return [{ type: 'quote', start: (lines[at] as Line).start, blocks }, next];
}

function parseList(lines: readonly Line[], at: number, isOpen: boolean, depth: number): Parsed {
  const { text, start } = lines[at] as Line;
  const [, indent = '', marker = '-'] = ITEM.exec(text) ?? [];
  const isOrdered = /\d/.test(marker);
  const kind = isOrdered ? marker.at(-1) : marker;
  const items: ListItem[] = [];
  let next = at;
  while (next < lines.length) {
    const found = ITEM.exec((lines[next] as Line).text);
    const itsMarker = found?.[2] ?? '';
    const isSame = (/\d/.test(itsMarker) ? itsMarker.at(-1) : itsMarker) === kind;
    if (!found || !isSame || (found[1]?.length ?? 0) > indent.length + 1) break;
    if (RULE.test((lines[next] as Line).text)) break;
    const end = endOfItem(lines, next, indent.length);
    items.push(parseItem(lines.slice(next, end), isOpen && end >= lines.length, depth));
    next = end;
    while (next < lines.length && isBlank(lines[next])) next += 1;
  }
  return [
    { type: 'list', start, isOrdered, first: isOrdered ? Number.parseInt(marker, 10) : 1, items },
    next,
  ];
}

/** Return where an item ends: before the next item, or before a line that is less indented. */
function endOfItem(lines: readonly Line[], at: number, indent: number): number {
  let next = at + 1;
  let end = next;
  for (; next < lines.length; next += 1) {
    const line = lines[next] as Line;
    if (isBlank(line)) continue;
    const own = line.text.length - line.text.trimStart().length;
    const isInside = own >= indent + 2;
    const isLazy = next === end && !isInside && !ITEM.test(line.text) && !beginsBlock(line.text);
    if (!isInside && !isLazy) break;
    end = next + 1;
  }
  return end;
}

function parseItem(lines: readonly Line[], isOpen: boolean, depth: number): ListItem {
  const first = lines[0] as Line;
  const width = ITEM.exec(first.text)?.[0].length ?? 0;
  const inner = lines.map((line, index) => {
    const own = line.text.length - line.text.trimStart().length;
    const cut = index === 0 ? width : Math.min(own, width);
    return { text: line.text.slice(cut), start: line.start + cut };
  });
  const head = inner[0] as Line;
  const task = /^\[([ xX])\][ \t]+/.exec(head.text);
  if (task)
    inner[0] = { text: head.text.slice(task[0].length), start: head.start + task[0].length };
  const blocks = parseBlocks(inner, isOpen, depth + 1);
  return { isTicked: task ? task[1] !== ' ' : null, blocks };
}

function parseTable(lines: readonly Line[], at: number, isOpen: boolean): Parsed | null {
  const { text, start } = lines[at] as Line;
  if (!text.includes('|')) return null;
  const delimiters = lines[at + 1]?.text ?? '';
  // While it is written, a row that begins with a bar is taken for the head of a table.
  const isBegun =
    isOpen &&
    at + 2 >= lines.length &&
    text.trimStart().startsWith('|') &&
    /^[ |:-]*$/.test(delimiters);
  const isTable = DELIMITERS.test(delimiters) && delimiters.includes('-');
  if (!isTable && !isBegun) return null;
  const head = cellsOf(text);
  const marks = isTable ? cellsOf(delimiters) : [];
  if (isTable && marks.length !== head.length && !isBegun) return null;
  const aligns = head.map((_, index): Align => {
    const mark = marks[index] ?? '';
    if (mark.endsWith(':')) return mark.startsWith(':') ? 'center' : 'right';
    return mark.startsWith(':') ? 'left' : undefined;
  });
  const rows = [head.map((cell) => parseInline(cell, isBegun && !isTable))];
  let next = Math.min(at + 2, lines.length);
  for (; next < lines.length && !isBlank(lines[next]); next += 1) {
    const row = (lines[next] as Line).text;
    if (beginsBlock(row)) break;
    const isLast = isOpen && next === lines.length - 1;
    const cells = cellsOf(row);
    rows.push(head.map((_, index) => parseInline(cells[index] ?? '', isLast)));
  }
  return [{ type: 'table', start, rows, aligns }, next];
}

function cellsOf(row: string): string[] {
  const inner = row
    .trim()
    .replace(/^\|/, '')
    .replace(/(?<!\\)\|$/, '');
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

function parseParagraph(lines: readonly Line[], at: number, isOpen: boolean): Parsed {
  const texts: string[] = [];
  let next = at;
  for (; next < lines.length && !isBlank(lines[next]); next += 1) {
    const { text } = lines[next] as Line;
    // A number other than 1 within a paragraph is more likely a number than a list.
    const begins = beginsBlock(text) || /^ {0,3}(?:[-*+]|1[.)])[ \t]+\S/.test(text);
    if (next > at && begins) break;
    texts.push(text.trimStart());
  }
  const isLast = isOpen && next >= lines.length;
  const children = parseInline(texts.join('\n').trimEnd(), isLast);
  return [{ type: 'paragraph', start: (lines[at] as Line).start, children }, next];
}
