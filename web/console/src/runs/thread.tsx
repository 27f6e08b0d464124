/** The runs of one thread. */

import { t } from '../i18n';
import { EmptyState } from '../ui';
import { NO_FILTERS } from './filters';
import { ListedRuns, useRunList } from './view';

export function ThreadView({ thread }: { thread: string }) {
  const filters = { ...NO_FILTERS, labels: { thread } };
  const list = useRunList(filters);
  return (
    <section class="stack" aria-labelledby="title">
      <div>
        <h1 id="title" tabIndex={-1}>
          {t('thread.title', { thread })}
        </h1>
        <p class="soft">{t('thread.text', { label: `thread=${thread}` })}</p>
      </div>
      <ListedRuns
        list={list}
        filters={filters}
        empty={
          <EmptyState icon="thread" title={t('thread.none')}>
            {t('thread.none.text')}
          </EmptyState>
        }
      />
    </section>
  );
}
