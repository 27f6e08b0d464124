/** What the questions and the inbox of a remote run need of it. */
export interface Line {
  /** Aborted when the run shall end, or has ended. */
  readonly signal: AbortSignal;
  /** The time of the server, in Unix seconds. */
  now(): number;
  emit(type: string, data: unknown, place?: Readonly<Record<string, string>>): void;
  drain(): Promise<void>;
  flush(): Promise<void>;
  /** Send a request below the path of the run, again until the server has answered. */
  ask<T>(method: string, path: string): Promise<T>;
}
