import { describe, expect, test } from 'vitest';
import { links, parseRoute } from '../src/router';

describe('an address behind the #', () => {
  test('names the view that its link was made for', () => {
    expect(parseRoute(links.run('a:1'))).toEqual({ view: 'run', runId: 'a:1' });
    expect(parseRoute(links.functions)).toEqual({ view: 'functions' });
    const form = { view: 'function', name: 'plan', from: 'r.1' };
    expect(parseRoute(links.function('plan', 'r.1'))).toEqual(form);
    const odd = 'é/ü?#& %';
    expect(parseRoute(links.thread(odd))).toEqual({ view: 'thread', thread: odd });
  });

  test('has the filters of the list of runs', () => {
    const shown = parseRoute(links.runs(new URLSearchParams({ status: 'failed' })));
    expect(shown.view === 'runs' && shown.filters.get('status')).toBe('failed');
    expect(parseRoute('').view).toBe('runs');
    expect(parseRoute('#/').view).toBe('runs');
  });

  test.each(['#/runs/..', '#/runs/.', '#/runs/.a', '#/runs/-', '#/runs/a/b', '#/runs/%2e%2e'])(
    '%s leads to nothing',
    (address) => expect(parseRoute(address)).toEqual({ view: 'missing' }),
  );

  test.each(['#/runs/%ff', '#/functions/a b', '#/x', '#/threads/', '#//evil.example'])(
    '%s leads to nothing',
    (address) => expect(parseRoute(address)).toEqual({ view: 'missing' }),
  );
});
