import { useEffect, useRef, useState } from 'preact/hooks';
import { t } from '../../i18n';
import { formatDuration, formatPercent } from '../../i18n/format';
import { Button, Icon, type IconName } from '../../ui';
import { rowsOf, type Span, type SpanView, spanAt } from '../model/timeline';
import type { RunSession } from '../session';
import { type Axis, placeOn } from './Scrubber';

const ICONS: Readonly<Record<Span['kind'], IconName>> = {
  agent: 'thread',
  step: 'chevron',
  tool: 'bolt',
  question: 'question',
};
const ROW_PX = 28;
/** Rows that are seen at once; more of them scroll. */
const VISIBLE_ROWS = 9;

/** Steps, agents, tools and questions as bars in time: who did what when, and what runs now. */
export function Waterfall({ session, axis }: { session: RunSession; axis: Axis }) {
  const { timeline } = session.index;
  const [folded, setFolded] = useState<ReadonlySet<number>>(new Set());
  const [isTall, setTall] = useState(false);
  const [top, setTop] = useState(0);
  const { seq } = session;
  const isPast = session.cursor.value !== null;
  const time = session.clock.value || (isPast ? session.log.timeAt(seq) : axis.end);
  const rows = rowsOf(timeline.roots, seq, folded);
  const visible = isTall ? 24 : VISIBLE_ROWS;
  const first = Math.max(0, Math.floor(top / ROW_PX) - 4);
  const shown = rows.slice(first, first + visible + 10);
  const open = rows.filter(
    (span) => span.children.length === 0 && spanAt(span, seq, time)?.isOpen,
  ).length;
  const toggle = (span: Span): void => {
    const next = new Set(folded);
    if (!next.delete(span.id)) next.add(span.id);
    setFolded(next);
  };
  const at = placeOn(axis, time);
  // What runs now is in sight, until somebody scrolls to something else.
  const isFollowing = useRef(true);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (box.current && isFollowing.current && session.isLive)
      box.current.scrollTop = box.current.scrollHeight;
  }, [rows.length, isTall]);
  if (rows.length === 0) return null;
  return (
    <section class="waterfall panel" aria-label={t('run.timeline')}>
      <div class="waterfall-head small soft">
        <span class="waterfall-label">
          {t('run.timeline')} · {t('run.timeline.rows', { count: rows.length })}
          {open > 0 && ` · ${t('run.timeline.open', { count: open })}`}
        </span>
        <Ticks axis={axis} />
        {rows.length > VISIBLE_ROWS ? (
          <Button
            look="bare"
            class="waterfall-more"
            icon="chevron"
            aria-expanded={isTall}
            label={t(isTall ? 'run.timeline.less' : 'run.timeline.more')}
            onClick={() => setTall(!isTall)}
          />
        ) : (
          <span class="waterfall-took" />
        )}
      </div>
      <div
        ref={box}
        class="waterfall-rows"
        tabIndex={rows.length > visible ? 0 : -1}
        style={{ maxHeight: `${visible * ROW_PX + 4}px` }}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
          isFollowing.current = scrollTop + clientHeight >= scrollHeight - ROW_PX;
          setTop(scrollTop);
        }}
      >
        <ul style={{ height: `${rows.length * ROW_PX}px` }}>
          {shown.map((span, position) => {
            const view = spanAt(span, seq, time);
            return (
              view && (
                <Row
                  key={span.id}
                  row={first + position}
                  view={view}
                  isCurrent={span.lastSeq <= seq}
                  axis={axis}
                  isFolded={folded.has(span.id)}
                  onToggle={() => toggle(span)}
                  onJump={() => session.show(span.startSeq)}
                />
              )
            );
          })}
        </ul>
        <span class="waterfall-now" aria-hidden="true">
          <span style={{ left: `${at}%` }} />
        </span>
      </div>
    </section>
  );
}

interface RowProps {
  readonly row: number;
  readonly view: SpanView;
  /** Whether what the span says of itself is of the moment that is shown, and not of a later one. */
  readonly isCurrent: boolean;
  readonly axis: Axis;
  readonly isFolded: boolean;
  readonly onToggle: () => void;
  readonly onJump: () => void;
}

function Row({ row, view, isCurrent, axis, isFolded, onToggle, onJump }: RowProps) {
  const { span, start, end, isOpen, ended } = view;
  const left = placeOn(axis, start);
  const width = Math.max(0, placeOn(axis, end) - left);
  const took = formatDuration(end - start);
  const how = isOpen ? 'open' : (ended ?? 'ok');
  const note = span.note && isOpen && isCurrent ? ` · ${span.note}` : '';
  const isMeasured = isOpen && isCurrent && span.percent !== null;
  const errors = isCurrent ? span.errors : 0;
  const percent = isMeasured ? ` · ${formatPercent(span.percent ?? 0)}` : '';
  const where = span.kind !== 'agent' && span.node && span.node !== span.name ? span.node : '';
  const title = [
    `${t(`run.kind.${span.kind}`)} ${span.name}`,
    where,
    isCurrent && span.note,
    took,
    t(`run.span.${how}`),
    errors > 0 && t('run.span.errors', { count: errors }),
  ]
    .filter(Boolean)
    .join(' · ');
  return (
    <li class={`waterfall-row is-${how} kind-${span.kind}`} style={{ top: `${row * ROW_PX}px` }}>
      <span class="waterfall-label" style={{ paddingLeft: `${Math.min(span.depth, 8) * 14}px` }}>
        {span.children.length > 0 ? (
          <button
            type="button"
            class="waterfall-fold"
            aria-expanded={!isFolded}
            aria-label={t('run.timeline.fold', { name: span.name })}
            onClick={onToggle}
          >
            <span class="tree-caret" aria-hidden="true" />
          </button>
        ) : (
          <span class="waterfall-fold" />
        )}
        <button type="button" class="waterfall-name" title={title} onClick={onJump}>
          <Icon name={ICONS[span.kind]} size={13} />
          <span class="cut">
            <bdi>{span.name}</bdi>
            {where && <span class="soft"> {where}</span>}
            <span class="soft">
              {note}
              {percent}
            </span>
          </span>
          {errors > 0 && <Icon name="alert" size={13} />}
        </button>
      </span>
      <span class="waterfall-track" aria-hidden="true" onClick={onJump}>
        <span class="waterfall-bar" style={{ left: `${left}%`, width: `max(3px, ${width}%)` }}>
          {isMeasured && <span class="waterfall-part" style={{ width: `${span.percent}%` }} />}
        </span>
      </span>
      <span class="waterfall-took numbers small">
        {isOpen ? (
          <Icon name="spinner" size={12} />
        ) : (
          how !== 'ok' && <Icon name={how === 'failed' ? 'cross' : 'ban'} size={12} />
        )}
        {took}
      </span>
    </li>
  );
}

/** Times along the axis, at round seconds. */
function Ticks({ axis }: { axis: Axis }) {
  const length = axis.end - axis.start;
  const rough = length / 5;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1e-3)));
  const step =
    [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough) ?? power * 10;
  const ticks = [];
  for (let at = step; at < length * 0.97 && ticks.length < 8; at += step) ticks.push(at);
  return (
    <span class="waterfall-ticks numbers" aria-hidden="true">
      {ticks.map((at) => (
        <span key={at} style={{ left: `${(at / length) * 100}%` }}>
          {formatDuration(at + 1e-6)}
        </span>
      ))}
    </span>
  );
}
