import { Client } from '@runcast/client';
import { useMemo } from 'preact/hooks';
import { BASE } from '../data/client';
import { parseExact } from '../data/json';
import { RunView } from './export';

/** A run that a link shows. The secret is sent in a header, and the cookies of the page are not. */
export function SharedRun({ runId, token }: { runId: string; token: string }) {
  const client = useMemo(
    () =>
      new Client({
        url: BASE,
        headers: { 'runcast-link': token },
        credentials: 'omit',
        parse: parseExact,
      }),
    [token],
  );
  return <RunView client={client} runId={runId} readOnly />;
}
