import { describe, expect, it } from 'vitest';
import { readAnsi, withoutAnsi } from '../../src/run/text/ansi';
import { highlight } from '../../src/run/text/highlight';
import { random } from './events';

describe('a line for terminals', () => {
  it('has its colours as classes', () => {
    expect(readAnsi('\x1b[1;31mred\x1b[0m plain')).toEqual([
      { text: 'red', classes: 'ansi-red ansi-bold' },
      { text: ' plain', classes: '' },
    ]);
    expect(
      readAnsi('\x1b[38;5;196mr\x1b[38;2;0;200;0mg\x1b[39mx').map((each) => each.classes),
    ).toEqual(['ansi-red', 'ansi-green', '']);
    expect(readAnsi('\x1b[48;5;21mx')).toEqual([{ text: 'x', classes: '' }]);
  });

  it('has nothing that moves a cursor, sets a title or writes a clipboard', () => {
    expect(withoutAnsi('\x1b[2K\x1b[1A50%')).toBe('50%');
    expect(
      withoutAnsi('\x1b[31mred\x1b[0m and plain \x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x1b\\'),
    ).toBe('red and plain ');
    expect(withoutAnsi('a\0b\x08c')).toBe('abc');
  });

  it('shows what was written over a line last', () => {
    expect(withoutAnsi('first\n10 %\r50 %\r100 %')).toBe('first\n100 %');
    expect(withoutAnsi('a\r\nb\r\n')).toBe('a\nb\n');
  });

  it('never fails, and no control character is left', () => {
    const next = random(3);
    const parts = [
      '\x1b',
      '[',
      ']',
      '3',
      '1',
      ';',
      'm',
      '\x07',
      '\r',
      '\n',
      'a',
      '\x9b',
      '38;2;',
      '\x1b[38;5',
      'P',
    ];
    for (let round = 0; round < 2000; round += 1) {
      const text = Array.from({ length: 30 }, () => parts[Math.floor(next() * parts.length)]).join(
        '',
      );
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it is about
      expect(withoutAnsi(text)).not.toMatch(/[\0-\x08\x0b-\x1f\x7f-\x9f]/);
    }
  });
});

describe('code', () => {
  it('is coloured', () => {
    const kinds = (code: string, language: string) =>
      highlight(code, language)
        .filter((token) => token.kind)
        .map((token) => `${token.kind}:${token.text}`);
    expect(kinds('const a = "b"; // c', 'ts')).toEqual([
      'keyword:const',
      'string:"b"',
      'comment:// c',
    ]);
    expect(kinds('def f(): # x', 'python')).toEqual(['keyword:def', 'name:f', 'comment:# x']);
    expect(kinds('SELECT 1 -- one', 'sql')).toEqual([
      'keyword:SELECT',
      'number:1',
      'comment:-- one',
    ]);
    expect(kinds('+a\n-b\n c', 'diff')).toEqual(['added:+a\n', 'removed:-b\n']);
    expect(kinds('anything', 'constructor')).toEqual([]);
  });

  it('is never changed', () => {
    const next = random(11);
    const parts = [
      '"',
      "'",
      '`',
      '\\',
      '\n',
      '/*',
      '*/',
      '//',
      '#',
      '"""',
      'if',
      '12',
      ' ',
      'f(',
      '<!--',
      '-->',
      '<a',
      '--',
    ];
    for (const language of [
      'js',
      'python',
      'sh',
      'sql',
      'json',
      'yaml',
      'css',
      'html',
      'diff',
      'rust',
      '',
    ]) {
      for (let round = 0; round < 100; round += 1) {
        const code = Array.from(
          { length: 40 },
          () => parts[Math.floor(next() * parts.length)],
        ).join('');
        expect(
          highlight(code, language)
            .map((token) => token.text)
            .join(''),
        ).toBe(code);
      }
    }
  });
});
