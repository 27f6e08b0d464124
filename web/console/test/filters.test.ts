import type { RunInfo } from '@runcast/client';
import { expect, test } from 'vitest';
import { matches, parseFilters, queryOf, selectionOf } from '../src/runs/filters';

const run = (more: Partial<RunInfo>): RunInfo =>
  ({
    run_id: 'r',
    function: 'f',
    status: 'done',
    labels: {},
    created_at: Date.now() / 1000,
    ended_at: null,
    events: 1,
    position: 'e-1',
    ...more,
  }) as RunInfo;

test('filters survive their address', () => {
  const query = new URLSearchParams(
    'status=failed&function=f&since=day&label=a%3Db%3Dc&label=%26=',
  );
  const filters = parseFilters(query);
  expect(filters).toEqual({
    status: 'failed',
    function: 'f',
    since: 'day',
    labels: { a: 'b=c', '&': '' },
  });
  expect(parseFilters(queryOf(filters))).toEqual(filters);
  expect(selectionOf(filters)).toEqual({
    status: 'failed',
    function: 'f',
    labels: { a: 'b=c', '&': '' },
  });
});

test('what no filter can have is left out', () => {
  const filters = parseFilters(new URLSearchParams('status=nowhere&since=ever&label=x&label==y'));
  expect(queryOf(filters).size).toBe(0);
});

test('a run that changes comes and goes by the filters', () => {
  const filters = parseFilters(new URLSearchParams('status=running&label=thread=t&since=hour'));
  const labels = { thread: 't', other: 'x' };
  expect(matches(run({ status: 'running', labels }), filters)).toBe(true);
  expect(matches(run({ status: 'done', labels }), filters)).toBe(false);
  expect(matches(run({ status: 'running' }), filters)).toBe(false);
  expect(matches(run({ status: 'running', labels, created_at: 1 }), filters)).toBe(false);
});
