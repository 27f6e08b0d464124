import type { BasicClient } from '@runcast/client';
import { t } from '../i18n';
import { go, links } from '../router';
import { notify } from '../ui';
import type { Answer } from './model/answers';
import type { RunSession } from './session';

/** A link that shows a run to others. Source: docs/protocol.md R-22. */
export interface Link {
  readonly link_id: string;
  readonly expires_at: number;
  readonly files: boolean;
  readonly by?: string | null;
}

/** What a person can do with a run. Failures are shown, and reported as false. */
export interface RunActions {
  /** Do something; what goes wrong is shown. Returns whether it worked. */
  attempt(work: () => Promise<unknown>): Promise<boolean>;
  cancel(): Promise<void>;
  answer(interruptId: string, answer: Answer, by: string): Promise<void>;
  send(data: unknown, messageId: string, from: string): Promise<void>;
  /** Start the function again with the same inputs, or show its form if some inputs are unknown. */
  rerun: ((session: RunSession) => Promise<void>) | null;
  readonly links: {
    list(): Promise<readonly Link[]>;
    /** Returns the whole address of a new link, which nobody can get again. */
    make(expiresS: number, withFiles: boolean): Promise<{ readonly url: string }>;
    revoke(linkId: string): Promise<void>;
  };
  /** The address of one of the run's files. */
  fileUrl(runId: string, path: string): string;
  download(runId: string, path: string, signal: AbortSignal): Promise<Response>;
}

export function actionsOf(client: BasicClient, runId: string): RunActions {
  return {
    async attempt(work) {
      try {
        await work();
        return true;
      } catch (error) {
        notify(error instanceof Error ? error.message : String(error), 'bad');
        return false;
      }
    },
    async cancel() {
      await client.cancel(runId, t('run.cancel.reason'));
    },
    async answer(interruptId, answer, by) {
      await client.answer(runId, interruptId, { ...answer, ...(by ? { by } : {}) } as Parameters<
        BasicClient['answer']
      >[2]);
    },
    async send(data, messageId, from) {
      await client.send(runId, data, { messageId, ...(from ? { from } : {}) });
    },
    async rerun({ info, head }) {
      const name = head?.function || info?.function;
      if (!name) return;
      const { values = {}, left_out: leftOut = {}, files = {} } = info?.inputs ?? {};
      const isComplete =
        info?.inputs && Object.keys(leftOut).length === 0 && Object.keys(files).length === 0;
      if (!isComplete) return go(links.function(name, runId));
      const labels = Object.fromEntries(
        Object.entries(info.labels).filter(
          ([label]) => !/^(function|status|runcast\.)/.test(label),
        ),
      );
      go(links.run(await client.invoke(name, values, { labels })));
    },
    links: linksOf(client, runId),
    fileUrl: (id, path) => client.fileUrl(id, path),
    download: (id, path, signal) => client.download(id, path, { signal }),
  };
}

function linksOf(client: BasicClient, runId: string): RunActions['links'] {
  const path = `${client.url}/runs/${encodeURIComponent(runId)}/links`;
  const ask = async (address: string, init: RequestInit = {}): Promise<Record<string, unknown>> => {
    const response = await fetch(address, { ...init, cache: 'no-store' });
    const body = (await response.json().catch(() => null)) as Record<string, unknown> | null;
    if (!response.ok) throw new Error(String(body?.detail ?? `HTTP ${response.status}`));
    return body ?? {};
  };
  return {
    list: async () => ((await ask(path)).links ?? []) as readonly Link[],
    async make(expiresS, withFiles) {
      const body = JSON.stringify({ expires_s: expiresS, files: withFiles });
      const headers = { 'content-type': 'application/json' };
      const made = await ask(path, { method: 'POST', body, headers });
      return { url: new URL(String(made.url), client.url).href };
    },
    async revoke(linkId) {
      await ask(`${path}/${encodeURIComponent(linkId)}`, { method: 'DELETE' });
    },
  };
}
