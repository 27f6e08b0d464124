import type { ComponentChildren } from 'preact';
import { Icon, type IconName } from './icon';

interface EmptyProps {
  readonly icon: IconName;
  readonly title: string;
  readonly children?: ComponentChildren;
}

/** What a view shows that has nothing to show: why, and what can be done. */
export function EmptyState({ icon, title, children }: EmptyProps) {
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={icon} size={20} />
      </span>
      <h2>{title}</h2>
      {children && <div class="soft">{children}</div>}
    </div>
  );
}
