// Made by web/generate.py from the Python definitions; do not edit.

/** The statuses of a run. */
export const STATUSES = [
  'queued',
  'running',
  'waiting',
  'done',
  'failed',
  'cancelled',
] as const;

export type RunStatus = (typeof STATUSES)[number];

/** The codes of problems that are worth no second try. */
export const CODES = [
  'internal',
  'backend_error',
  'bad_request',
  'peer_error',
  'body_too_large',
  'conflict',
  'event_too_large',
  'file_too_large',
  'forbidden',
  'gone',
  'head_too_large',
  'key_reused',
  'not_found',
  'out_of_sequence',
  'range_not_satisfiable',
  'run_closed',
  'run_too_large',
  'stale',
  'store_read_only',
  'store_unusable',
  'unauthorized',
  'invalid_value',
  'invalid_event',
  'invalid_inputs',
  'missing_secret',
] as const;

/** The codes of problems that may pass. */
export const PASSING_CODES = [
  'overloaded',
  'server_unavailable',
  'request_too_slow',
  'store_unavailable',
] as const;

export type ErrorCode = (typeof CODES)[number] | (typeof PASSING_CODES)[number];

/**
 * The fields of `data`, by the type of the event. A function may write other data under a known
 * type, so no field is sure.
 */
export interface EventData {
  started: {
    readonly function?: string;
    readonly labels?: Readonly<Record<string, unknown>>;
    /** the number of a later attempt */
    readonly attempt?: number;
    /** whether the attempt continues after a crash of the one before */
    readonly recovered?: boolean;
  };
  done: {
    /** what the function returned */
    readonly result?: unknown;
    /** the result in short */
    readonly summary?: unknown;
  };
  failed: {
    /** what a person reads */
    readonly message?: string;
    /** why, for programs */
    readonly code?: string;
    /** whether the same run can succeed later */
    readonly retryable?: boolean;
  };
  cancelled: {
    readonly reason?: string;
  };
  step_start: {
    /** what a person reads */
    readonly message?: string;
    /** which of the open steps of this node and agent */
    readonly step_id?: string;
  };
  step_progress: {
    readonly percent?: number;
    /** what a person reads */
    readonly message?: string;
    /** which of the open steps of this node and agent */
    readonly step_id?: string;
  };
  step_complete: {
    /** what a person reads */
    readonly message?: string;
    /** which of the open steps of this node and agent */
    readonly step_id?: string;
  };
  node_complete: {
    /** what a person reads */
    readonly message?: string;
    /** what the node made */
    readonly aggregated?: unknown;
    /** which of the open steps of this node and agent */
    readonly step_id?: string;
  };
  progress: {
    readonly current?: number;
    readonly total?: number;
    readonly percent?: number;
    /** what a person reads */
    readonly message?: string;
    /** which of several bars moves */
    readonly task?: string;
  };
  log: {
    /** debug, info, warning, error or critical */
    readonly level?: string;
    /** what a person reads */
    readonly message?: string;
    /** the logger's name */
    readonly logger?: string;
  };
  content: {
    /** the text that follows the earlier pieces */
    readonly text?: string;
    /** which text it belongs to */
    readonly message_id?: string;
    /** which piece of its text, from 0 */
    readonly index?: number;
    /** which try it is part of; 1 if absent. A higher one replaces */
    readonly attempt?: number;
  };
  content_complete: {
    /** all of the text */
    readonly message?: string;
    /** which text it belongs to */
    readonly message_id?: string;
    /** which try it is part of; 1 if absent. A higher one replaces */
    readonly attempt?: number;
  };
  thinking: {
    readonly text?: string;
    /** which text it belongs to */
    readonly message_id?: string;
    /** which piece of its text, from 0 */
    readonly index?: number;
    /** which try it is part of; 1 if absent. A higher one replaces */
    readonly attempt?: number;
  };
  reasoning: {
    readonly text?: string;
    /** which text it belongs to */
    readonly message_id?: string;
    /** which piece of its text, from 0 */
    readonly index?: number;
    /** which try it is part of; 1 if absent. A higher one replaces */
    readonly attempt?: number;
  };
  tool_call: {
    /** the id that a call and its result share */
    readonly call_id?: string;
    readonly tool?: string;
    readonly args?: unknown;
    /** which try it is part of; 1 if absent. A higher one replaces */
    readonly attempt?: number;
  };
  tool_call_delta: {
    /** the id that a call and its result share */
    readonly call_id?: string;
    readonly tool?: string;
    /** what follows of the arguments, as JSON text */
    readonly text?: string;
    /** which piece of its text, from 0 */
    readonly index?: number;
    /** which try it is part of; 1 if absent. A higher one replaces */
    readonly attempt?: number;
  };
  tool_result: {
    /** the id that a call and its result share */
    readonly call_id?: string;
    readonly tool?: string;
    readonly result?: unknown;
    readonly ok?: boolean;
    /** length of the result, in characters */
    readonly length?: number;
    /** which try it is part of; 1 if absent. A higher one replaces */
    readonly attempt?: number;
  };
  usage: {
    readonly model?: string;
    /** including tokens read from a cache */
    readonly input_tokens?: number;
    /** including tokens of reasoning */
    readonly output_tokens?: number;
    /** of the input */
    readonly cached_tokens?: number;
    /** of the output */
    readonly reasoning_tokens?: number;
    /** of this call */
    readonly cost?: number;
    /** of the cost */
    readonly currency?: string;
  };
  interrupt_request: {
    /** the question */
    readonly interrupt_id?: string;
    /** what will be done if the answer is yes */
    readonly action?: string;
    readonly args?: unknown;
    /** what a person reads */
    readonly message?: string;
    /** which answers are allowed */
    readonly config?: unknown;
    /** Unix seconds */
    readonly expires_at?: number;
  };
  interrupt_waiting: {
    /** the question */
    readonly interrupt_id?: string;
    /** what a person reads */
    readonly message?: string;
  };
  interrupt_response: {
    /** the question */
    readonly interrupt_id?: string;
    readonly approved?: boolean;
    readonly answer?: unknown;
    /** the person who answered, as given in the answer */
    readonly by?: string;
  };
  interrupt_resolved: {
    /** the question */
    readonly interrupt_id?: string;
    /** answered or expired */
    readonly outcome?: string;
    /** what a person reads */
    readonly message?: string;
  };
  message: {
    /** the same if the message is sent again */
    readonly message_id?: string;
    /** what was sent */
    readonly data?: unknown;
    /** who sent it, as they said */
    readonly from?: string;
  };
  message_read: {
    readonly message_ids?: readonly string[];
  };
  error: {
    /** what a person reads */
    readonly message?: string;
    readonly code?: string;
  };
  result: {
    /** the result so far */
    readonly value?: unknown;
  };
  files: {
    readonly files?: readonly unknown[];
  };
}

