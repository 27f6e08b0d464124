import { useMemo, useState } from 'preact/hooks';
import { t } from '../../i18n';
import { formatClock } from '../../i18n/format';
import { filterLines, LEVELS, type Level, levelOf, severityOf } from '../model';
import { message, name } from '../model/fields';
import type { RunSession } from '../session';
import { readAnsi } from '../text/ansi';
import { FilteredList } from './FilteredList';
import { memo } from './memo';

const MAX_LINE = 20_000;

/** The log lines of a run: filtered by level and text, in the colours that they were written in. */
export function Logs({ session }: { session: RunSession }) {
  const [least, setLeast] = useState<Level>('debug');
  const [text, setText] = useState('');
  const { lines } = session.index;
  const { seq } = session;
  const found = useMemo(
    () => filterLines(lines, { least, text, upTo: seq }),
    [lines, lines.length, least, text, seq],
  );
  const total = session.head?.counts.log ?? lines.length;
  return (
    <FilteredList
      class="log"
      label={t('run.log')}
      text={text}
      onText={setText}
      search={t('run.log.search')}
      choice={least}
      onChoice={(level) => setLeast(level as Level)}
      choices={LEVELS.map((level) => [level, t(`run.level.${level}`)])}
      choose={t('run.log.level')}
      status={t('run.log.count', { shown: found.length, count: total })}
      none={t(lines.length === 0 ? 'run.log.none' : 'run.log.nothing')}
      count={found.length}
      keyOf={(row) => found[row]?.seq ?? row}
      render={(row) => found[row] && <Line event={found[row]} wanted={text.trim()} />}
    />
  );
}

const Line = memo(function Line({
  event,
  wanted,
}: {
  event: Parameters<typeof levelOf>[0];
  wanted: string;
}) {
  const level = levelOf(event);
  const where = [name(event, 'logger'), event.node, event.agent].filter(Boolean).join(' › ');
  const text = message(event);
  return (
    <div class={`line line-${severityOf(level)}`}>
      <span class="line-number numbers">{event.seq}</span>
      <time class="line-time numbers">{formatClock(event.time, true)}</time>
      <span class="line-level">{level.slice(0, 12)}</span>
      <span class="line-text">
        {where && (
          <span class="soft">
            <bdi>{where}</bdi>{' '}
          </span>
        )}
        {readAnsi(text.slice(0, MAX_LINE)).map((segment, at) => (
          <span key={at} class={segment.classes || undefined}>
            <Found text={segment.text} wanted={wanted} />
          </span>
        ))}
        {text.length > MAX_LINE && (
          <span class="soft"> {t('run.more.characters', { count: text.length - MAX_LINE })}</span>
        )}
      </span>
    </div>
  );
});

/** A text in which what is looked for is marked. */
function Found({ text, wanted }: { text: string; wanted: string }) {
  if (!wanted) return <>{text}</>;
  const parts = [];
  const lower = text.toLowerCase();
  const small = wanted.toLowerCase();
  let at = 0;
  for (
    let next = lower.indexOf(small);
    next >= 0 && parts.length < 200;
    next = lower.indexOf(small, at)
  ) {
    parts.push(
      text.slice(at, next),
      <mark key={next}>{text.slice(next, next + small.length)}</mark>,
    );
    at = next + small.length;
  }
  return (
    <>
      {parts}
      {text.slice(at)}
    </>
  );
}
