import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { t } from '../i18n';
import { Button } from './button';

interface DialogProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
  /** Buttons at its foot. */
  readonly actions?: ComponentChildren;
}

/** A dialog over the page: it keeps the focus, Escape closes it, and the focus goes back then. */
export function Dialog({ title, onClose, children, actions }: DialogProps) {
  const box = useRef<HTMLDialogElement>(null);
  // Before the first frame: a dialog that is seen has to hear Escape.
  useLayoutEffect(() => {
    const before = document.activeElement;
    box.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={box}
      class="dialog"
      aria-labelledby="dialog-title"
      onClose={onClose}
      closedby="any"
    >
      <div class="dialog-body">
        <header class="row">
          <h2 id="dialog-title" class="grow">
            {title}
          </h2>
          <Button
            look="bare"
            icon="close"
            label={t('common.close')}
            onClick={() => box.current?.close()}
          />
        </header>
        {children}
        {actions && <footer class="row">{actions}</footer>}
      </div>
    </dialog>
  );
}
