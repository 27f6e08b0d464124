/** Which runs a list shows, as its address says it. */

import type { RunInfo, Selection } from '@runcast/client';
import { STATUSES, type Status } from '../ui';

export const TIMES = ['hour', 'day', 'week'] as const;
export type Time = (typeof TIMES)[number];

export interface Filters {
  readonly status: Status | null;
  readonly function: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly since: Time | null;
}

export const NO_FILTERS: Filters = { status: null, function: '', labels: {}, since: null };
const SECONDS: Readonly<Record<Time, number>> = { hour: 3600, day: 86400, week: 7 * 86400 };

/** Return the filters of an address; what they cannot have is left out. */
export function parseFilters(query: URLSearchParams): Filters {
  const labels = query.getAll('label').map(parseLabel);
  return {
    status: STATUSES.find((each) => each === query.get('status')) ?? null,
    function: query.get('function') ?? '',
    labels: Object.fromEntries(labels.filter((each) => each !== null)),
    since: TIMES.find((each) => each === query.get('since')) ?? null,
  };
}

export function queryOf(filters: Filters): URLSearchParams {
  const query = new URLSearchParams();
  if (filters.status) query.set('status', filters.status);
  if (filters.function) query.set('function', filters.function);
  if (filters.since) query.set('since', filters.since);
  for (const [name, value] of Object.entries(filters.labels)) {
    query.append('label', `${name}=${value}`);
  }
  return query;
}

/** Return the name and the value of `name=value`; null if it is not of this form. */
export function parseLabel(text: string): readonly [string, string] | null {
  const at = text.indexOf('=');
  return at > 0 ? [text.slice(0, at).trim(), text.slice(at + 1).trim()] : null;
}

/** What the server selects by; it has no filter by time. */
export function selectionOf(filters: Filters): Selection {
  return {
    ...(filters.status && { status: filters.status }),
    ...(filters.function && { function: filters.function }),
    ...(Object.keys(filters.labels).length && { labels: filters.labels }),
  };
}

/** Whether a run belongs to a list. */
export function matches(run: RunInfo, filters: Filters): boolean {
  return (
    (!filters.status || run.status === filters.status) &&
    (!filters.function || run.function === filters.function) &&
    Object.entries(filters.labels).every(([name, value]) => run.labels[name] === value) &&
    isNewerThan(run, filters.since)
  );
}

export function isNewerThan(run: RunInfo, since: Time | null): boolean {
  return !since || run.created_at >= Date.now() / 1000 - SECONDS[since];
}
