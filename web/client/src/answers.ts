import type { FunctionInfo, RunInfo } from './protocol.generated.js';

/** A group of files that a function takes or makes. */
export type FileGroup = {
  readonly key: string;
  readonly kind: 'input' | 'output';
  readonly description: string;
  readonly required: boolean;
  readonly least: number;
  readonly most: number | null;
};

/** A secret that a function needs. */
export interface SecretInfo {
  readonly name: string;
  readonly description: string;
  readonly required: boolean;
}

/** A function that may be invoked. Source: docs/protocol.md. */
export interface FunctionDescription extends Omit<FunctionInfo, 'events' | 'files' | 'secrets'> {
  /** JSON Schemas of the data of its own event types, by type. */
  readonly events: Readonly<Record<string, unknown>>;
  readonly files: readonly FileGroup[];
  readonly secrets: readonly SecretInfo[];
}

/** A change in a list of runs; one of the three is set. Source: docs/protocol.md. */
export type RunChange =
  | { readonly run: RunInfo; readonly deleted?: never; readonly gap?: never }
  | { readonly deleted: string; readonly run?: never; readonly gap?: never }
  /** Changes may be missing; the list follows from its beginning, and replaces what there is. */
  | { readonly gap: { readonly reason: string }; readonly run?: never; readonly deleted?: never };

/** A person's answer to a question. Source: docs/protocol.md. */
export type Answer =
  | { readonly type: 'accept' | 'reject'; readonly args?: unknown; readonly by?: string }
  | { readonly type: 'edit' | 'response'; readonly args: unknown; readonly by?: string }
  | { readonly approved: boolean; readonly content?: unknown; readonly by?: string };

/** A file that was uploaded, as `invoke` takes it. Source: docs/protocol.md. */
export interface Upload {
  readonly upload_id: string;
  readonly name: string;
  readonly size: number;
  readonly sha256: string;
  readonly type: string;
  readonly expires_at: number;
}

/** A file for a run: an upload, or a path or an address that the server may read. */
export type FileSource =
  | string
  | { readonly upload_id: string; readonly name?: string }
  | { readonly path: string; readonly name?: string }
  | { readonly url: string; readonly name?: string };

/** How a run is delivered to a chat. */
export interface DeliveryWays {
  /** What is shown beside questions and the end; `notice`: a few words for these two alone. */
  readonly shows?: 'answer' | 'tools' | 'steps' | 'notice';
  /** Whether the end changes the last message or is a new one. */
  readonly finish?: 'auto' | 'in_place' | 'fresh';
}

/** A delivery of a run to a chat. Times are Unix seconds. */
export interface DeliveryInfo {
  readonly delivery_id: string;
  readonly run_id: string;
  readonly target: string;
  readonly status: 'delivering' | 'delivered' | 'uncertain' | 'failed';
  readonly begun_at: number;
  readonly ended_at?: number | null;
  /** The messages that show the text, in order, once it is delivered. */
  readonly message_ids?: readonly string[];
  /** Why it is not `delivered`. */
  readonly reason?: string;
  /** Messages that may remain although others have replaced them. */
  readonly strays?: number;
  /**
   * Whether a message of the delivery is in the chat, or may be. If it is false once the delivery
   * has ended, the same delivery can be begun again.
   */
  readonly may_be_shown?: boolean;
}
