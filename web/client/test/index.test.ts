import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

test('the shared vectors are where the tests look for them', () => {
  const file = new URL('../../../conformance/fold.json', import.meta.url);
  expect(JSON.parse(readFileSync(file, 'utf8')).length).toBeGreaterThan(0);
});
