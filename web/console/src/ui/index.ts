export { STATUSES, type Status, StatusBadge } from './badge';
export { Button } from './button';
export { Dialog } from './dialog';
export { EmptyState } from './empty';
export { describedBy, Field, FieldProblem } from './field';
export { Icon, type IconName, Mark } from './icon';
export { Select } from './select';
export { Ago, now, Took, useClock } from './time';
export { Notices, notify } from './toast';
