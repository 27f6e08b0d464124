import type { RunInfo } from '@runcast/client';
import { expect, test, vi } from 'vitest';

interface Listeners {
  event(change: unknown): void;
  error(error: Error): void;
}

const followed: { listeners: Listeners; onConnection(connection: unknown): void }[] = [];
const pages: RunInfo[][] = [];

vi.mock('../src/data/client', () => ({
  client: {
    feed: ({ onConnection }: { onConnection(connection: unknown): void }) => ({
      listen: (listeners: Listeners) => followed.push({ listeners, onConnection }),
    }),
    runs: async () => ({ runs: pages.shift() ?? [], before: null }),
    functions: async () => [],
  },
}));

const { RunList } = await import('../src/runs/list');
const { NO_FILTERS } = await import('../src/runs/filters');

const run = (run_id: string, more: Partial<RunInfo> = {}) =>
  ({ run_id, status: 'done', labels: {}, created_at: 1, position: 'e-1', ...more }) as RunInfo;

test('a list that could not be followed is followed again on request', async () => {
  const list = new RunList(NO_FILTERS);
  list.open();
  followed[0]?.listeners.error(new Error('not allowed'));
  expect([list.state.value, list.problem.value]).toEqual(['failed', 'not allowed']);

  list.retry();
  pages.push([run('a')]);
  followed[1]?.onConnection({ state: 'open' });

  await vi.waitFor(() => expect(list.rows.value.map((each) => each.run_id)).toEqual(['a']));
  expect([list.state.value, list.problem.value]).toEqual(['ready', '']);
  list.close();
});

test('an older summary of a run does not replace a newer one, and another life does', async () => {
  followed.length = 0;
  const list = new RunList(NO_FILTERS);
  list.open();
  pages.push([run('a', { position: 'e-9', status: 'done' })]);
  followed[0]?.onConnection({ state: 'open' });
  await vi.waitFor(() => expect(list.rows.value).toHaveLength(1));

  followed[0]?.listeners.event({ run: run('a', { position: 'e-3', status: 'running' }) });
  followed[0]?.listeners.event({ run: run('b') });
  await vi.waitFor(() => expect(list.rows.value).toHaveLength(2));
  expect(list.rows.value.find((each) => each.run_id === 'a')?.status).toBe('done');

  followed[0]?.listeners.event({ run: run('a', { position: 'f-1', status: 'running' }) });
  await vi.waitFor(() =>
    expect(list.rows.value.find((each) => each.run_id === 'a')?.status).toBe('running'),
  );
  followed[0]?.listeners.event({ deleted: 'a' });
  await vi.waitFor(() => expect(list.rows.value.map((each) => each.run_id)).toEqual(['b']));
  list.close();
});
