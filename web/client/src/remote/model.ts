import type { ServerOptions } from '../transport.js';

/** How to begin a run from elsewhere. */
export interface RemoteRunOptions extends ServerOptions {
  /** Lists show it as the function of the run. */
  readonly name: string;
  /** By default the client makes one. */
  readonly runId?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** How long the server keeps the run after its end, in seconds. */
  readonly ttlS?: number;
  /** How long the run stays open if the server hears nothing from here, in seconds. */
  readonly leaseS?: number;
  /** Begin an existing run again. */
  readonly replace?: boolean;
  /** The most bytes of events that wait for the server: 4 MiB. */
  readonly pendingBytes?: number;
  /** How long the end of a run waits for the server, in seconds: 30. */
  readonly endWaitS?: number;
}

/** Where in the run an event belongs. */
export interface Place {
  readonly node?: string;
  readonly agent?: string;
  readonly path?: readonly string[];
  /** Seconds. */
  readonly duration?: number;
}

/** The answer to the beginning of a run. */
export interface Begun {
  readonly run_id: string;
  readonly position: string;
  readonly lease_id: string;
  readonly lease_s: number;
  readonly max_event_bytes: number;
  readonly max_body_bytes: number;
  readonly time: number;
}

/** The answer to a batch and to a heartbeat. */
export interface Accepted {
  readonly position: string;
  readonly cancel: string | null;
}

/** A file that the server keeps. */
export interface StoredFile {
  readonly path: string;
  readonly name: string;
  readonly size: number;
  readonly sha256: string;
  readonly type: string;
  /** Where the file can be downloaded once the run has ended, below the path of the server. */
  readonly url: string;
}
