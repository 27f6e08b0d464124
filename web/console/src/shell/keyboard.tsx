/** Shortcuts, and the dialog that lists them. They are off while something is typed. */

import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { type Key, t } from '../i18n';
import { Dialog } from '../ui/dialog';

interface Shortcut {
  /** Keys as `KeyboardEvent.key` names them; two of them are pressed one after the other. */
  readonly keys: string;
  readonly text: Key;
  readonly act: () => void;
}

const shortcuts = signal<readonly Shortcut[]>([]);
export const isHelpOpen = signal(false);
/** How long the first key of two counts. */
const CHORD_MS = 1000;

/** Offer shortcuts while a component is shown. `keys` is like `g r`, `/` or `?`. */
export function useShortcuts(offered: readonly Shortcut[]): void {
  useEffect(
    () => {
      shortcuts.value = [...shortcuts.value, ...offered];
      return () => {
        shortcuts.value = shortcuts.value.filter((each) => !offered.includes(each));
      };
    },
    offered.flatMap((each) => [each.keys, each.text, each.act]),
  );
}

let pending = '';
let pendingAt = 0;

export function listenToKeys(): void {
  addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target;
    if (target instanceof HTMLElement && isTyping(target)) return;
    if (document.querySelector('dialog[open]')) return;
    const isChord = pending && event.timeStamp - pendingAt < CHORD_MS;
    const keys = isChord ? `${pending} ${event.key}` : event.key;
    pending = '';
    const found = shortcuts.value.findLast((each) => each.keys === keys);
    if (found) {
      event.preventDefault();
      found.act();
    } else if (shortcuts.value.some((each) => each.keys.startsWith(`${event.key} `))) {
      pending = event.key;
      pendingAt = event.timeStamp;
    }
  });
}

function isTyping(target: HTMLElement): boolean {
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

export function KeyboardHelp() {
  if (!isHelpOpen.value) return null;
  return (
    <Dialog
      title={t('keys.title')}
      onClose={() => {
        isHelpOpen.value = false;
      }}
    >
      <dl class="keys">
        {shortcuts.value.map((each) => (
          <div key={each.keys} class="row">
            <dt class="grow">{t(each.text)}</dt>
            <dd>
              {each.keys.split(' ').map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
