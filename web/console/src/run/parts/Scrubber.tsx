import { useMemo, useRef } from 'preact/hooks';
import { t } from '../../i18n';
import { formatClock, formatDuration, formatNumber } from '../../i18n/format';
import { Button, Select } from '../../ui';
import type { RunLog } from '../model/log';
import { SPEEDS, seekByKey } from '../model/player';
import type { Marker } from '../model/timeline';
import type { RunSession } from '../session';

/** Columns of the picture of how much happened when. */
const COLUMNS = 120;

/** The span of time that a run's pictures show. */
export interface Axis {
  readonly start: number;
  readonly end: number;
}

/** Where a time is on an axis, in percent. */
export const placeOn = (axis: Axis, time: number): number =>
  Math.min(100, Math.max(0, ((time - axis.start) / Math.max(0.001, axis.end - axis.start)) * 100));

/** Goes back through a run, and plays it. */
export function Scrubber({ session, axis }: { session: RunSession; axis: Axis }) {
  const { log, index } = session;
  const { markers } = index.timeline;
  const track = useRef<HTMLDivElement>(null);
  const isPast = session.cursor.value !== null;
  const { seq } = session;
  const time = session.clock.value || (isPast ? log.timeAt(seq) : axis.end);

  const seekTo = (x: number): void => {
    const box = track.current?.getBoundingClientRect();
    if (!box) return;
    const share = Math.min(1, Math.max(0, (x - box.left) / Math.max(1, box.width)));
    const wanted = axis.start + share * (axis.end - axis.start);
    session.seek(share >= 0.998 ? null : Math.max(log.first, log.seqAt(wanted)));
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === ' ' || event.key === 'k') {
      event.preventDefault();
      if (session.isPlaying.value) session.pause();
      else session.play();
      return;
    }
    const wanted = seekByKey(log, seq, event.key, markers);
    if (wanted === undefined) return;
    event.preventDefault();
    session.isPlaying.value = false;
    session.clock.value = 0;
    session.seek(wanted);
  };
  const at = placeOn(axis, time);
  const count = log.countTo(seq);
  const said = t('run.scrubber.at', {
    time: formatDuration(time - axis.start),
    of: formatDuration(axis.end - axis.start),
    event: formatNumber(seq),
    events: formatNumber(Math.max(log.last, session.head?.seq ?? 0)),
  });
  return (
    <div class="scrubber">
      <div class="scrubber-buttons">
        {session.isPlaying.value ? (
          <Button
            look="bare"
            icon="pause"
            label={t('run.scrubber.pause')}
            onClick={() => session.pause()}
          />
        ) : (
          <Button
            look="bare"
            icon="play"
            label={t('run.scrubber.play')}
            disabled={log.events.length === 0}
            onClick={() => session.play()}
          />
        )}
        <Select
          class="scrubber-speed numbers"
          label={t('run.scrubber.speed')}
          value={String(session.speed.value)}
          choices={SPEEDS.map((speed) => [String(speed), `${formatNumber(speed)}×`])}
          onChoose={(speed) => {
            session.speed.value = Number(speed);
          }}
        />
        <span class="scrubber-time numbers small" title={said}>
          {formatDuration(time - axis.start)}
        </span>
        {isPast ? (
          <Button look="bare" class="scrubber-now small" onClick={() => session.pause(null)}>
            {session.isLive ? t('run.scrubber.live') : t('run.scrubber.end')}
          </Button>
        ) : (
          <span class="scrubber-now small soft">
            {session.isLive ? t('run.scrubber.following') : t('run.scrubber.newest')}
          </span>
        )}
      </div>
      <div
        ref={track}
        class="scrubber-track"
        role="slider"
        tabIndex={0}
        aria-label={t('run.scrubber')}
        aria-valuemin={0}
        aria-valuemax={log.events.length}
        aria-valuenow={count}
        aria-valuetext={said}
        onKeyDown={onKey}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          session.isPlaying.value = false;
          session.clock.value = 0;
          seekTo(event.clientX);
        }}
        onPointerMove={(event) => {
          if (event.currentTarget.hasPointerCapture(event.pointerId)) seekTo(event.clientX);
        }}
      >
        <Density log={log} axis={axis} at={at} />
        <Markers markers={markers} axis={axis} session={session} />
        <span class="scrubber-head" style={{ left: `${at}%` }} />
        {log.lost.map((lost) => (
          <span
            key={lost.after}
            class="scrubber-lost"
            style={{ left: `${placeOn(axis, log.timeAt(lost.after))}%` }}
            title={t('run.lost', { count: lost.count })}
          />
        ))}
      </div>
    </div>
  );
}

/** A picture of how many events there are when: where the run was busy. */
function Density({ log, axis, at }: { log: RunLog; axis: Axis; at: number }) {
  // Drawn again when a fiftieth more is there, not for each event.
  const size = Math.floor(Math.log(log.events.length + 1) * 50);
  const isGrowing = Math.floor((axis.end - axis.start) * 2);
  const path = useMemo(() => densityPath(log, axis), [log, log.epoch, size, isGrowing]);
  return (
    <svg
      class="scrubber-density"
      viewBox={`0 0 ${COLUMNS} 20`}
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      <path d={path} class="density-after" />
      <svg
        aria-hidden="true"
        x="0"
        y="0"
        width={(at / 100) * COLUMNS}
        height="20"
        viewBox={`0 0 ${(at / 100) * COLUMNS || 0.001} 20`}
        preserveAspectRatio="none"
      >
        <path d={path} class="density-before" />
      </svg>
    </svg>
  );
}

function densityPath(log: RunLog, axis: Axis): string {
  const width = Math.max(0.001, axis.end - axis.start) / COLUMNS;
  const counts: number[] = [];
  let before = 0;
  for (let column = 1; column <= COLUMNS; column += 1) {
    const count = log.countTo(log.seqAt(axis.start + column * width));
    counts.push(count - before);
    before = count;
  }
  const most = Math.log1p(Math.max(1, ...counts));
  return counts
    .map((count, column) => {
      const height = count === 0 ? 0.6 : 2 + (Math.log1p(count) / most) * 16;
      return `M${column + 0.1} 20v${-height.toFixed(2)}h0.8v${height.toFixed(2)}z`;
    })
    .join('');
}

function Markers({
  markers,
  axis,
  session,
}: {
  markers: readonly Marker[];
  axis: Axis;
  session: RunSession;
}) {
  // Many markers at one place are drawn once: the page would be slow, and nobody would see more.
  const shown = new Map<string, Marker>();
  for (const marker of markers) {
    if (marker.kind === 'step' && markers.length > 200) continue;
    shown.set(`${marker.kind} ${Math.round(placeOn(axis, marker.time) * 4)}`, marker);
  }
  return (
    <>
      {[...shown].slice(0, 400).map(([key, marker]) => (
        <span
          key={key}
          class={`marker marker-${marker.kind} ${marker.seq > session.seq ? 'is-later' : ''}`}
          style={{ left: `${placeOn(axis, marker.time)}%` }}
          title={`${t(`run.marker.${marker.kind}`)}: ${marker.text} · ${formatClock(marker.time)}`}
        />
      ))}
    </>
  );
}
