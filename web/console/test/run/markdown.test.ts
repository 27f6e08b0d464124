import { describe, expect, it } from 'vitest';
import { type Inline, parseInline, safeHref } from '../../src/run/text/inline';
import { type Block, GrowingMarkdown, parseMarkdown } from '../../src/run/text/markdown';
import { random } from './events';

const shape = (nodes: readonly Inline[]): unknown[] =>
  nodes.map((node) => {
    if (typeof node === 'string') return node;
    if (node.type === 'code') return { code: node.text };
    if (node.type === 'break') return 'BREAK';
    if (node.type === 'link') return { [node.href]: shape(node.children) };
    return { [node.type]: shape(node.children) };
  });
const inline = (text: string, isOpen = false): unknown[] => shape(parseInline(text, isOpen));

/** The text that blocks show, without their marks. */
function textOf(blocks: readonly Block[]): string {
  const of = (nodes: readonly Inline[]): string =>
    nodes
      .map((node) =>
        typeof node === 'string'
          ? node
          : node.type === 'break'
            ? '\n'
            : node.type === 'code'
              ? node.text
              : of(node.children),
      )
      .join('');
  return blocks
    .map((block) => {
      if (block.type === 'code') return block.text;
      if (block.type === 'quote') return textOf(block.blocks);
      if (block.type === 'list') return block.items.map((item) => textOf(item.blocks)).join('\n');
      if (block.type === 'table') return block.rows.map((row) => row.map(of).join(' ')).join('\n');
      return block.type === 'rule' ? '' : of(block.children);
    })
    .join('\n');
}

describe('a line of Markdown', () => {
  it.each([
    ['plain', ['plain']],
    [
      '**a** and *b* and ~~c~~',
      [{ strong: ['a'] }, ' and ', { em: ['b'] }, ' and ', { strike: ['c'] }],
    ],
    ['***both***', [{ strong: [{ em: ['both'] }] }]],
    ['`a*b*` and ``a`b``', [{ code: 'a*b*' }, ' and ', { code: 'a`b' }]],
    ['snake_case_name and 2 * 3 * 4', ['snake_case_name and 2 * 3 * 4']],
    ['**never closed', ['**never closed']],
    ['`never closed', ['`never closed']],
    ['\\*no\\* emphasis', ['*no* emphasis']],
    ['two  \nlines\nhere', ['two', 'BREAK', 'lines\nhere']],
    ['[a](https://x.example/p)', [{ 'https://x.example/p': ['a'] }]],
    ['see https://x.example/p.', ['see ', { 'https://x.example/p': ['https://x.example/p'] }, '.']],
    ['<https://x.example/>', [{ 'https://x.example/': ['https://x.example/'] }]],
    ['![alt](https://x.example/i.png)', [{ 'https://x.example/i.png': ['alt'] }]],
  ])('reads %s', (text, expected) => expect(inline(text)).toEqual(expected));

  it.each([
    'javascript:alert(1)',
    ' javascript:alert(1)',
    'JaVaScRiPt:alert(1)',
    'java\nscript:alert(1)',
    'data:text/html,<script>',
    'vbscript:x',
    'file:///etc/passwd',
    '//evil.example',
    '/runs/a/cancel',
    'blob:https://x.example/1',
  ])('makes no link of %s', (address) => {
    expect(safeHref(address)).toBeNull();
    expect(JSON.stringify(inline(`[a](${address})`))).not.toContain('"javascript');
    expect(inline(`[a](${address})`).every((node) => typeof node === 'string')).toBe(true);
  });

  it('shows markup as text', () => {
    expect(inline('<img src=x onerror=alert(1)>')).toEqual(['<img src=x onerror=alert(1)>']);
  });
});

