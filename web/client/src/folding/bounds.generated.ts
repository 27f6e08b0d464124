// Made by web/generate.py from the Python definitions; do not edit.
export const MAX_ALL_TEXT_CHARS = 262144;
export const MAX_ANSWERED = 20;
export const MAX_BARS = 32;
export const MAX_COMPLETED_STEPS = 64;
export const MAX_COST = 1e+300;
export const MAX_ERRORS = 20;
export const MAX_FILES = 200;
export const MAX_FILE_CHARS = 1024;
export const MAX_INBOX = 64;
export const MAX_INBOX_BYTES = 16384;
export const MAX_INTERRUPTS = 20;
export const MAX_LABELS = 32;
export const MAX_LOGS = 50;
export const MAX_MESSAGES = 128;
export const MAX_MESSAGE_CHARS = 2000;
export const MAX_NAME_CHARS = 256;
export const MAX_QUESTION_CHARS = 32768;
export const MAX_RESULT_CHARS = 65536;
export const MAX_STEPS = 64;
export const MAX_TEXTS = 64;
export const MAX_TEXT_CHARS = 65536;
export const MAX_TOOLS = 50;
export const MAX_TYPES = 64;
export const MAX_USAGE = 64;
export const MAX_VALUE_CHARS = 8192;
export const MAX_DEPTH = 100;
/** The types that end a run. */
export const TERMINAL = [
  'cancelled',
  'done',
  'failed',
] as const;
/** Types that continue a text. */
export const DELTA_TYPES = [
  'content',
  'reasoning',
  'thinking',
  'tool_call_delta',
] as const;
/** The fields of the entries of each list. */
export const ENTRIES = {
  "steps": [
    "since",
    "node",
    "agent",
    "message",
    "note",
    "percent",
    "step_id"
  ],
  "texts": [
    "kind",
    "first_seq",
    "last_seq",
    "node",
    "agent",
    "message_id",
    "text",
    "dropped",
    "is_complete",
    "attempt"
  ],
  "tools": [
    "seq",
    "call_id",
    "tool",
    "node",
    "agent",
    "args",
    "args_dropped",
    "called_at",
    "result",
    "result_dropped",
    "ok",
    "ended_at",
    "args_text",
    "attempt"
  ],
  "usage": [
    "model",
    "agent",
    "currency",
    "calls",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost",
    "unpriced"
  ],
  "messages": [
    "seq",
    "time",
    "message_id",
    "from",
    "data",
    "data_dropped"
  ],
  "interrupts": [
    "seq",
    "asked_at",
    "interrupt_id",
    "node",
    "agent",
    "action",
    "message",
    "args",
    "args_dropped",
    "config",
    "config_dropped",
    "expires_at",
    "is_answered"
  ],
  "errors": [
    "seq",
    "time",
    "message",
    "code",
    "node",
    "agent"
  ],
  "logs": [
    "seq",
    "time",
    "level",
    "message",
    "logger",
    "node",
    "agent"
  ],
  "completed_steps": [
    "seq",
    "ended_at",
    "node",
    "agent",
    "message",
    "note",
    "since",
    "duration",
    "step_id"
  ],
  "answered": [
    "seq",
    "asked_at",
    "answered_at",
    "interrupt_id",
    "node",
    "agent",
    "action",
    "message",
    "answer",
    "approved",
    "args",
    "args_dropped",
    "by",
    "outcome"
  ],
  "bars": [
    "current",
    "total",
    "percent",
    "message",
    "task",
    "node",
    "agent",
    "seq"
  ]
};
/** A run before its first event. */
export const EMPTY = {
  "seq": 0,
  "missed": 0,
  "status": "queued",
  "function": "",
  "labels": {},
  "started_at": null,
  "attempt": 1,
  "recovered_seq": 0,
  "ended_at": null,
  "updated_at": null,
  "steps": [],
  "progress": null,
  "texts": [],
  "tools": [],
  "usage": [],
  "messages": [],
  "messages_read": 0,
  "interrupts": [],
  "interrupts_resolved": 0,
  "interrupts_lapsed": 0,
  "errors": [],
  "logs": [],
  "files": [],
  "result": null,
  "result_dropped": 0,
  "summary": null,
  "summary_dropped": 0,
  "failure": null,
  "cancel_reason": "",
  "counts": {},
  "completed_steps": [],
  "answered": [],
  "bars": [],
  "dropped": {
    "chars": 0,
    "steps": 0,
    "texts": 0,
    "tools": 0,
    "interrupts": 0,
    "errors": 0,
    "logs": 0,
    "files": 0,
    "labels": 0,
    "types": 0,
    "usage": 0,
    "completed_steps": 0,
    "answered": 0,
    "messages": 0,
    "bars": 0
  }
};
