import { BasicClient } from '@runcast/client';
import { useMemo } from 'preact/hooks';
import { BASE, sharing } from '../data/client';
import { parseExact } from '../data/json';
import { RunView } from './export';

/** A run that a link shows. The secret is sent in a header, and the cookies of the page are not. */
export function SharedRun({ runId, token }: { runId: string; token: string }) {
  const client = useMemo(
    () =>
      new BasicClient({
        url: BASE,
        link: token,
        fetch: sharing,
        parse: parseExact,
      }),
    [token],
  );
  return <RunView client={client} runId={runId} readOnly />;
}