/**
 * A question that was decided, and how. `seq` is the question's. Times are Unix seconds.
 *
 * `answer` is the kind of answer: `accept`, `reject`, `edit` or `response`; "" if nobody answered.
 * `args` are what it came with, `by` is who gave it. `outcome` says how the question was closed:
 * `answered` or `expired`; "" while the run has not acted on the answer.
 */
export interface Answered {
  readonly seq: number;
  readonly asked_at: number;
  readonly answered_at: number;
  readonly interrupt_id?: string;
  readonly node?: string;
  readonly agent?: string;
  readonly action?: string;
  readonly message?: string;
  readonly answer?: string;
  readonly approved?: boolean;
  readonly args?: unknown;
  readonly args_dropped?: number;
  readonly by?: string;
  readonly outcome?: string;
}

/**
 * A step that is complete. Times are Unix seconds, `duration` is seconds.
 *
 * `seq` is that of the event which completed the step. `since` is None if nothing was said of the
 * step before. `duration` is what that event says, or else the time since the step began; None if
 * neither is known.
 */
export interface CompletedStep {
  readonly seq: number;
  readonly ended_at: number;
  readonly node?: string;
  readonly agent?: string;
  readonly message?: string;
  readonly note?: string;
  readonly since?: number;
  readonly duration?: number;
  readonly step_id?: string;
}

/**
 * How much a snapshot left out, by kind; all zero if it holds everything.
 *
 * `chars` counts characters cut from messages, names and values and lost from texts; `types`
 * counts events whose type is not counted by name; `interrupts` counts questions that were still
 * open.
 */
