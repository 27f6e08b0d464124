import type { ComponentChildren } from 'preact';
import { t } from '../../i18n';
import { formatPercent } from '../../i18n/format';
import { Button, Icon, type IconName } from '../../ui';
import type { RunState } from '../model/state';
import { MAX_HELD, type RunSession } from '../session';

/** What a person must know about what they see: failures, losses, lost connections. */
export function Notices({ session, state }: { session: RunSession; state: RunState }) {
  const { link } = session;
  const { info } = session;
  const isPast = session.cursor.value !== null;
  const { failure } = state;
  return (
    <div class="run-notices" role="status" aria-live="polite">
      {link.value.state === 'reconnecting' && (
        <Note icon="redo" tone="warn">
          {t('link.reconnecting.why', { why: link.value.why })}
        </Note>
      )}
      {link.value.state === 'live' && link.value.isResumed && (
        <Note icon="check" tone="good">
          {t('run.resumed')}
        </Note>
      )}
      {session.notices.value.map((notice, at) => (
        <Note
          key={at}
          icon="alert"
          tone="warn"
          onClose={() => {
            session.notices.value = session.notices.value.filter((each) => each !== notice);
          }}
        >
          {t(`run.notice.${notice.key}`, notice.values)}
        </Note>
      ))}
      {session.log.lost.length > 0 && (
        <Note icon="alert" tone="warn">
          {t('run.lost.all', {
            count: session.log.lost.reduce((sum, each) => sum + each.count, 0),
          })}
        </Note>
      )}
      {failure && (
        <Note icon="cross" tone="bad">
          <strong>
            <bdi>{failure.message || t('status.failed')}</bdi>
          </strong>{' '}
          {failure.code && <code>{failure.code}</code>}
          {!isPast && info?.traceback ? (
            <details class="traceback">
              <summary>{t('run.traceback')}</summary>
              {/* biome-ignore lint/a11y/noNoninteractiveTabindex: who has no mouse scrolls it by the keyboard */}
              <pre tabIndex={0}>{info.traceback}</pre>
            </details>
          ) : (
            isLogged(failure) &&
            info && <div class="small">{t('run.traceback.where', { run: info.run_id })}</div>
          )}
        </Note>
      )}
      {state.status === 'cancelled' && (
        <Note icon="ban" tone="plain">
          {t('run.cancelled', { reason: state.cancel_reason })}
        </Note>
      )}
    </div>
  );
}

/** Whether the log of the server has the traceback of a failure; a RunFailed has none there. */
function isLogged({ message = '', code = '' }: NonNullable<RunState['failure']>): boolean {
  const forms: Readonly<Record<string, RegExp>> = {
    function_error: /^the function raised /,
    out_of_memory: /^the function /,
    import_failed: /^it cannot be imported: /,
    interrupted: /^the run was interrupted/,
  };
  return Object.hasOwn(forms, code) && (forms[code]?.test(message) ?? false);
}

interface NoteProps {
  readonly icon: IconName;
  readonly tone: 'plain' | 'warn' | 'bad' | 'good';
  readonly children: ComponentChildren;
  readonly onClose?: () => void;
}

function Note({ icon, tone, children, onClose }: NoteProps) {
  return (
    <div class={`run-note tone-${tone}`}>
      <Icon name={icon} />
      <div class="grow">{children}</div>
      {onClose && <Button look="bare" icon="close" label={t('common.dismiss')} onClick={onClose} />}
    </div>
  );
}

/** States what is not loaded, and loads it. */
export function Missing({ session }: { session: RunSession }) {
  const { missingBefore, trimmedTo, loading } = session;
  if (missingBefore <= 0 || !session.head) return null;
  const isGone = trimmedTo >= missingBefore;
  const isFull = session.log.events.length >= MAX_HELD;
  return (
    <div class="missing">
      <Icon name="alert" size={14} />
      <span>
        {isGone
          ? t('run.trimmed', { count: missingBefore })
          : t('run.missing', { count: missingBefore })}
        {isFull && !isGone && ` ${t('run.full', { count: MAX_HELD })}`}
      </span>
      {!isGone &&
        !isFull &&
        (loading.value === null ? (
          <>
            <Button onClick={() => void session.loadEarlier()}>{t('run.load.earlier')}</Button>
            <Button onClick={() => void session.loadEarlier({ all: true })}>
              {t('run.load.all')}
            </Button>
          </>
        ) : (
          <span class="numbers" role="status">
            {t('run.loading', { percent: formatPercent(loading.value * 100) })}
          </span>
        ))}
    </div>
  );
}
