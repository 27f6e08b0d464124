/**
 * For pages that were written for flat messages (`message_type`): a processor and a state manager
 * under their old names. New pages use `Fold`, which knows more.
 *
 *     const processor = new StreamMessageProcessor({
 *       updateContentDisplay: (key, text) => …,
 *       handleInterrupt: (message, respond) => …,
 *     });
 *     for await (const message of watchMessages(client, run)) processor.processMessage(message);
 */

import type { Answer } from './answers.js';
import type { WatchOptions } from './basic.js';
import type { Client } from './client.js';
import { isRecord } from './errors.js';
import type { Watch } from './watch.js';

/** A flat message. Source: the table at the top of `_wire/dialects/flat.py`. */
export interface BaseMessage {
  readonly message_type: string;
  readonly content: string;
  readonly node: string;
  /** Unix time in seconds. */
  readonly timestamp?: number;
  /** Seconds. */
  readonly duration?: number;
  readonly agent?: string;
  readonly agent_hierarchy?: readonly string[];
  readonly [field: string]: unknown;
}

export interface StepProgressMessage extends BaseMessage {
  /** 0 to 100. */
  readonly progress?: number;
}

export interface ToolCallMessage extends BaseMessage {
  readonly tool_name: string;
  readonly args?: unknown;
}

export interface ContentStreamingMessage extends BaseMessage {
  readonly chunk_index?: number;
  readonly message_id?: string;
  /** Which try at the text it belongs to: 1 if absent. A higher one begins the text again. */
  readonly attempt?: number;
}

export interface InterruptRequestMessage extends BaseMessage {
  readonly interrupt_id: string;
  readonly action: string;
  readonly args?: unknown;
}

/** The messages of a run, each once, across lost connections. */
export const watchMessages = (
  client: Client,
  runId: string,
  options: WatchOptions = {},
): Watch<BaseMessage> =>
  client.watchDialect(runId, 'flat', options) as unknown as Watch<BaseMessage>;

/** Gives an answer to the question of a message. */
export type Respond = (answer: boolean | Answer) => Promise<unknown>;

/** What a processor calls; all are optional. */
export interface MessageHandlers {
  showStepStart?(message: BaseMessage): void;
  updateProgress?(message: StepProgressMessage): void;
  showStepComplete?(message: BaseMessage): void;
  /** @param text all of the text so far. `key` is `node_agent`, or `node_main`. */
  updateContentDisplay?(key: string, text: string, message: ContentStreamingMessage): void;
  showThinking?(message: BaseMessage): void;
  showToolCall?(message: ToolCallMessage): void;
  showToolResult?(message: BaseMessage): void;
  /** The run waits until somebody answers: here, or in another page. */
  handleInterrupt?(message: InterruptRequestMessage, respond: Respond): void;
  /** A question was answered, or its time is over: its dialog can go. */
  closeInterrupt?(interruptId: string, message: BaseMessage): void;
  showFinalResult?(message: BaseMessage): void;
  showError?(message: BaseMessage): void;
  /** Any other type. Without it such messages are left out. */
  showOther?(message: BaseMessage): void;
}

const TEXT_TYPES = new Set(['content_streaming', 'thinking', 'reasoning']);

/** The texts of a run, put together from their pieces. */
class Texts {
  readonly #texts = new Map<string, { text: string; attempt: number }>();

  /** Add a piece, and return all of its text. */
  add(message: ContentStreamingMessage): string {
    const { message_type: type, node, agent, message_id: id, content } = message;
    // Joined by what no name has: `a_b` and `c` are not `a` and `b_c`.
    const key = [type, node, agent ?? '', id ?? ''].join('\0');
    const attempt = typeof message.attempt === 'number' ? message.attempt : 1;
    const known = this.#texts.get(key);
    if (known && attempt < known.attempt) return known.text;
    const text = known && attempt === known.attempt ? known.text + content : content;
    this.#texts.set(key, { text, attempt });
    return text;
  }
}

const keyOf = ({ node, agent }: BaseMessage): string => `${node}_${agent || 'main'}`;

/** Calls a handler for each message. */
export class StreamMessageProcessor {
  readonly #handlers: MessageHandlers;
  readonly #answer: (interruptId: string, answer: Answer) => Promise<unknown>;
  readonly #texts = new Texts();

  /** @param answer sends an answer: `(id, answer) => client.answer(run, id, answer)`. */
  constructor(
    handlers: MessageHandlers,
    answer: (interruptId: string, answer: Answer) => Promise<unknown> = async () => {
      throw new Error('expected the processor to be given how to answer');
    },
  ) {
    this.#handlers = handlers;
    this.#answer = answer;
  }

