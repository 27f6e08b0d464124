import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import {
  type BaseMessage,
  StateManager,
  StreamMessageProcessor,
  watchMessages,
} from '../src/flat.js';
import { type Client, connect } from '../src/index.js';
import { Server, soon, taken } from './server.js';

const server = new Server({ retry_s: '0.01' });
let client: Client;

beforeAll(async () => {
  await server.start();
  client = connect(server.url);
}, 60_000);
afterAll(() => server.end());

test('the messages of a run, and the state that they add up to', async () => {
  const run = await client.invoke('write', { words: 3 });
  const messages = await taken(watchMessages(client, run));
  const manager = new StateManager();
  const states = messages.map((message) => manager.updateFromMessage(message));

  const begun = states.findIndex(({ currentStep }) => currentStep === 'writing');
  expect(states[begun]?.activeAgents).toEqual(new Set(['writer']));
  expect(manager.state).toMatchObject({ currentStep: 'writing', progress: 100, isComplete: true });
  expect(manager.state.contentSections).toEqual(
    new Map([['draft_writer', 'word 0 word 1 word 2 ']]),
  );
  expect(manager.state.activeAgents).toEqual(new Set());
  expect(new Set(states).size).toBe(states.length);
});

test('a question reaches its dialog, and the answer the run', async () => {
  const run = await client.invoke('confirm', { to: 'production' });
  const manager = new StateManager();
  const closed = vi.fn();
  const processor = new StreamMessageProcessor(
    {
      handleInterrupt: (message, respond) => {
        expect(message).toMatchObject({ content: 'Deploy?', args: { to: 'production' } });
        void respond(true);
      },
      closeInterrupt: closed,
    },
    (id, answer) => client.answer(run, id, answer),
  );
  const waiting: number[] = [];
  const read = async () => {
    for await (const message of watchMessages(client, run)) {
      processor.processMessage(message);
      waiting.push(manager.updateFromMessage(message).pendingInterrupts.size);
    }
  };
  await soon(read(), 'the end of the run');
  expect(await client.result(run)).toMatchObject({ type: 'accept' });

  expect(Math.max(...waiting)).toBe(1);
  expect(waiting.at(-1)).toBe(0);
  expect(closed).toHaveBeenCalledWith('deploy', expect.anything());
});

const message = (type: string, fields: Partial<BaseMessage> = {}): BaseMessage => ({
  message_type: type,
  content: '',
  node: 'n',
  ...fields,
});
const piece = (content: string, fields: Partial<BaseMessage> = {}) =>
  message('content_streaming', { content, ...fields });

test('texts of different nodes and agents are never joined', () => {
  const shown: Record<string, string> = {};
  const processor = new StreamMessageProcessor({
    updateContentDisplay: (key, text, { node, agent }) => {
      shown[`${key} ${node}/${agent}`] = text;
    },
  });
  for (const [node, agent] of [
    ['a_b', 'c'],
    ['a', 'b_c'],
  ]) {
    processor.processMessage(piece(`${node} `, { node: node ?? '', agent: agent ?? '' }));
    processor.processMessage(piece('x', { node: node ?? '', agent: agent ?? '' }));
  }
  expect(shown).toEqual({ 'a_b_c a_b/c': 'a_b x', 'a_b_c a/b_c': 'a x' });
});

test('blanks are kept, and a second attempt begins a text again', () => {
  const manager = new StateManager();
  for (const each of [piece('深度'), piece(' '), piece('研究')]) manager.updateFromMessage(each);
  expect(manager.state.contentSections.get('n_main')).toBe('深度 研究');
  manager.updateFromMessage(piece('again', { attempt: 2 }));
  manager.updateFromMessage(piece('late'));
  expect(manager.state.contentSections.get('n_main')).toBe('again');
});

test('an error does not end a run unless it is the last message', () => {
  const manager = new StateManager();
  manager.updateFromMessage(message('error', { content: 'slow' }));
  expect(manager.state.isComplete).toBe(false);
  for (let number = 0; number < 100; number++) manager.updateFromMessage(message('error'));
  expect(manager.state.errors).toHaveLength(20);
  manager.updateFromMessage(message('error', { is_final: true }));
  expect(manager.state.isComplete).toBe(true);
});

test('a message that has no handler is left out', () => {
  const other = vi.fn();
  const processor = new StreamMessageProcessor({ showOther: other });
  for (const type of ['weather', 'step_start', 'interrupt_request', 'constructor']) {
    processor.processMessage(message(type));
  }
  expect(other.mock.calls.map(([{ message_type }]) => message_type)).toEqual([
    'weather',
    'constructor',
  ]);
});
