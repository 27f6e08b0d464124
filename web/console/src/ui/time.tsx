import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { formatAgo, formatDateTime, formatDuration } from '../i18n/format';

/** The time, in Unix seconds; it moves once a second while something shows it. */
export const now = signal(Date.now() / 1000);
let shown = 0;
let timer: ReturnType<typeof setInterval> | undefined;

/** Keep `now` moving while the component is shown. */
export function useClock(isMoving = true): void {
  useEffect(() => {
    if (!isMoving) return;
    if (shown++ === 0) {
      now.value = Date.now() / 1000;
      timer = setInterval(() => {
        now.value = Date.now() / 1000;
      }, 1000);
    }
    return () => {
      if (--shown === 0) clearInterval(timer);
    };
  }, [isMoving]);
}

/** How long ago something was; its date and time are the tooltip. */
export function Ago({ time }: { time: number }) {
  useClock();
  return (
    <time dateTime={new Date(time * 1000).toISOString()} title={formatDateTime(time)}>
      {formatAgo(time, now.value)}
    </time>
  );
}

/** How long something took, or takes so far if `until` is missing. */
export function Took({ from, until }: { from: number; until?: number | null | undefined }) {
  const isOpen = until === undefined || until === null;
  useClock(isOpen);
  const took = (isOpen ? now.value : until) - from;
  return <span class="numbers">{formatDuration(isOpen ? Math.floor(took) : took)}</span>;
}
