import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { t } from '../../i18n';
import { formatClock, formatDateTime, formatNumber, formatPercent } from '../../i18n/format';
import { links } from '../../router';
import { Button, Dialog, Icon, type Status, StatusBadge, Took } from '../../ui';
import type { RunActions } from '../actions';
import type { Bar, RunState, Used } from '../model/state';
import type { RunSession } from '../session';
import { Share } from './Share';

interface HeaderProps {
  readonly session: RunSession;
  readonly state: RunState;
  readonly actions: RunActions | null;
  /** Opens the box for messages; null if it is open. */
  readonly onMessage: (() => void) | null;
}

/** What run this is, how it stands, and what can be done with it. */
export function Header({ session, state, actions, onMessage }: HeaderProps) {
  const { info } = session;
  const isPast = session.cursor.value !== null;
  const name = state.function || info?.function || t('run.untitled');
  // Nobody knows how a run ended that was deleted meanwhile.
  const isKnown = !session.isGone || state.ended_at !== null;
  return (
    <header class="run-head">
      <div class="run-title">
        <h1 class="mono" tabIndex={-1}>
          <bdi>{name}</bdi>
        </h1>
        <span role="status" class="run-status">
          {isKnown && <StatusBadge status={state.status as Status} />}
        </span>
        {isKnown && <Duration session={session} state={state} />}
        {isPast && (
          <span class="badge run-past">
            <Icon name="clock" size={14} />
            {t('run.past')}
          </span>
        )}
        <span class="grow" />
        {actions && <Actions session={session} actions={actions} onMessage={onMessage} />}
      </div>
      <Facts session={session} state={state} isLinked={actions !== null} />
      <Bars state={state} />
    </header>
  );
}

function Duration({ session, state }: { session: RunSession; state: RunState }) {
  const from = state.started_at ?? session.info?.created_at;
  if (from === undefined || from === null) return null;
  const isPast = session.cursor.value !== null;
  const until = isPast ? session.clock.value || session.log.timeAt(session.seq) : state.ended_at;
  return (
    <span class="soft numbers run-duration" title={t('run.duration')}>
      <Took from={from} until={until} />
    </span>
  );
}

function Facts({
  session,
  state,
  isLinked,
}: {
  session: RunSession;
  state: RunState;
  isLinked: boolean;
}) {
  const { info } = session;
  const began = state.started_at ?? info?.created_at;
  const facts: ComponentChildren[] = [];
  if (began)
    facts.push(
      <time dateTime={new Date(began * 1000).toISOString()}>{formatDateTime(began)}</time>,
    );
  facts.push(t('run.events', { count: state.seq }));
  if (state.attempt > 1) facts.push(t('run.attempt', { number: state.attempt }));
  if (state.status === 'queued' && info?.queue_position)
    facts.push(t('run.queue', { number: info.queue_position }));
  const spent = spentText(state.usage);
  if (spent) facts.push(<span class="numbers">{spent}</span>);
  return (
    <div class="run-facts soft small">
      <code class="run-name-id">{info?.run_id}</code>
      {facts.map((fact, at) => (
        <span key={at}>{fact}</span>
      ))}
      {Object.entries(state.labels).map(([label, value]) => {
        const text = (
          <>
            <span class="soft">{label}</span> <bdi>{value}</bdi>
          </>
        );
        const isThread = label === 'thread' && isLinked;
        return isThread ? (
          <a key={label} class="run-chip" href={links.thread(value)}>
            {text}
          </a>
        ) : (
          <span key={label} class="run-chip">
            {text}
          </span>
        );
      })}
    </div>
  );
}

/** What a run's models used, in a few words: tokens, and cost by currency. */
export function spentText(usage: readonly Used[]): string {
  if (usage.length === 0) return '';
  const tokens = usage.reduce(
    (sum, used) => sum + (used.input_tokens ?? 0) + (used.output_tokens ?? 0),
    0,
  );
  const costs = new Map<string, number>();
  for (const used of usage) {
    if (used.cost)
      costs.set(used.currency ?? '', (costs.get(used.currency ?? '') ?? 0) + used.cost);
  }
  const unpriced = usage.reduce((sum, used) => sum + (used.unpriced ?? 0), 0);
  const parts = [t('run.tokens', { count: tokens })];
  for (const [currency, cost] of costs) parts.push(costText(cost, currency));
  if (costs.size > 0 && unpriced > 0) parts.push(t('run.unpriced', { count: unpriced }));
  return parts.join(' · ');
}

