import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { language, t } from '../src/i18n';
import {
  formatAgo,
  formatBytes,
  formatClock,
  formatDuration,
  formatPercent,
} from '../src/i18n/format';
import { texts } from '../src/i18n/texts';

afterEach(() => {
  language.value = 'en';
});

const names = (text: string) => [...new Set(text.match(/\{\w+\}/g) ?? [])].sort().join();

describe('texts', () => {
  test.each(Object.entries(texts))('%s has the same values in both languages', (_, forms) => {
    expect(forms.every(Boolean)).toBe(true);
    const [wanted, ...others] = [...forms].reverse().map(names);
    // The form for one may leave the number out.
    expect(others.at(0)).toBe(wanted);
  });

  test('are all used', () => {
    const folder = join(import.meta.dirname, '../src');
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    const source = files
      .filter((name) => /\.tsx?$/.test(name) && !/(i18n\/texts|strings)\.ts$/.test(name))
      .map((name) => readFileSync(join(folder, name), 'utf8'))
      .join();
    const made = [...source.matchAll(/`([a-z.-]+\.)\$\{/g)].map((found) => found[1] ?? '');
    const unused = Object.keys(texts).filter(
      (key) => !source.includes(`'${key}'`) && !made.some((start) => key.startsWith(start)),
    );
    expect(unused).toEqual([]);
  });

  test('change with the language', () => {
    expect(t('status.done')).toBe('Done');
    language.value = 'zh';
    expect(t('status.done')).toBe('已完成');
  });

  test('take their values as text', () => {
    expect(t('link.reconnecting.why', { why: '{why} <b>' })).toContain('{why} <b>');
  });
});

describe('formats', () => {
  test('of durations', () => {
    const shown = [0.35, 4.26, 59.9, 185, 7620, 180000].map(formatDuration);
    expect(shown).toEqual(['350ms', '4.2s', '59s', '3m 5s', '2h 7m', '2d 2h']);
    language.value = 'zh';
    expect(formatDuration(185)).toBe('3分钟 5秒');
  });

  test('of sizes and shares', () => {
    expect([0, 1, 999, 1500, 2.5e9].map(formatBytes)).toEqual([
      '0 bytes',
      '1 byte',
      '999 bytes',
      '1.5 kB',
      '2.5 GB',
    ]);
    expect(formatPercent(99.9)).toBe('99%');
  });

  test('of points in time', () => {
    expect(formatAgo(1000, 1003)).toBe('now');
    expect(formatAgo(1000, 1125)).toBe('2 min. ago');
    language.value = 'zh';
    expect(formatAgo(1000, 1125)).toBe('2分钟前');
    expect(formatClock(3.25, true)).toMatch(/:03\.250$/);
  });
});
