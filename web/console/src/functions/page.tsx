/** A function: what it does, its form, and its latest runs. */

import type { FunctionDescription } from '@runcast/client';
import { useEffect, useState } from 'preact/hooks';
import { functions, functionsProblem } from '../data/functions';
import { t } from '../i18n';
import { links } from '../router';
import { NO_FILTERS, queryOf } from '../runs/filters';
import { RunRows } from '../runs/rows';
import { useRunList } from '../runs/view';
import { Button, EmptyState, Icon, notify } from '../ui';
import { FunctionForm } from './form';
import { Prose } from './prose';
import { refill } from './refill';
import { shapeOf } from './shape';
import { type FormDraft, freshDraft, loadDraft } from './store';

/** Runs beside the form. */
const RECENT = 12;

export function FunctionView({ name, from }: { name: string; from: string }) {
  const known = functions.value?.find((each) => each.name === name);
  if (known) return <FunctionPage key={`${name} ${from}`} known={known} from={from} />;
  if (functionsProblem.value) return <FunctionsFailed isPage />;
  if (!functions.value) return null;
  return (
    <EmptyState icon="question" title={t('functions.missing', { name })} isPage>
      {t('functions.missing.text')} <a href={links.functions}>{t('keys.functions')}</a>
    </EmptyState>
  );
}

export function FunctionsFailed({ isPage = false }: { isPage?: boolean }) {
  return (
    <EmptyState icon="alert" title={t('functions.failed')} isPage={isPage}>
      {functionsProblem.value}
    </EmptyState>
  );
}

function FunctionPage({ known, from }: { known: FunctionDescription; from: string }) {
  const { name, description } = known;
  const filters = { ...NO_FILTERS, function: name };
  const list = useRunList(filters);
  const { filled, turn, hints, back } = useRefill(known, from);
  const rows = list.rows.value.slice(0, RECENT);
  return (
    <div class="function">
      <section class="stack" aria-labelledby="title">
        <div class="stack-tight">
          <h1 id="title" class="mono" tabIndex={-1}>
            {name}
          </h1>
          <Prose text={description} />
        </div>
        {hints.length > 0 && (
          <div class="hint" role="status">
            <Icon name="redo" />
            <div class="grow">
              {hints.map((hint) => (
                <p key={hint}>{hint}</p>
              ))}
            </div>
            {back && <Button onClick={back}>{t('form.refilled.back')}</Button>}
          </div>
        )}
        {filled !== null && <FunctionForm key={turn} known={known} filled={filled} />}
      </section>
      <section class="recent" aria-labelledby="recent">
        <div class="row">
          <h2 id="recent" class="grow">
            {t('functions.recent')}
          </h2>
          <a class="small" href={links.runs(queryOf(filters))}>
            {t('functions.all')}
          </a>
        </div>
        {rows.length > 0 ? (
          <div class="panel runs-panel">
            <RunRows rows={rows} isBrief />
          </div>
        ) : (
          <p class="soft">{list.state.value === 'ready' ? t('runs.none') : ''}</p>
        )}
      </section>
    </div>
  );
}

/** Fill the form with the inputs of a run; what was typed before can be brought back. */
function useRefill(known: FunctionDescription, from: string) {
  // null while the run is asked for; undefined: the form begins as the tab kept it.
  const [filled, setFilled] = useState<FormDraft | undefined | null>(from ? null : undefined);
  const [hints, setHints] = useState<readonly string[]>([]);
  const [turn, setTurn] = useState(0);
  const [isBack, setBack] = useState(false);
  useEffect(() => {
    if (!from) return;
    let isOver = false;
    refill(known, from).then(
      ({ draft, leftOut, files, isKept }) => {
        if (isOver) return;
        setFilled(draft);
        setHints([
          isKept ? t('form.refilled', { run: from }) : t('form.refilled.none'),
          ...(leftOut.length ? [t('form.refilled.left', { names: leftOut.join(', ') })] : []),
          ...(files ? [t('form.refilled.files', { count: files })] : []),
        ]);
      },
      (error: Error) => {
        if (isOver) return;
        setFilled(undefined);
        notify(error.message, 'bad');
      },
    );
    return () => {
      isOver = true;
    };
  }, [from]);
  const shape = shapeOf(known.inputs as never);
  const [kept] = useState(() => loadDraft(known.name, shape));
  const isTyped = JSON.stringify(kept) !== JSON.stringify(freshDraft(shape));
  const canGoBack = filled && isTyped && !isBack;
  const back = () => {
    setFilled(kept);
    setTurn(turn + 1);
    setHints([]);
    setBack(true);
  };
  return { filled, turn, hints, back: canGoBack ? back : undefined };
}
