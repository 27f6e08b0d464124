import type { ConsoleClient } from '../data/client';
import { t } from '../i18n';

export interface RunViewProps {
  readonly client: ConsoleClient;
  readonly runId: string;
  /** Hides everything that acts on the run: cancel, answer, send, run again. */
  readonly readOnly?: boolean;
}

/** One run: what it does, did and asks. */
export function RunView({ runId }: RunViewProps) {
  return (
    <h1 class="mono" tabIndex={-1}>
      {t('run.title', { run: runId })}
    </h1>
  );
}
