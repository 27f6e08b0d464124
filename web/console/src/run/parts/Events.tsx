import type { RunEvent } from '@runcast/client';
import { useMemo, useState } from 'preact/hooks';
import { t } from '../../i18n';
import { formatClock } from '../../i18n/format';
import { Button, Icon, notify } from '../../ui';
import { searchable } from '../model';
import { asText } from '../model/fields';
import type { RunSession } from '../session';
import { FilteredList } from './FilteredList';
import { memo } from './memo';
import { Tree } from './Value';

/** Every event as it is stored: a table that opens each event as JSON. */
export function Events({ session }: { session: RunSession }) {
  const [type, setType] = useState('');
  const [text, setText] = useState('');
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set());
  const { log, index, seq } = { log: session.log, index: session.index, seq: session.seq };
  const found = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    const all = log.countTo(seq);
    if (!type && !wanted) return log.events.slice(0, all);
    return log.events
      .slice(0, all)
      .filter(
        (event) =>
          (!type || event.type === type) && (!wanted || searchable(event).includes(wanted)),
      );
  }, [log, log.version, seq, type, text]);
  const toggle = (number: number): void => {
    const next = new Set(open);
    if (!next.delete(number)) next.add(number);
    setOpen(next);
  };
  const wanted = session.jump.value;
  const target = useMemo(
    () =>
      wanted
        ? {
            row: Math.max(
              0,
              found.findIndex((event) => event.seq >= wanted.seq),
            ),
          }
        : null,
    [wanted],
  );
  const save = (): void => {
    const lines = found.map((event) => JSON.stringify(event)).join('\n');
    const url = URL.createObjectURL(new Blob([lines, '\n'], { type: 'application/x-ndjson' }));
    const link = Object.assign(document.createElement('a'), {
      href: url,
      download: `${session.info?.run_id ?? 'run'}.ndjson`,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    notify(t('run.events.saved', { count: found.length }), 'good');
  };
  const types = [...index.types].sort().slice(0, 200);
  return (
    <FilteredList
      class="raw"
      label={t('run.events.title')}
      text={text}
      onText={setText}
      search={t('run.events.search')}
      choice={type}
      onChoice={setType}
      choices={[
        ['', t('run.events.all')],
        ...types.map(([name, count]) => [name, `${name} (${count})`] as const),
      ]}
      choose={t('run.events.type')}
      status={t('run.events.count', { shown: found.length, count: session.head?.seq ?? log.last })}
      none={t('run.events.none')}
      count={found.length}
      target={target}
      keyOf={(row) => found[row]?.seq ?? row}
      render={(row) => {
        const event = found[row];
        if (!event) return null;
        const before = found[row - 1];
        const lost =
          !type && !text && before && event.seq > before.seq + 1 ? event.seq - before.seq - 1 : 0;
        return (
          <EventRow
            event={event}
            lost={lost}
            isOpen={open.has(event.seq)}
            onToggle={toggle}
            onSeek={session.seekTo}
          />
        );
      }}
    >
      <span class="grow" />
      <Button icon="download" onClick={save}>
        {t('run.events.save')}
      </Button>
    </FilteredList>
  );
}

interface RowProps {
  readonly event: RunEvent;
  readonly lost: number;
  readonly isOpen: boolean;
  readonly onToggle: (seq: number) => void;
  readonly onSeek: (seq: number) => void;
}

const EventRow = memo(function EventRow({ event, lost, isOpen, onToggle, onSeek }: RowProps) {
  return (
    <>
      {lost > 0 && (
        <div class="gap-line">
          <Icon name="alert" size={14} />
          {t('run.lost', { count: lost })}
        </div>
      )}
      <div class="event-row">
        <button
          type="button"
          class="event-head"
          aria-expanded={isOpen}
          onClick={() => onToggle(event.seq)}
        >
          <span class="event-seq numbers soft">{event.seq}</span>
          <span class="event-time numbers soft wide-only">{formatClock(event.time, true)}</span>
          <code class="event-type cut">{event.type}</code>
          <span class="event-where soft cut wide-only">
            <bdi>{[event.node, event.agent].filter(Boolean).join(' › ')}</bdi>
          </span>
          <span class="event-data cut mono soft">
            <bdi>{asText(event.data).slice(0, 400)}</bdi>
          </span>
        </button>
        {isOpen && (
          <div class="event-open">
            <Tree value={event} isOpen />
            <Button icon="clock" onClick={() => onSeek(event.seq)}>
              {t('run.events.seek')}
            </Button>
          </div>
        )}
      </div>
    </>
  );
});
