import { expect, test } from 'vitest';
import { errorOf } from '../src/errors.js';
import { type Action, begin, type Happened, react, USUAL } from '../src/reconnect.js';
import { vectors } from './vectors.js';

interface Step {
  readonly on: Happened['on'];
  readonly chance?: number;
  readonly position?: string;
  readonly then: Record<string, unknown>;
  readonly [field: string]: unknown;
}

/** The names of the wire in those of TypeScript. */
const renamed = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase()),
      value,
    ]),
  );

function matches(action: Action, then: Record<string, unknown>): void {
  const expected = renamed(then);
  if (action.do === 'connect') {
    expect(action.waitS).toBeCloseTo(expected.waitS as number, 9);
    expect(expected.do).toBe('connect');
  } else expect(action).toEqual(expected);
}

test.each(
  vectors<{ position?: string; options?: Record<string, unknown>; steps: Step[] }>(
    'reconnect.json',
  ),
)('$name', ({ position, options, steps }) => {
  let state = begin(position);
  let expected = position ?? '';
  for (const { chance, position: moved, then, ...happened } of steps) {
    const given = { ...USUAL, ...renamed(options ?? {}) };
    const [next, action] = react(state, renamed(happened) as Happened, chance ?? 0, given);
    matches(action, then);
    expected = moved ?? expected;
    expect(next.position).toBe(expected);
    state = next;
  }
});

interface Problem {
  readonly status: number;
  readonly retry_after?: string;
  readonly document: unknown;
  readonly error: Record<string, unknown> & { readonly name: string; readonly code: string };
  readonly then: Record<string, unknown>;
}

const PROBLEMS = vectors<Problem>('problems.json');

test.each(PROBLEMS)('$name', ({ status, retry_after, document, error: expected, then }) => {
  const error = errorOf(status, document, retry_after);

  const { name: _, ...fields } = expected;
  expect(error).toMatchObject(renamed(fields));
  const [, action] = react(begin(), {
    on: 'answer',
    status,
    retryAfterS: error.retryAfterS,
    retryable: error.retryable,
  });
  matches(action, then);
});

test('each class of errors has a code of its own, or a field', () => {
  const ways = new Map<string, string>();
  for (const { status, document, error: expected } of PROBLEMS) {
    const { code, runId, decision } = errorOf(status, document);
    const way = runId ? 'runId' : decision ? 'decision' : code;
    expect(ways.get(way) ?? expected.name).toBe(expected.name);
    ways.set(way, expected.name);
  }
  expect(new Set(ways.values()).size).toBe(ways.size);
});
