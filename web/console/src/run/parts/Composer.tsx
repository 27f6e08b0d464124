import { useState } from 'preact/hooks';
import { remembered } from '../../data/remembered';
import { t } from '../../i18n';
import { Button } from '../../ui';
import type { RunActions } from '../actions';
import { loadDraft, saveDraft } from '../drafts';
import type { RunSession } from '../session';

/** The most characters of a message; the server takes 16 KiB of JSON. */
const MAX_CHARS = 16_000;

/** Whether a message was begun and not sent. */
export const hasDraft = ({ info, epoch }: RunSession): boolean =>
  loadDraft(info?.run_id ?? '', epoch, 'message') !== '';

/** Sends a message into a running run. What is typed stays until the server has it. */
export function Composer({ session, actions }: { session: RunSession; actions: RunActions }) {
  const place = [session.info?.run_id ?? '', session.epoch, 'message'] as const;
  const [text, setText] = useState(() => loadDraft(...place));
  // The same id for each try, so that a message whose answer was lost is stored once.
  const [id, setId] = useState(newId);
  const [isBusy, setBusy] = useState(false);
  const unread = session.head?.messages.length ?? 0;
  const type = (typed: string): void => {
    setText(typed);
    saveDraft(typed, ...place);
  };
  const send = async (): Promise<void> => {
    if (!text.trim() || isBusy) return;
    setBusy(true);
    const isSent = await actions.attempt(() => actions.send(text, id, remembered('name') ?? ''));
    setBusy(false);
    if (!isSent) return;
    type('');
    setId(newId());
  };
  return (
    <form
      class="composer panel"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <textarea
        class="input"
        rows={1}
        maxLength={MAX_CHARS}
        value={text}
        placeholder={t('run.message.placeholder')}
        aria-label={t('run.message.placeholder')}
        onInput={(event) => type(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          void send();
        }}
      />
      {unread > 0 && (
        <span class="small soft composer-unread">{t('run.message.unread', { count: unread })}</span>
      )}
      <Button
        type="submit"
        look="primary"
        icon="send"
        busy={isBusy}
        disabled={!text.trim()}
        label={t('run.message.send')}
      />
    </form>
  );
}

const newId = (): string =>
  `c-${Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36)).join('')}`;