export interface Dropped {
  readonly chars: number;
  readonly steps: number;
  readonly texts: number;
  readonly tools: number;
  readonly interrupts: number;
  readonly errors: number;
  readonly logs: number;
  readonly files: number;
  readonly labels: number;
  readonly types: number;
  readonly usage: number;
  readonly completed_steps: number;
  readonly answered: number;
  readonly messages: number;
  readonly bars: number;
}

/** An error that the run reported without ending. */
export interface ErrorNote {
  readonly seq: number;
  readonly time: number;
  readonly message?: string;
  readonly code?: string;
  readonly node?: string;
  readonly agent?: string;
}

/** Why a run failed. */
export interface Failure {
  readonly message?: string;
  readonly code?: string;
  readonly retryable?: boolean;
}

/**
 * A question that the run waits for; `is_answered` is True once an answer is stored but not yet
 * acted on.
 */
export interface Interrupt {
  readonly seq: number;
  readonly asked_at: number;
  readonly interrupt_id?: string;
  readonly node?: string;
  readonly agent?: string;
  readonly action?: string;
  readonly message?: string;
  readonly args?: unknown;
  readonly args_dropped?: number;
  readonly config?: unknown;
  readonly config_dropped?: number;
  readonly expires_at?: number | string;
  readonly is_answered?: boolean;
}

/** A line of the run's log. */
export interface LogLine {
  readonly seq: number;
  readonly time: number;
  readonly level?: string;
  readonly message?: string;
  readonly logger?: string;
  readonly node?: string;
  readonly agent?: string;
}

/**
 * How far the run is; `percent` is 0 to 100, computed from the other fields if the event has no
 * percentage.
 *
 * `task` names one of several bars, with `node` and `agent`. `seq` is that of the event.
 */
export interface Progress {
  readonly current?: number;
  readonly total?: number;
  readonly percent?: number;
  readonly message?: string;
  readonly task?: string;
  readonly node?: string;
  readonly agent?: string;
  readonly seq?: number;
}

/**
 * A step begun and not completed. `since` is Unix seconds.
 *
 * There is one for each node, agent and `step_id`.
 *
 * `message` is what the step does. `note` is how it goes, from the last `step_progress`.
 */
export interface Step {
  readonly since: number;
  readonly node?: string;
  readonly agent?: string;
  readonly message?: string;
  readonly note?: string;
  readonly percent?: number;
  readonly step_id?: string;
}

/**
 * A text streamed in pieces, by one agent of one node under one message id.
 *
 * `kind` is the type of its events. `text` is the tail, before which `dropped` characters are
 * gone. A text without message id ends with a `content_complete`; the next piece begins another.
 * `attempt` is the try whose text this is: the first piece of a higher one begins the text again.
 */
export interface Text {
  readonly kind: string;
  readonly first_seq: number;
  readonly last_seq: number;
  readonly node?: string;
  readonly agent?: string;
  readonly message_id?: string;
  readonly text?: string;
  readonly dropped?: number;
  readonly is_complete?: boolean;
  readonly attempt?: number;
}

/**
 * One call of a tool; it runs as long as `ended_at` is None. Times are Unix seconds.
 *
 * Until `called_at` is set a model is still writing the arguments: `args_text` is what there is
 * of their JSON. `attempt` is the try that the call is part of.
 */
export interface Tool {
  readonly seq: number;
  readonly call_id?: string;
  readonly tool?: string;
  readonly node?: string;
  readonly agent?: string;
  readonly args?: unknown;
  readonly args_dropped?: number;
  readonly called_at?: number;
  readonly result?: unknown;
  readonly result_dropped?: number;
  readonly ok?: boolean;
  readonly ended_at?: number;
  readonly args_text?: string;
  readonly attempt?: number;
}

/** A message sent into the run, which the run has not read yet. `sender` is `from` in JSON. */
export interface Unread {
  readonly seq: number;
  readonly time: number;
  readonly message_id?: string;
  readonly from?: string;
  readonly data?: unknown;
  readonly data_dropped?: number;
}

