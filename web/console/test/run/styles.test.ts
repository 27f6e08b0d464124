import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';

const classesOf = (...files: readonly string[]): Set<string> => {
  const texts = files.map((file) =>
    readFileSync(resolve(import.meta.dirname, '../../src', file), 'utf8'),
  );
  return new Set(texts.join('\n').match(/\.[a-z][\w-]*(?=[^{}]*\{)/g));
};

it('has no class that another view gives another look', () => {
  const shared = classesOf('theme/base.css', 'theme/parts.css');
  const others = classesOf('runs/runs.css', 'functions/functions.css');
  const own = [...classesOf('run/run.css')].filter((name) => !shared.has(name));
  expect(own.filter((name) => others.has(name))).toEqual([]);
});
