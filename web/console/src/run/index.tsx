import './run.css';
import { type BasicClient, Fold } from '@runcast/client';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { language, t } from '../i18n';
import { formatNumber } from '../i18n/format';
import { links } from '../router';
import { openLink } from '../shell/connection';
import { Button, EmptyState, Icon, now, useClock } from '../ui';
import { actionsOf, type RunActions } from './actions';
import { severityOf } from './model';
import type { Folded } from './model/replay';
import type { RunState } from './model/state';
import { Activity } from './parts/Activity';
import { Composer, hasDraft } from './parts/Composer';
import { Events } from './parts/Events';
import { Files } from './parts/Files';
import { Header } from './parts/Header';
import { Logs } from './parts/Logs';
import { Missing, Notices } from './parts/Notices';
import { Questions } from './parts/Questions';
import { type Axis, Scrubber } from './parts/Scrubber';
import { Usage } from './parts/Usage';
import { LongText, Tree } from './parts/Value';
import { Waterfall } from './parts/Waterfall';
import { RunSession } from './session';
import { type Recording, recorded, sourceOf } from './source';

export type { Recording } from './source';

export interface RunViewProps {
  /** Not used with a recording. */
  readonly client?: BasicClient;
  readonly runId: string;
  /** Hides everything that acts on the run: cancel, answer, send, run again. */
  readonly readOnly?: boolean;
  /** Shows this instead of a run of the server, and asks the server for nothing. */
  readonly recording?: Recording;
}

const beginFold = (start?: RunState): Folded<RunState> =>
  new Fold(start as ConstructorParameters<typeof Fold>[0]) as unknown as Folded<RunState>;

/** One run: what it does, did and asks, now and at any moment before. */
export function RunView({ client, runId, readOnly = false, recording }: RunViewProps) {
  const session = useMemo(() => {
    const source = recording ? recorded(recording) : sourceOf(client as BasicClient, runId);
    return new RunSession(source, beginFold);
  }, [client, runId, recording]);
  const all = useMemo(
    () => (client && !recording ? actionsOf(client, runId) : null),
    [client, runId, recording],
  );
  useEffect(() => {
    void session.open();
    return () => session.close();
  }, [session]);
  useIndicator(session, recording !== undefined);
  session.tick.value; // render again when something changed
  session.cursor.value;
  language.value;
  if (session.isMissing) {
    return (
      <EmptyState icon="question" title={t('run.missing.title', { run: runId })}>
        {t('run.missing.text')} <a href={links.runs()}>{t('missing.home')}</a>
      </EmptyState>
    );
  }
  const { state } = session;
  if (!state) return <Loading session={session} runId={runId} />;
  const actions = readOnly ? null : all;
  return <Shown session={session} state={state} actions={actions} files={all} />;
}

function Loading({ session, runId }: { session: RunSession; runId: string }) {
  const { state, why } = session.link.value;
  return (
    <div class="run-view" aria-busy="true">
      <h1 class="mono" tabIndex={-1}>
        {t('run.title', { run: runId })}
      </h1>
      {state === 'reconnecting' ? (
        <p class="run-none soft">
          {t('run.notice.failed', { why })}{' '}
          <Button onClick={() => void session.open()}>{t('common.retry')}</Button>
        </p>
      ) : (
        <p class="run-none soft">
          <Icon name="spinner" /> {t('common.loading')}
        </p>
      )}
    </div>
  );
}

/** Reports to the indicator of the page whether what is shown is live. */
function useIndicator(session: RunSession, isRecorded: boolean): void {
  useEffect(() => {
    if (isRecorded) return;
    const indicator = openLink();
    const stop = session.link.subscribe(({ state, why }) => indicator.set(state, why));
    return () => {
      stop();
      indicator.close();
    };
  }, [session, isRecorded]);
}

const TABS = ['activity', 'log', 'files', 'usage', 'inputs', 'events'] as const;
type Tab = (typeof TABS)[number];

interface ShownProps {
  readonly session: RunSession;
  readonly state: RunState;
  readonly actions: RunActions | null;
  /** Reads files, also where nothing can be done. */
  readonly files: RunActions | null;
}

function Shown({ session, state, actions, files }: ShownProps) {
  useClock(session.isLive && session.cursor.value === null);
  const [chosen, setTab] = useState<Tab | null>(null);
  const counts: Readonly<Record<Tab, number | null>> = {
    activity: null,
    log: session.head?.counts.log ?? 0,
    files: state.files.length + (state.dropped.files ?? 0),
    usage: state.usage.length,
    inputs: inputsOf(session).length,
    events: state.seq,
  };
  const tabs = TABS.filter(
    (tab) => tab === 'activity' || tab === 'events' || tab === 'log' || counts[tab],
  );
  const usual: Tab =
    session.index.story.items.every((item) => item.kind === 'ending') &&
    session.index.lines.length > 0
      ? 'log'
      : 'activity';
  const tab = chosen && tabs.includes(chosen) ? chosen : usual;
  const wanted = session.jump.value;
  useEffect(() => {
    if (wanted && tab !== 'activity' && tab !== 'events') setTab('activity');
  }, [wanted]);
  useFollow(session);
  useEffect(() => {
    document.title = `${t(`status.${state.status as 'done'}`)} · ${state.function} · runcast`;
  }, [state.status, state.function, language.value]);

  // Most runs read no messages: the box is there for those that do, and for whoever asks for it.
  const [isAsked, setWriting] = useState(false);
  const isWriting = isAsked || (session.head?.counts.message ?? 0) > 0 || hasDraft(session);

  const axis = axisOf(session);
  const isPast = session.cursor.value !== null;
  return (
    <div class="run-view">
      <Header
        session={session}
        state={state}
        actions={actions}
        onMessage={isWriting ? null : () => setWriting(true)}
      />
      <Notices session={session} state={state} />
      <Questions session={session} actions={actions} />
      <Waterfall session={session} axis={axis} />
      <div class="run-bar">
        <Scrubber session={session} axis={axis} />
        <Tabs tabs={tabs} chosen={tab} counts={counts} worst={worstOf(session)} onChoose={setTab} />
      </div>
      <div
        role="tabpanel"
        id={`run-panel-${tab}`}
        aria-labelledby={`run-tab-${tab}`}
        class="run-panel"
      >
        {(tab === 'activity' || tab === 'log' || tab === 'events') && <Missing session={session} />}
        {tab === 'activity' && <Activity session={session} actions={files} />}
        {tab === 'log' && <Logs session={session} />}
        {tab === 'files' && (
          <Files files={state.files} dropped={state.dropped.files ?? 0} actions={files} />
        )}
        {tab === 'usage' && <Usage usage={state.usage} />}
        {tab === 'inputs' && <Inputs session={session} />}
        {tab === 'events' && <Events session={session} />}
      </div>
      {actions && session.isLive && !isPast && isWriting && (
        <Composer session={session} actions={actions} />
      )}
    </div>
  );
}

