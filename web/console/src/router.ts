/** Addresses of views, behind the `#`: paths like /runs/ID belong to the server's API. */

import { computed, signal } from '@preact/signals';

export type Route =
  | { readonly view: 'runs'; readonly filters: URLSearchParams }
  | { readonly view: 'functions' }
  | { readonly view: 'function'; readonly name: string; readonly from: string }
  | { readonly view: 'run'; readonly runId: string }
  | { readonly view: 'thread'; readonly thread: string }
  /** A run that somebody shares; `token` is the secret of the link. */
  | { readonly view: 'shared'; readonly runId: string; readonly token: string }
  | { readonly view: 'missing' };

/** A run's id, and a function's name, as the server accepts them (R-13.8). */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$/;

const hash = signal(globalThis.location?.hash ?? '');
globalThis.addEventListener?.('hashchange', () => {
  hash.value = location.hash;
});

export const route = computed(() => parseRoute(hash.value));

/** Return the view that an address names. Nothing but a well-formed name reaches the server. */
export function parseRoute(address: string): Route {
  const [path = '', query = ''] = split(address.replace(/^#/, ''), '?');
  const filters = new URLSearchParams(query);
  const [, kind = '', ...rest] = path.split('/');
  const name = decoded(rest.join('/'));
  if (path === '' || path === '/' || path === '/runs') return { view: 'runs', filters };
  if (path === '/functions') return { view: 'functions' };
  if (kind === 'threads' && name) return { view: 'thread', thread: name };
  if (kind === 's') {
    const [runId = '', token = ''] = (name ?? '').split('/');
    return NAME.test(runId) && token ? { view: 'shared', runId, token } : { view: 'missing' };
  }
  if (name === null || !NAME.test(name)) return { view: 'missing' };
  if (kind === 'runs') return { view: 'run', runId: name };
  if (kind !== 'functions') return { view: 'missing' };
  const from = filters.get('from') ?? '';
  return { view: 'function', name, from: NAME.test(from) ? from : '' };
}

/** Addresses, for links. */
export const links = {
  runs: (filters?: URLSearchParams) => (filters?.size ? `#/?${filters}` : '#/'),
  functions: '#/functions',
  /** The form of a function; `from` fills it with the inputs of a run. */
  function: (name: string, from = '') =>
    `#/functions/${encode(name)}${from && `?from=${encode(from)}`}`,
  run: (runId: string) => `#/runs/${encode(runId)}`,
  thread: (thread: string) => `#/threads/${encode(thread)}`,
} as const;

/** Show another view; with `replace`, going back skips the present one. */
export function go(address: string, { replace = false } = {}): void {
  if (replace) history.replaceState(null, '', address);
  else location.hash = address;
  hash.value = address;
}

function encode(text: string): string {
  return encodeURIComponent(text).replaceAll('%3A', ':');
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null; // not UTF-8
  }
}

function split(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
