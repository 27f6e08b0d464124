import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const PROGRAM = join(ROOT, '.venv', 'bin', 'runcast');
const START_MS = 30_000;

/** A real server in a process of its own, with the functions of `functions.py`. */
export class Server {
  readonly folder = mkdtempSync(join(tmpdir(), 'runcast-client-'));
  readonly settings: Readonly<Record<string, string>>;
  port = 0;
  #process: ChildProcess | null = null;

  constructor(settings: Readonly<Record<string, string>> = {}) {
    this.settings = settings;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Start it; again on the same port and with the same store. */
  async start(): Promise<this> {
    if (!existsSync(PROGRAM)) throw new Error('run `python3 dev.py setup` first');
    const env: NodeJS.ProcessEnv = { ...process.env };
    for (const [name, value] of Object.entries(this.settings)) {
      env[`RUNCAST_${name.toUpperCase()}`] = value;
    }
    const store = `sqlite:///${join(this.folder, 'runs.db')}`;
    const functions = fileURLToPath(new URL('functions.py', import.meta.url));
    const words = ['serve', functions, '--port', String(this.port), '--store', store];
    const child = spawn(PROGRAM, words, {
      cwd: this.folder,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#process = child;
    this.port = await new Promise<number>((resolve, reject) => {
      let said = '';
      const timer = setTimeout(() => reject(new Error(`it does not start: ${said}`)), START_MS);
      const listen = (text: Buffer) => {
        said += text;
        const found = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(said);
        if (!found) return;
        clearTimeout(timer);
        resolve(Number(found[1]));
      };
      child.stdout?.on('data', listen);
      child.stderr?.on('data', listen);
      child.once('exit', (code) => {
        clearTimeout(timer);
        reject(new Error(`it ended with ${code}: ${said}`));
      });
    });
    return this;
  }

  /** Kill it, as a crash does, and wait until it is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }

  async end(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Wait for something that must happen soon; fail instead of waiting for ever. */
export async function soon<T>(promise: Promise<T>, what = 'it', seconds = 20): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`${what} did not happen in ${seconds} s`)),
      seconds * 1000,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** All that a watch yields, up to its end or to the first that is wanted. */
export async function taken<T>(
  from: AsyncIterable<T>,
  isLast: (value: T) => boolean = () => false,
): Promise<T[]> {
  const found: T[] = [];
  const read = async () => {
    for await (const value of from) {
      found.push(value);
      if (isLast(value)) break;
    }
    return found;
  };
  return soon(read(), 'the end of a watch');
}
