/** The rows of a list of runs. Of a long list only the rows in sight are in the page. */

import type { RunInfo } from '@runcast/client';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { t } from '../i18n';
import { formatNumber } from '../i18n/format';
import { links } from '../router';
import { useShortcuts } from '../shell/keyboard';
import { Ago, Icon, StatusBadge, Took } from '../ui';

/** Heights of a row in pixels, as rows.css has them: wide, and on a phone. */
const WIDE_PX = 44;
const PHONE_PX = 68;
const PHONE = '(width < 720px)';
/** Rows above and below those in sight. */
const SPARE = 12;

interface RowsProps {
  readonly rows: readonly RunInfo[];
  /** Whether the rows name the function; not on a page about one. */
  readonly isBrief?: boolean;
  /** Called when the end of the list comes into sight. */
  readonly onEnd?: () => void;
}

/** Move the focus to the next run of the list, or to the one before. */
function step(by: 1 | -1): void {
  const all = [...document.querySelectorAll<HTMLElement>('.listed-link')];
  const at = all.indexOf(document.activeElement as HTMLElement);
  const next = at < 0 ? all[0] : all[at + by];
  next?.focus();
  next?.scrollIntoView({ block: 'nearest' });
}

const SHORTCUTS = [
  { keys: 'j', text: 'keys.next', act: () => step(1) },
  { keys: 'k', text: 'keys.previous', act: () => step(-1) },
] as const;

export function RunRows({ rows, isBrief = false, onEnd }: RowsProps) {
  useShortcuts(SHORTCUTS);
  const box = useRef<HTMLOListElement>(null);
  const height = usePhone() ? PHONE_PX : WIDE_PX;
  const { first, last } = useSight(box, rows.length, height);
  useEffect(() => {
    if (last >= rows.length - SPARE / 2) onEnd?.();
  }, [last, rows.length]);
  return (
    <ol
      ref={box}
      class={`runs ${isBrief ? 'brief' : ''}`}
      style={{ height: `${rows.length * height}px` }}
    >
      {rows.slice(first, last).map((run, at) => (
        <li
          key={run.run_id}
          class="listed"
          aria-setsize={rows.length}
          aria-posinset={first + at + 1}
          style={{ transform: `translateY(${(first + at) * height}px)` }}
        >
          <RunRow run={run} isBrief={isBrief} />
        </li>
      ))}
    </ol>
  );
}

function RunRow({ run, isBrief }: { run: RunInfo; isBrief: boolean }) {
  const { run_id, status, function: name, labels, created_at, ended_at, events } = run;
  return (
    <>
      <StatusBadge status={status} />
      <a class="listed-link" href={links.run(run_id)}>
        {!isBrief && <span class="listed-name cut">{name || run_id}</span>}
        {(isBrief || name) && <span class="listed-id soft cut">{run_id}</span>}
      </a>
      <span class="listed-labels">
        {Object.entries(labels).map(([label, value]) =>
          label === 'thread' ? (
            <a key={label} class="tag" href={links.thread(value)}>
              <Icon name="thread" size={12} /> <span class="cut">{value}</span>
            </a>
          ) : (
            <span key={label} class="tag">
              <span class="cut">{`${label}=${value}`}</span>
            </span>
          ),
        )}
      </span>
      <span class="listed-events soft numbers" title={t('runs.events', { count: events })}>
        {/* A list does not learn of each event: the number holds for runs that have ended. */}
        {ended_at === null ? '' : formatNumber(events)}
      </span>
      <span class="listed-took soft">
        <Took from={created_at} until={ended_at} />
      </span>
      <span class="listed-ago soft cut">
        <Ago time={created_at} />
      </span>
    </>
  );
}

/** Return which rows are in sight, counted from the top of the list. */
function useSight(box: { current: HTMLElement | null }, count: number, height: number) {
  const [range, setRange] = useState({ first: 0, last: 40 });
  useLayoutEffect(() => {
    const look = () => {
      const top = box.current?.getBoundingClientRect().top ?? 0;
      const first = Math.max(0, Math.floor(-top / height) - SPARE);
      const last = Math.ceil((innerHeight - top) / height) + SPARE;
      setRange((old) => (old.first === first && old.last === last ? old : { first, last }));
    };
    look();
    addEventListener('scroll', look, { passive: true });
    addEventListener('resize', look);
    return () => {
      removeEventListener('scroll', look);
      removeEventListener('resize', look);
    };
  }, [height, count]);
  return { first: range.first, last: Math.min(count, range.last) };
}

function usePhone(): boolean {
  const [isPhone, setPhone] = useState(() => matchMedia(PHONE).matches);
  useEffect(() => {
    const query = matchMedia(PHONE);
    const change = () => setPhone(query.matches);
    query.addEventListener('change', change);
    return () => query.removeEventListener('change', change);
  }, []);
  return isPhone;
}
