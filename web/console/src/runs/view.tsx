/** A list of runs with what it says of itself: loading, empty, failed, how many. */

import type { ComponentChildren } from 'preact';
import { useEffect, useMemo } from 'preact/hooks';
import { t } from '../i18n';
import { Button, EmptyState } from '../ui';
import { type Filters, queryOf } from './filters';
import { RunList } from './list';
import { RunRows } from './rows';

/** A list that is followed while the component is shown. */
export function useRunList(filters: Filters): RunList {
  const key = queryOf(filters).toString();
  const list = useMemo(() => new RunList(filters), [key]);
  useEffect(() => {
    list.open();
    return () => list.close();
  }, [list]);
  return list;
}

interface ListProps {
  readonly list: RunList;
  readonly filters: Filters;
  /** What is shown if there is no run. */
  readonly empty: ComponentChildren;
}

export function ListedRuns({ list, filters, empty }: ListProps) {
  const rows = list.rows.value;
  if (list.state.value === 'failed') {
    return (
      <EmptyState icon="alert" title={t('runs.failed')}>
        <p>{list.problem.value}</p>
        <Button onClick={() => list.retry()}>{t('common.retry')}</Button>
      </EmptyState>
    );
  }
  if (list.state.value === 'loading') return <Placeholder />;
  if (rows.length === 0) return <>{empty}</>;
  return (
    <>
      <div class="panel runs-panel">
        <div class="runs-head small soft" aria-hidden="true">
          <span>{t('runs.column.status')}</span>
          <span>{t('runs.column.run')}</span>
          <span class="listed-labels">{t('runs.column.labels')}</span>
          <span class="listed-events">{t('runs.column.events')}</span>
          <span class="listed-took">{t('runs.column.took')}</span>
          <span class="listed-ago">{t('runs.column.started')}</span>
        </div>
        <RunRows rows={rows} onEnd={() => void list.loadOlder()} />
      </div>
      <div class="runs-foot soft small">
        <span>{countText(list, filters)}</span>
        {list.problem.value && (
          <>
            <span class="bad">{list.problem.value}</span>
            <Button onClick={() => list.retry()}>{t('common.retry')}</Button>
          </>
        )}
      </div>
    </>
  );
}

function countText(list: RunList, filters: Filters): string {
  const count = list.rows.value.length;
  if (list.isLoadingOlder.value) return t('runs.loading');
  if (list.isFull.value) return t('runs.count.bounded', { count });
  if (list.hasOlder.value) return t('runs.count.more', { count });
  return t(filters.since ? 'runs.count.since' : 'runs.count', { count });
}

function Placeholder() {
  return (
    <div class="panel placeholder" role="status" aria-label={t('common.loading')}>
      {[1, 2, 3, 4, 5].map((each) => (
        <div key={each} />
      ))}
    </div>
  );
}