/**
 * What the calls of a model used, added up for each model, agent and currency.
 *
 * `input_tokens` includes tokens read from a cache (`cached_tokens`); `output_tokens` includes
 * tokens of reasoning. `cost` sums the calls with a cost; `unpriced` counts the others.
 */
export interface Usage {
  readonly model?: string;
  readonly agent?: string;
  readonly currency?: string;
  readonly calls?: number;
  readonly input_tokens?: number;
  readonly output_tokens?: number;
  readonly cached_tokens?: number;
  readonly reasoning_tokens?: number;
  readonly cost?: number;
  readonly unpriced?: number;
}

/**
 * The state of a run after the event `seq`; `Snapshot()` is a run before its first event.
 *
 * `missed` counts events before `seq` that were never seen, because the log was trimmed or the
 * events were filtered. `attempt` is the number of the latest attempt. If that attempt continues
 * after a crash, `recovered_seq` is the `seq` of its `started`; texts, calls and steps from before
 * do not go on after it. `interrupts_lapsed` counts those still open when the run ended. Times
 * are Unix seconds. `progress` is the latest progress; `bars` has the latest of each named bar.
 * Lists are in order of appearance, except `steps`: the current step, which had the latest event,
 * comes last.
 */
export interface Snapshot {
  readonly seq: number;
  readonly missed: number;
  readonly status: RunStatus;
  readonly function: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly started_at: number | null;
  readonly attempt: number;
  readonly recovered_seq: number;
  readonly ended_at: number | null;
  readonly updated_at: number | null;
  readonly steps: readonly Step[];
  readonly progress: Progress | null;
  readonly texts: readonly Text[];
  readonly tools: readonly Tool[];
  readonly usage: readonly Usage[];
  readonly messages: readonly Unread[];
  readonly messages_read: number;
  readonly interrupts: readonly Interrupt[];
  readonly interrupts_resolved: number;
  readonly interrupts_lapsed: number;
  readonly errors: readonly ErrorNote[];
  readonly logs: readonly LogLine[];
  readonly files: readonly unknown[];
  readonly result: unknown;
  readonly result_dropped: number;
  readonly summary: unknown;
  readonly summary_dropped: number;
  readonly failure: Failure | null;
  readonly cancel_reason: string;
  readonly counts: Readonly<Record<string, number>>;
  readonly completed_steps: readonly CompletedStep[];
  readonly answered: readonly Answered[];
  readonly bars: readonly Progress[];
  readonly dropped: Dropped;
}

/**
 * A run as lists show it. Times are Unix seconds; `ended_at` is None before the end.
 *
 * `events` is the number of its events, `position` the place of the last one.
 */
export interface RunInfo {
  readonly run_id: string;
  readonly function: string;
  readonly status: RunStatus;
  readonly labels: Readonly<Record<string, string>>;
  readonly created_at: number;
  readonly ended_at: number | null;
  readonly events: number;
  readonly position: string;
}

/**
 * A run with its present state, the sum of all its events.
 *
 * `queue_position` counts from 1 and is 0 if the run does not wait for room. `inputs` is what the
 * server keeps of the inputs, or None.
 */
export interface RunState extends RunInfo {
  readonly queue_position: number;
  readonly state: Snapshot;
  readonly inputs: Readonly<Record<string, unknown>> | null;
  readonly traceback?: string;
}

/** The answer that counts for a question, and whether it was given before. */
export interface Decision {
  readonly type: string;
  readonly args: unknown;
  readonly by: string;
  readonly approved: boolean;
  readonly repeated: boolean;
}

/**
 * A function that may be invoked; `inputs` is a JSON Schema.
 *
 * `events` are the types of its events, if it names them; `files` are its groups of files, and
 * `secrets` what it needs to know. `dialect` is how it streams by default.
 */
export interface FunctionInfo {
  readonly name: string;
  readonly description: string;
  readonly streaming: boolean;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly events: unknown;
  readonly files: readonly Readonly<Record<string, unknown>>[];
  readonly secrets: readonly unknown[];
  readonly dialect: string;
}

/** A file that a run made: `size` is bytes, `type` a media type, `key` its group. */
export interface FileInfo {
  readonly path: string;
  readonly name: string;
  readonly size: number;
  readonly type: string;
  readonly sha256: string;
  readonly key: string;
}
