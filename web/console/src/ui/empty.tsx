import type { ComponentChildren } from 'preact';
import { Icon, type IconName } from './icon';

interface EmptyProps {
  readonly icon: IconName;
  readonly title: string;
  /** Whether it is all that the page shows, so that its title is the page's. */
  readonly isPage?: boolean;
  readonly children?: ComponentChildren;
}

/** What a view shows that has nothing to show: why, and what can be done. */
export function EmptyState({ icon, title, isPage = false, children }: EmptyProps) {
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={icon} size={20} />
      </span>
      {isPage ? <h1 tabIndex={-1}>{title}</h1> : <h2>{title}</h2>}
      {children && <div class="soft">{children}</div>}
    </div>
  );
}