export function costText(cost: number, currency: string): string {
  const digits = cost >= 1 ? 2 : 4;
  const options = { minimumFractionDigits: 2, maximumFractionDigits: digits };
  if (/^[A-Z]{3}$/.test(currency || 'USD')) {
    try {
      return formatNumber(cost, { style: 'currency', currency: currency || 'USD', ...options });
    } catch {
      // a currency that the browser does not know
    }
  }
  return `${formatNumber(cost, options)} ${currency}`;
}

/** The bars of a run: the named ones, and the overall progress if it is none of them. */
function Bars({ state }: { state: RunState }) {
  const { progress } = state;
  const named = state.bars;
  const isNamed = progress?.task && named.length > 0;
  const bars = [...(progress && !isNamed ? [progress] : []), ...named];
  if (bars.length === 0) return null;
  // What a run that is done has counted to its end says nothing more.
  if (state.status === 'done' && bars.every((bar) => bar.percent === 100)) return null;
  const isOver = ['done', 'failed', 'cancelled'].includes(state.status);
  return (
    <div class={`run-bars ${isOver ? 'is-over' : ''}`}>
      {bars.map((bar) => (
        <BarRow key={`${bar.task ?? ''}\0${bar.node ?? ''}\0${bar.agent ?? ''}`} bar={bar} />
      ))}
    </div>
  );
}

function BarRow({ bar }: { bar: Bar }) {
  const { percent } = bar;
  const place = [bar.node, bar.agent].filter(Boolean).join(' › ');
  const text =
    bar.message && bar.task && bar.message !== bar.task
      ? `${bar.task}: ${bar.message}`
      : bar.message || bar.task || '';
  const counted =
    bar.current !== null && bar.current !== undefined && bar.total
      ? `${formatNumber(bar.current)} / ${formatNumber(bar.total)}`
      : '';
  const label = [place, text].filter(Boolean).join(' · ') || t('run.progress');
  return (
    <div class="run-bar-row">
      <span class="run-bar-text">
        <bdi>{label}</bdi>
      </span>
      <progress
        max={100}
        {...(percent === null || percent === undefined ? {} : { value: percent })}
        aria-label={label}
      />
      <span class="numbers soft small run-bar-count">
        {counted && <span class="wide-only">{counted}</span>}{' '}
        {percent === null || percent === undefined ? '' : formatPercent(percent)}
      </span>
    </div>
  );
}

function Actions({
  session,
  actions,
  onMessage,
}: {
  session: RunSession;
  actions: RunActions;
  onMessage: (() => void) | null;
}) {
  const [isAsking, setAsking] = useState(false);
  const [busy, setBusy] = useState('');
  const [isSharing, setSharing] = useState(false);
  const act = async (name: string, work: () => Promise<void>): Promise<void> => {
    setBusy(name);
    await actions.attempt(work);
    setBusy('');
  };
  return (
    <div class="row run-actions">
      <Button icon="link" onClick={() => setSharing(true)}>
        {t('run.share')}
      </Button>
      {isSharing && <Share actions={actions} onClose={() => setSharing(false)} />}
      {!session.isLive && session.info?.function && actions.rerun && (
        <Button
          icon="redo"
          busy={busy === 'rerun'}
          onClick={() => void act('rerun', () => actions.rerun?.(session) ?? Promise.resolve())}
        >
          {t('run.rerun')}
        </Button>
      )}
      {session.isLive && onMessage && session.cursor.value === null && (
        <Button icon="send" onClick={onMessage}>
          {t('run.message')}
        </Button>
      )}
      {session.isLive && (
        <Button look="danger" icon="stop" busy={busy === 'cancel'} onClick={() => setAsking(true)}>
          {t('run.cancel')}
        </Button>
      )}
      {isAsking && (
        <Dialog
          title={t('run.cancel.title')}
          onClose={() => setAsking(false)}
          actions={
            <>
              <Button onClick={() => setAsking(false)}>{t('run.cancel.keep')}</Button>
              <Button
                look="danger"
                icon="stop"
                onClick={() => {
                  setAsking(false);
                  void act('cancel', actions.cancel);
                }}
              >
                {t('run.cancel')}
              </Button>
            </>
          }
        >
          <p>{t('run.cancel.text')}</p>
        </Dialog>
      )}
    </div>
  );
}

/** A point in time of a run, by its clock. */
export function Clock({ time }: { time: number }) {
  return (
    <time
      class="soft small numbers"
      dateTime={new Date(time * 1000).toISOString()}
      title={formatDateTime(time)}
    >
      {formatClock(time)}
    </time>
  );
}