describe('a text that is still written', () => {
  it.each([
    ['some **bo', ['some ', { strong: ['bo'] }]],
    ['some **', ['some ']],
    ['some **bold*', ['some ', { strong: ['bold'] }]],
    ['run `npm i', ['run ', { code: 'npm i' }]],
    ['run `', ['run ']],
    ['see [the docs', ['see the docs']],
    ['see [the docs](https://x.exam', ['see the docs']],
  ])('shows %s as what it becomes', (text, expected) =>
    expect(inline(text, true)).toEqual(expected),
  );

  it('hides the marker of a block until it is known which', () => {
    expect(textOf(parseMarkdown('text\n\n##', true))).toBe('text');
    expect(textOf(parseMarkdown('text\n\n``', true))).toBe('text');
    expect(textOf(parseMarkdown('text\n-', true))).toBe('text');
    expect(textOf(parseMarkdown('42', true))).toBe('42');
  });

  it('never shows a mark that it takes back, however the text is cut', () => {
    const text =
      'A **bold** and `code` and [link](https://x.example/a) *end*\n\n- one **two**\n- `three`\n';
    for (let cut = 1; cut <= text.length; cut += 1) {
      expect(textOf(parseMarkdown(text.slice(0, cut), true))).not.toMatch(/[*`[\]()]/);
    }
  });

  it('is the same in one piece and piece by piece, and finished blocks stay the same objects', () => {
    const text =
      '# Title\n\nOne *two*\nthree\n\n```js\nconst a = 1;\n\nb\n```\n\n1. x\n2. y\n\n   z\n\n> q\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\nend';
    const growing = new GrowingMarkdown();
    let before: Block[] = [];
    for (let cut = 1; cut <= text.length; cut += 1) {
      const blocks = growing.update(text.slice(0, cut), true);
      expect(blocks).toEqual(parseMarkdown(text.slice(0, cut), true));
      const kept = Math.max(0, before.length - 2);
      for (let at = 0; at < kept; at += 1) expect(blocks[at]).toBe(before[at]);
      before = blocks;
    }
    expect(growing.update(text, false)).toEqual(parseMarkdown(text));
  });

  it('costs what was added, not what is there', () => {
    const paragraph = 'some words in a paragraph of a long text\n\n';
    const growing = new GrowingMarkdown();
    let text = '';
    for (let count = 0; count < 500; count += 1) {
      text += paragraph;
      growing.update(text, true);
    }
    expect(growing.parsed).toBeLessThan(text.length * 5);
  });
});

describe('blocks', () => {
  it('reads lists within lists, with tasks', () => {
    const [list] = parseMarkdown('- a\n  - b\n  - c\n- [x] d\n\n  e');
    expect(list).toMatchObject({ type: 'list', isOrdered: false });
    if (list?.type !== 'list') throw new Error('no list');
    expect(list.items[0]?.blocks.map((block) => block.type)).toEqual(['paragraph', 'list']);
    expect(list.items[1]).toMatchObject({ isTicked: true });
    expect(list.items[1]?.blocks).toHaveLength(2);
  });

  it('keeps code as it is', () => {
    expect(parseMarkdown('```python {.x}\nif a:\n    **b**\n```')[0]).toMatchObject({
      type: 'code',
      language: 'python',
      text: 'if a:\n    **b**',
    });
  });

  it('aligns the columns of tables, and fills short rows', () => {
    expect(parseMarkdown('a | b\n:-: | --:\n1')[0]).toMatchObject({
      aligns: ['center', 'right'],
      rows: [
        [['a'], ['b']],
        [['1'], []],
      ],
    });
  });
});

describe('hostile Markdown', () => {
  const PARTS = [
    '*',
    '**',
    '_',
    '`',
    '```',
    '\n',
    '\n\n',
    '[',
    ']',
    '(',
    ')',
    '<',
    '>',
    '!',
    '|',
    '-',
    '- ',
    '1. ',
    '#',
    '> ',
    '\\',
    '~~',
    'a',
    ' ',
    'https://x.example',
    'javascript:alert(1)',
    '<script>',
    '|-|',
    '\u202e',
    '\0',
    '    ',
  ];

  it('is parsed without a failure, and links lead nowhere else', () => {
    const next = random(7);
    for (let round = 0; round < 1500; round += 1) {
      const text = Array.from({ length: 40 }, () => PARTS[Math.floor(next() * PARTS.length)]).join(
        '',
      );
      for (const isOpen of [false, true]) {
        const found = JSON.stringify(parseMarkdown(text, isOpen));
        for (const [, href] of found.matchAll(/"href":"([^"]*)"/g))
          expect(href).toMatch(/^(https?:|mailto:)/);
      }
    }
  });

  it('takes steps in proportion to its length', () => {
    for (const part of [
      '[',
      '**a',
      '`',
      '> ',
      '- ',
      '*a _b ',
      '[a](',
      '<a',
      '|a|',
      '![',
      '\\',
      '``a',
      '(',
      '1. ',
      'https://',
    ]) {
      const text = part.repeat(6000);
      const begun = performance.now();
      parseMarkdown(text, true);
      parseMarkdown(text, false);
      // A bound that only a parser of quadratic time misses, by far.
      expect(performance.now() - begun, part).toBeLessThan(2000);
    }
  });

  it('does not go deeper than it shows', () => {
    expect(() => parseMarkdown(`${'> '.repeat(5000)}a`)).not.toThrow();
    expect(() => parseMarkdown(`${'- '.repeat(5000)}a`)).not.toThrow();
  });
});
