/** One indicator for all streams of the page: is what it shows live? */

import { computed, signal } from '@preact/signals';
import { isReleased } from '../data/release';
import { t } from '../i18n';
import { Icon, type IconName } from '../ui/icon';
import { notify } from '../ui/toast';

export type LinkState = 'connecting' | 'live' | 'paused' | 'reconnecting' | 'idle';

/** What a stream reports to the indicator. */
export interface Link {
  /** Report the state of the stream; `why` says why it reconnects. */
  set(state: LinkState, why?: string): void;
  /** Report that events are lost; the text says how many and why, in the person's language. */
  lose(text: string): void;
  /** The stream is over, and counts no more. */
  close(): void;
}

interface Entry {
  readonly state: LinkState;
  readonly why: string;
}

/** How long the indicator says that a stream was resumed. */
const RESUMED_MS = 4000;
/** The one to tell of, if streams differ. */
const ORDER: readonly LinkState[] = ['reconnecting', 'connecting', 'paused', 'live', 'idle'];

const links = signal<ReadonlyMap<number, Entry>>(new Map());
const isResumed = signal(false);
let count = 0;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Register a stream with the indicator. */
export function openLink(): Link {
  const id = ++count;
  const put = (entry: Entry | null): void => {
    const changed = new Map(links.value);
    if (entry) changed.set(id, entry);
    else changed.delete(id);
    links.value = changed;
  };
  put({ state: 'connecting', why: '' });
  return {
    set(state, why = '') {
      const before = links.value.get(id)?.state;
      if (before === 'reconnecting' && state === 'live') {
        isResumed.value = true;
        clearTimeout(timer);
        timer = setTimeout(() => {
          isResumed.value = false;
        }, RESUMED_MS);
      }
      if (before !== state || links.value.get(id)?.why !== why) put({ state, why });
    },
    lose: (text) => notify(text, 'bad'),
    close: () => put(null),
  };
}

/** The state of the page's streams together, for the indicator. */
export const connection = computed<{ state: LinkState | 'resumed'; why: string }>(() => {
  const entries = [...links.value.values()];
  const worst = ORDER.find((state) => entries.some((each) => each.state === state)) ?? 'idle';
  if (worst === 'reconnecting' && isReleased.value) return { state: 'paused', why: '' };
  const why = entries.find((each) => each.state === worst)?.why ?? '';
  return worst === 'live' && isResumed.value ? { state: 'resumed', why } : { state: worst, why };
});

const ICONS: Readonly<Record<LinkState | 'resumed', IconName>> = {
  connecting: 'spinner',
  live: 'bolt',
  resumed: 'check',
  idle: 'check',
  paused: 'pause',
  reconnecting: 'redo',
};

export function ConnectionIndicator() {
  const { state, why } = connection.value;
  return (
    <span
      class={`link-state link-${state}`}
      role="status"
      title={state === 'reconnecting' ? t('link.reconnecting.why', { why }) : undefined}
    >
      <Icon name={ICONS[state]} size={14} />
      <span class="link-word">{t(`link.${state}`)}</span>
    </span>
  );
}
