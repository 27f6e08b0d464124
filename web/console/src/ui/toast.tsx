import { signal } from '@preact/signals';
import { t } from '../i18n';
import { Button } from './button';
import { Icon, type IconName } from './icon';

interface Notice {
  readonly id: number;
  readonly text: string;
  readonly tone: Tone;
  readonly action: Action | undefined;
}

/** A button in a notice, such as one that takes back what was done. */
interface Action {
  readonly text: string;
  readonly act: () => void;
}

type Tone = 'plain' | 'good' | 'bad';

const ICONS: Readonly<Record<Tone, IconName>> = { plain: 'bolt', good: 'check', bad: 'alert' };
/** How long a notice stays. One that reports a fault or a loss stays until it is dismissed. */
const STAYS_MS = 6000;
/** More of them would cover the page; the oldest goes. */
const MOST = 4;

const notices = signal<readonly Notice[]>([]);
let count = 0;

/** Show a short notice, and have screen readers say it. */
export function notify(text: string, tone: Tone = 'plain', action?: Action): void {
  const id = ++count;
  const others = notices.value.filter((each) => each.text !== text);
  notices.value = [...others, { id, text, tone, action }].slice(-MOST);
  if (tone !== 'bad') setTimeout(() => dismiss(id), STAYS_MS);
}

function dismiss(id: number): void {
  notices.value = notices.value.filter((each) => each.id !== id);
}

export function Notices() {
  return (
    <div class="notices" role="status" aria-live="polite">
      {notices.value.map((each) => (
        <div key={each.id} class={`notice ${each.tone}`}>
          <Icon name={ICONS[each.tone]} />
          <span class="grow">{each.text}</span>
          {each.action && (
            <Button
              onClick={() => {
                each.action?.act();
                dismiss(each.id);
              }}
            >
              {each.action.text}
            </Button>
          )}
          <Button
            look="bare"
            icon="close"
            label={t('common.dismiss')}
            onClick={() => dismiss(each.id)}
          />
        </div>
      ))}
    </div>
  );
}
