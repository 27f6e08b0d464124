/** The form of an event on the wire. Source: docs/protocol.md. */
export interface RunEvent {
  readonly seq: number;
  /** Unix time in seconds. */
  readonly time: number;
  readonly type: string;
  readonly data: unknown;
  readonly node?: string;
  readonly agent?: string;
  readonly path?: readonly string[];
  /** Seconds. */
  readonly duration?: number;
}