  processMessage(message: BaseMessage): void {
    const to = this.#handlers;
    switch (message.message_type) {
      case 'step_start':
        to.showStepStart?.(message);
        break;
      case 'step_progress':
        to.updateProgress?.(message as StepProgressMessage);
        break;
      case 'step_complete':
      case 'node_complete':
        to.showStepComplete?.(message);
        break;
      case 'content_streaming': {
        const piece = message as ContentStreamingMessage;
        to.updateContentDisplay?.(keyOf(message), this.#texts.add(piece), piece);
        break;
      }
      case 'thinking':
      case 'reasoning':
        to.showThinking?.(message);
        break;
      case 'tool_call':
        to.showToolCall?.(message as ToolCallMessage);
        break;
      case 'tool_result':
        to.showToolResult?.(message);
        break;
      case 'interrupt_request':
        this.#ask(message as InterruptRequestMessage);
        break;
      case 'interrupt_resolved':
        to.closeInterrupt?.(String(message.interrupt_id), message);
        break;
      case 'final_result':
        to.showFinalResult?.(message);
        break;
      case 'error':
        to.showError?.(message);
        break;
      default:
        to.showOther?.(message);
    }
  }

  #ask(message: InterruptRequestMessage): void {
    const respond: Respond = (answer) =>
      this.#answer(
        message.interrupt_id,
        typeof answer === 'boolean' ? { approved: answer } : answer,
      );
    this.#handlers.handleInterrupt?.(message, respond);
  }
}

export interface AppState {
  readonly currentStep: string;
  /** 0 to 100, of the current step. */
  readonly progress: number;
  /** Agents that have begun a step or written, and have not completed their step. */
  readonly activeAgents: ReadonlySet<string>;
  /** The texts so far, by `node_agent` or `node_main`. */
  readonly contentSections: ReadonlyMap<string, string>;
  /** The latest 50. */
  readonly toolCalls: readonly ToolCallMessage[];
  /** The questions that wait for an answer, by id. */
  readonly pendingInterrupts: ReadonlyMap<string, InterruptRequestMessage>;
  /** The latest 20. */
  readonly errors: readonly BaseMessage[];
  /** Whether the run has ended, well or not. */
  readonly isComplete: boolean;
}

const MAX_TOOL_CALLS = 50;
const MAX_ERRORS = 20;

/** Adds messages up to a state. Each state is a new object, so that pages notice changes. */
export class StateManager {
  readonly #texts = new Texts();
  #state: AppState = {
    currentStep: '',
    progress: 0,
    activeAgents: new Set(),
    contentSections: new Map(),
    toolCalls: [],
    pendingInterrupts: new Map(),
    errors: [],
    isComplete: false,
  };

  get state(): AppState {
    return this.#state;
  }

  /** Add a message, and return the new state. */
  updateFromMessage(message: BaseMessage): AppState {
    const before = this.#state;
    this.#state = { ...before, ...this.#agents(message), ...this.#changes(message) };
    return this.#state;
  }

  #agents({ message_type: type, agent }: BaseMessage): Partial<AppState> {
    if (!agent) return {};
    const activeAgents = new Set(this.#state.activeAgents);
    if (type === 'step_complete' || type === 'node_complete') activeAgents.delete(agent);
    else if (type === 'step_start' || TEXT_TYPES.has(type)) activeAgents.add(agent);
    return { activeAgents };
  }

  #changes(message: BaseMessage): Partial<AppState> {
    const state = this.#state;
    switch (message.message_type) {
      case 'step_start':
        return { currentStep: message.content, progress: 0 };
      case 'step_progress': {
        const { progress } = message;
        return typeof progress === 'number' ? { progress } : {};
      }
      case 'content_streaming': {
        const text = this.#texts.add(message as ContentStreamingMessage);
        return { contentSections: new Map(state.contentSections).set(keyOf(message), text) };
      }
      case 'tool_call':
        return {
          toolCalls: [...state.toolCalls, message as ToolCallMessage].slice(-MAX_TOOL_CALLS),
        };
      case 'interrupt_request':
      case 'interrupt_resolved':
        return { pendingInterrupts: this.#interrupts(message) };
      case 'error':
        return { errors: [...state.errors, message].slice(-MAX_ERRORS), ...ending(message) };
      case 'final_result':
      case 'done':
        return ending(message);
      default:
        return {};
    }
  }

  #interrupts(message: BaseMessage): ReadonlyMap<string, InterruptRequestMessage> {
    const pending = new Map(this.#state.pendingInterrupts);
    const id = String(message.interrupt_id);
    if (message.message_type === 'interrupt_resolved') pending.delete(id);
    else pending.set(id, message as InterruptRequestMessage);
    return pending;
  }
}

/** The last message of a run says so; nothing that is asked then waits any more. */
const ending = (message: BaseMessage): Partial<AppState> =>
  message.is_final === true
    ? { isComplete: true, pendingInterrupts: new Map(), activeAgents: new Set() }
    : {};

/** Whether this is a flat message. */
export const isMessage = (value: unknown): value is BaseMessage =>
  isRecord(value) && typeof value.message_type === 'string';
