import { t } from '../i18n';
import { Icon, type IconName } from './icon';

export type Status = 'queued' | 'running' | 'waiting' | 'done' | 'failed' | 'cancelled';
export const STATUSES: readonly Status[] = [
  'queued',
  'running',
  'waiting',
  'done',
  'failed',
  'cancelled',
];

const ICONS: Readonly<Record<Status, IconName>> = {
  queued: 'clock',
  running: 'spinner',
  waiting: 'question',
  done: 'check',
  failed: 'cross',
  cancelled: 'ban',
};

/** The status of a run: an icon, a word and a colour. */
export function StatusBadge({ status }: { status: Status }) {
  return (
    <span class={`badge status-${status}`}>
      <Icon name={ICONS[status]} size={14} />
      {t(`status.${status}`)}
    </span>
  );
}