function axisOf(session: RunSession): Axis {
  const { log, head } = session;
  const start =
    log.events.length > 0 ? log.start : (head?.started_at ?? session.info?.created_at ?? 0);
  const end = session.isLive ? Math.max(log.end, now.value) : Math.max(log.end, start);
  return { start, end: Math.max(end, start + 0.001) };
}

/** Whether there are warnings or errors in the log, to be seen at its tab. */
function worstOf(session: RunSession): string {
  const severities = [...session.index.levels].map(severityOf);
  return severities.includes('error') ? 'error' : severities.includes('warning') ? 'warning' : '';
}

interface TabsProps {
  readonly tabs: readonly Tab[];
  readonly chosen: Tab;
  readonly counts: Readonly<Record<Tab, number | null>>;
  readonly worst: string;
  readonly onChoose: (tab: Tab) => void;
}

function Tabs({ tabs, chosen, counts, worst, onChoose }: TabsProps) {
  const onKey = (event: KeyboardEvent): void => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next =
      event.key === 'Home'
        ? tabs[0]
        : event.key === 'End'
          ? tabs.at(-1)
          : step
            ? tabs[(tabs.indexOf(chosen) + step + tabs.length) % tabs.length]
            : undefined;
    if (!next) return;
    event.preventDefault();
    onChoose(next);
    document.getElementById(`run-tab-${next}`)?.focus();
  };
  return (
    <div class="run-tabs" role="tablist" aria-label={t('run.views')} onKeyDown={onKey}>
      {tabs.map((tab) => (
        <button
          key={tab}
          type="button"
          role="tab"
          id={`run-tab-${tab}`}
          aria-selected={tab === chosen}
          aria-controls={tab === chosen ? `run-panel-${tab}` : undefined}
          tabIndex={tab === chosen ? 0 : -1}
          onClick={() => onChoose(tab)}
        >
          {t(`run.tab.${tab}`)}
          {counts[tab] !== null && (
            <span class={`count numbers ${tab === 'log' && worst ? `count-${worst}` : ''}`}>
              {formatNumber(counts[tab] ?? 0)}
            </span>
          )}
        </button>
      ))}
    </div>
  );
}

function inputsOf({ info }: RunSession): [string, unknown, 'value' | 'left' | 'files'][] {
  const { values = {}, left_out: leftOut = {}, files = {} } = info?.inputs ?? {};
  return [
    ...Object.entries(values).map(
      ([name, value]) => [name, value, 'value'] as [string, unknown, 'value'],
    ),
    ...Object.entries(leftOut).map(
      ([name, why]) => [name, why, 'left'] as [string, unknown, 'left'],
    ),
    ...Object.entries(files).map(
      ([name, count]) => [name, count, 'files'] as [string, unknown, 'files'],
    ),
  ];
}

function Inputs({ session }: { session: RunSession }) {
  return (
    <dl class="inputs panel">
      {inputsOf(session).map(([name, value, kind]) => (
        <div key={`${kind} ${name}`}>
          <dt class="mono">
            <bdi>{name}</bdi>
          </dt>
          <dd>
            {kind === 'left' && (
              <span class="soft">{t('run.input.left', { why: String(value) })}</span>
            )}
            {kind === 'files' && (
              <span class="soft">{t('run.input.files', { count: Number(value) })}</span>
            )}
            {kind === 'value' &&
              (typeof value === 'string' ? (
                <div class="plain">
                  <LongText text={value} />
                </div>
              ) : (
                <Tree value={value} />
              ))}
          </dd>
        </div>
      ))}
    </dl>
  );
}

/** While a live run is shown to its end, and the end is in sight, new events stay in sight. */
function useFollow(session: RunSession): void {
  const wasAtEnd = useRef(false);
  useEffect(() => {
    const look = (): void => {
      const { scrollHeight } = document.documentElement;
      wasAtEnd.current = scrollY > 0 && scrollY + innerHeight >= scrollHeight - 80;
    };
    addEventListener('scroll', look, { passive: true });
    return () => removeEventListener('scroll', look);
  }, []);
  useEffect(() => {
    if (wasAtEnd.current && session.isLive && session.cursor.value === null) {
      scrollTo({ top: document.documentElement.scrollHeight });
    }
  }, [session.tick.value]);
}
