// @vitest-environment happy-dom
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { FeedSource, RunChange, ThreadChange, ThreadSource } from '../src/index.js';
import { RuncastError, RunStore } from '../src/index.js';
import { useRun, useRuns, useThread } from '../src/react.js';
import { ScriptedSource, shown } from './scripted.js';

let place: HTMLElement;
let root: ReturnType<typeof createRoot>;

beforeEach(() => {
  place = document.createElement('div');
  root = createRoot(place);
});
afterEach(async () => {
  root.unmount();
});

const started = { type: 'started', data: { function: 'report' } };
const said = (text: string) => ({ type: 'content', data: { text } });

function Run({ source, id }: { source: ScriptedSource; id: string }) {
  const { state, answer } = useRun(source, id);
  const [question] = state.interrupts;
  const accept = () => answer(question?.interrupt_id ?? '', { type: 'accept' });
  return (
    <p>
      {state.status} {state.texts.map(({ text }) => text).join('|')}
      {question && (
        <button type="button" onClick={accept}>
          {question.message}
        </button>
      )}
    </p>
  );
}

test('a component shows a run as it goes on', async () => {
  const source = new ScriptedSource();
  source.write(started, said('a '));
  root.render(<Run source={source} id="r" />);
  await shown(() => expect(place.textContent).toBe('running a '));
  source.write(said('b'));
  await shown(() => expect(place.textContent).toBe('running a b'));
  source.write({ type: 'done' });
  await shown(() => expect(place.textContent).toBe('done a b'));

  await shown(() => expect(source.open).toBe(0));
});

test('a component that is mounted twice follows once, and leaves nothing behind', async () => {
  const source = new ScriptedSource();
  source.write(started);
  root.render(
    <StrictMode>
      <Run source={source} id="r" />
    </StrictMode>,
  );
  await shown(() => expect(place.textContent).toContain('running'));
  await shown(() => expect(source.open).toBe(1));
  source.write(said('once'));
  await shown(() => expect(place.textContent).toBe('running once'));

  root.render(null);
  await shown(() => expect(source.open).toBe(0));
  expect(source.cancel).not.toHaveBeenCalled();
});

test('a server that is away at first is waited for, and a refusal is not', async () => {
  const source = Object.assign(new ScriptedSource(), {
    snapshot: async () => {
      throw new RuncastError('server_unavailable', 'it restarts');
    },
  });
  source.write(started, said('back'));
  root.render(<Run source={source} id="r" />);
  await shown(() => expect(place.textContent).toBe('running back'));

  const refused = Object.assign(new ScriptedSource(), {
    snapshot: async () => {
      throw new RuncastError('not_found', 'no such run', 404);
    },
  });
  const store = new RunStore(refused, 'r');
  const stop = store.subscribe(() => {});
  await shown(() => expect(store.current.error?.code).toBe('not_found'));
  expect(refused.watches).toHaveLength(0);
  stop();
});

test('another run replaces what was shown', async () => {
  const one = new ScriptedSource();
  const other = new ScriptedSource();
  one.write(started, said('one'));
  other.write(started, said('other'));
  root.render(<Run source={one} id="r" />);
  await shown(() => expect(place.textContent).toBe('running one'));
  root.render(<Run source={other} id="r" />);
  await shown(() => expect(place.textContent).toBe('running other'));

  await shown(() => expect([one.open, other.open]).toEqual([0, 1]));
});

test('a question is answered', async () => {
  const source = new ScriptedSource();
  source.write(started, {
    type: 'interrupt_request',
    data: { interrupt_id: 'q', message: 'Deploy?' },
  });
  root.render(<Run source={source} id="r" />);
  await shown(() => expect(place.querySelector('button')?.textContent).toBe('Deploy?'));
  place.ownerDocument.body.append(place);
  place.querySelector('button')?.click();

  await shown(() => expect(source.answer).toHaveBeenCalledWith('r', 'q', { type: 'accept' }));
});

const info = (id: string, status: string, at: number) =>
  ({ run_id: id, function: 'f', status, created_at: at, labels: {} }) as never;

function List({ source }: { source: FeedSource }) {
  const { runs } = useRuns(source, { labels: { a: 'b' }, limit: 2 });
  return <p>{runs.map(({ run_id, status }) => `${run_id} ${status}`).join(', ')}</p>;
}

function Thread({ source }: { source: ThreadSource }) {
  const { runs, leftOut } = useThread(source, { thread: 'x' });
  const texts = runs.map(({ runId, state }) => `${runId}:${state.texts[0]?.text ?? ''}`);
  return <p>{[...texts, ...leftOut].join(' ')}</p>;
}

test('a list is live', async () => {
  const changes: RunChange[] = [];
  let wake = () => {};
  const source: FeedSource = {
    async *feed() {
      for (let place = 0; ; ) {
        const change = changes[place];
        if (change) {
          place++;
          yield change;
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    },
  };
  const give = async (change: RunChange, then: string) => {
    changes.push(change);
    wake();
    await shown(() => expect(place.textContent).toBe(then));
  };
  root.render(<List source={source} />);
  await shown(() => expect(place.querySelector('p')).not.toBeNull());

  await give({ run: info('a', 'queued', 1) }, 'a queued');
  await give({ run: info('b', 'queued', 2) }, 'b queued, a queued');
  await give({ run: info('a', 'done', 1) }, 'b queued, a done');
  await give({ run: info('c', 'queued', 3) }, 'c queued, b queued');
  await give({ deleted: 'c' }, 'b queued');
  await give({ gap: { reason: 'trimmed' } }, '');
});

test('a thread shows its runs in order', async () => {
  const source: ThreadSource = {
    async *watchThread(): AsyncGenerator<ThreadChange> {
      const of = (run: string, time: number, type: string, seq: number): ThreadChange => ({
        run,
        event: { seq, time, type, data: { text: run } },
      });
      yield of('b', 2, 'started', 1);
      yield of('a', 1, 'started', 1);
      yield of('gone', 3, 'started', 1);
      yield of('b', 3, 'content', 2);
      yield { deleted: 'gone' };
      yield { left_out: 'far' };
      await new Promise(() => {});
    },
  };
  root.render(<Thread source={source} />);

  await shown(() => expect(place.textContent).toBe('a: b:b far'));
});
