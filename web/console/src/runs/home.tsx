/** The first view: the runs, and beside them the functions by which more are started. */

import { useRef, useState } from 'preact/hooks';
import { functions } from '../data/functions';
import { t } from '../i18n';
import { go, links } from '../router';
import { useShortcuts } from '../shell/keyboard';
import { Button, EmptyState, Icon, Select, STATUSES } from '../ui';
import { type Filters, NO_FILTERS, parseFilters, parseLabel, queryOf, TIMES } from './filters';
import { ListedRuns, useRunList } from './view';

export function HomeView({ query }: { query: URLSearchParams }) {
  const filters = parseFilters(query);
  const list = useRunList(filters);
  const change = (changed: Partial<Filters>) =>
    go(links.runs(queryOf({ ...filters, ...changed })), { replace: true });
  const isFiltered = queryOf(filters).size > 0;
  return (
    <div class="home">
      <Rail chosen={filters.function} />
      <section class="stack" aria-labelledby="title">
        <div class="row wrap">
          <h1 id="title" tabIndex={-1} class="grow">
            {t('runs.title')}
          </h1>
          <a class="button" href={links.functions}>
            <Icon name="plus" /> {t('runs.start')}
          </a>
        </div>
        <FilterBar filters={filters} change={change} isFiltered={isFiltered} />
        <ListedRuns
          list={list}
          filters={filters}
          empty={
            isFiltered ? (
              <EmptyState icon="filter" title={t('runs.none.filtered')}>
                <Button onClick={() => change(NO_FILTERS)}>{t('runs.clear')}</Button>
              </EmptyState>
            ) : (
              <EmptyState icon="bolt" title={t('runs.none')}>
                {t('runs.none.text')}
              </EmptyState>
            )
          }
        />
      </section>
    </div>
  );
}

/** The functions, beside the list on a wide screen. */
function Rail({ chosen }: { chosen: string }) {
  return (
    <nav class="rail wide-only" aria-label={t('functions.title')}>
      <h2 class="soft small">{t('functions.title')}</h2>
      <ul>
        {(functions.value ?? []).map(({ name, description }) => (
          <li key={name} class={chosen === name ? 'chosen' : ''}>
            <a href={links.function(name)}>
              <span class="mono cut">{name}</span>
              <span class="soft small cut">{description.split('\n')[0]}</span>
            </a>
          </li>
        ))}
      </ul>
      {functions.value?.length === 0 && <p class="soft small">{t('functions.none.text')}</p>}
    </nav>
  );
}

interface FilterProps {
  readonly filters: Filters;
  readonly change: (changed: Partial<Filters>) => void;
  readonly isFiltered: boolean;
}

function FilterBar({ filters, change, isFiltered }: FilterProps) {
  const names = (functions.value ?? []).map((each) => each.name);
  // A run may be of a function that is not served any more.
  const all =
    names.includes(filters.function) || !filters.function ? names : [filters.function, ...names];
  return (
    <fieldset class="runs-filters" aria-label={t('runs.filter')}>
      <Select
        label={t('runs.status')}
        value={filters.status ?? ''}
        choices={[
          ['', t('runs.status.any')],
          ...STATUSES.map((status) => [status, t(`status.${status}`)] as const),
        ]}
        onChoose={(chosen) => change({ status: STATUSES.find((each) => each === chosen) ?? null })}
      />
      <Select
        label={t('runs.function')}
        value={filters.function}
        choices={[['', t('runs.function.any')], ...all.map((name) => [name, name] as const)]}
        onChoose={(chosen) => change({ function: chosen })}
      />
      <Select
        label={t('runs.time')}
        value={filters.since ?? ''}
        choices={[
          ['', t('runs.time.any')],
          ...TIMES.map((time) => [time, t(`runs.time.${time}`)] as const),
        ]}
        onChoose={(chosen) => change({ since: TIMES.find((each) => each === chosen) ?? null })}
      />
      <LabelFilter filters={filters} change={change} isFiltered={isFiltered} />
      {isFiltered && (
        <Button look="bare" icon="close" onClick={() => change(NO_FILTERS)}>
          {t('runs.clear')}
        </Button>
      )}
    </fieldset>
  );
}

function LabelFilter({ filters, change }: FilterProps) {
  const [text, setText] = useState('');
  const [isWrong, setWrong] = useState(false);
  const box = useRef<HTMLInputElement>(null);
  useShortcuts([{ keys: '/', text: 'keys.search', act: () => box.current?.focus() }]);
  const add = (event: Event) => {
    event.preventDefault();
    const label = parseLabel(text);
    setWrong(!label);
    if (!label) return;
    change({ labels: { ...filters.labels, [label[0]]: label[1] } });
    setText('');
  };
  return (
    <>
      <form class="label-filter" onSubmit={add}>
        <input
          ref={box}
          class="input"
          aria-label={t('runs.labels')}
          aria-invalid={isWrong || undefined}
          placeholder={`${t('runs.labels')}: ${t('runs.labels.hint')}`}
          title={isWrong ? t('runs.labels.wrong') : undefined}
          value={text}
          onInput={(event) => {
            setText(event.currentTarget.value);
            setWrong(false);
          }}
        />
      </form>
      {Object.entries(filters.labels).map(([name, value]) => (
        <span key={name} class="tag">
          {name}={value}
          <button
            type="button"
            aria-label={t('runs.labels.remove', { label: `${name}=${value}` })}
            onClick={() => {
              const { [name]: _, ...others } = filters.labels;
              change({ labels: others });
            }}
          >
            <Icon name="close" size={12} />
          </button>
        </span>
      ))}
    </>
  );
}
