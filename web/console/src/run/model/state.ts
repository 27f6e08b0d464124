/** The parts of a run's state that the page shows. Source: docs/protocol.md. */
export interface RunState {
  readonly seq: number;
  readonly status: string;
  readonly function: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly started_at: number | null;
  readonly ended_at: number | null;
  readonly attempt: number;
  readonly missed: number;
  readonly progress: Bar | null;
  readonly bars: readonly Bar[];
  readonly steps: readonly OpenStep[];
  readonly usage: readonly Used[];
  readonly messages: readonly { readonly message_id?: string }[];
  readonly interrupts: readonly Question[];
  readonly files: readonly unknown[];
  readonly result: unknown;
  readonly result_dropped: number;
  readonly summary: unknown;
  readonly summary_dropped: number;
  readonly failure: {
    readonly message?: string;
    readonly code?: string;
    readonly retryable?: boolean;
  } | null;
  readonly cancel_reason: string;
  readonly counts: Readonly<Record<string, number>>;
  readonly dropped: Readonly<Record<string, number>>;
}

export interface Bar {
  readonly current?: number | null;
  readonly total?: number | null;
  readonly percent?: number | null;
  readonly message?: string;
  readonly task?: string;
  readonly node?: string;
  readonly agent?: string;
}

export interface OpenStep {
  readonly since: number;
  readonly node?: string;
  readonly agent?: string;
  readonly message?: string;
  readonly note?: string;
  readonly percent?: number | null;
  readonly step_id?: string;
}

export interface Used {
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

export interface Question {
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
  readonly expires_at?: number | string | null;
  readonly is_answered?: boolean;
}

/** A run as the server describes it, and its state at a position. */
export interface RunInfo {
  readonly run_id: string;
  readonly function: string;
  readonly status: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly created_at: number;
  readonly ended_at: number | null;
  readonly position: string;
  readonly state: RunState;
  readonly queue_position?: number;
  readonly traceback?: string | null;
  readonly inputs?: {
    readonly values: Readonly<Record<string, unknown>>;
    readonly left_out: Readonly<Record<string, string>>;
    readonly files: Readonly<Record<string, number>>;
  } | null;
}

export const epochOf = (position: string): string => position.slice(0, position.indexOf('-'));
export const seqOf = (position: string): number =>
  Number(position.slice(position.indexOf('-') + 1)) || 0;
export const positionOf = (epoch: string, seq: number): string => `${epoch}-${seq}`;
