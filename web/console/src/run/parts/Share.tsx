import { useEffect, useState } from 'preact/hooks';
import { t } from '../../i18n';
import { formatDateTime } from '../../i18n/format';
import { Button, Dialog, Field, Icon, Select } from '../../ui';
import type { Link, RunActions } from '../actions';

const HOUR_S = 3600;
const TIMES = { hour: HOUR_S, day: 24 * HOUR_S, week: 7 * 24 * HOUR_S, month: 30 * 24 * HOUR_S };
type Time = keyof typeof TIMES;

/** Makes links that show the run to others, and revokes them. A link's address is shown once. */
export function Share({ actions, onClose }: { actions: RunActions; onClose: () => void }) {
  const [time, setTime] = useState<Time>('week');
  const [withFiles, setWithFiles] = useState(false);
  const [made, setMade] = useState('');
  const [isCopied, setCopied] = useState(false);
  const [links, setLinks] = useState<readonly Link[]>([]);
  const [isBusy, setBusy] = useState(false);
  const load = () => actions.attempt(async () => setLinks(await actions.links.list()));
  useEffect(() => void load(), []);
  const make = async (): Promise<void> => {
    setBusy(true);
    await actions.attempt(async () => {
      const { url } = await actions.links.make(TIMES[time], withFiles);
      setMade(url);
      setCopied(false);
    });
    setBusy(false);
    await load();
  };
  const copy = async (): Promise<void> => {
    await navigator.clipboard?.writeText(made);
    setCopied(true);
  };
  return (
    <Dialog title={t('run.share.title')} onClose={onClose}>
      <p class="soft">{t('run.share.text')}</p>
      <div class="share-new">
        <Field id="share-time" label={t('run.share.expires')}>
          <Select
            id="share-time"
            value={time}
            choices={(Object.keys(TIMES) as Time[]).map((each) => [each, t(`run.share.${each}`)])}
            onChoose={(each) => setTime(each as Time)}
          />
        </Field>
        <label class="row">
          <input
            type="checkbox"
            checked={withFiles}
            onChange={(event) => setWithFiles(event.currentTarget.checked)}
          />
          {t('run.share.files')}
        </label>
        <Button look="primary" icon="link" busy={isBusy} onClick={() => void make()}>
          {t('run.share.make')}
        </Button>
      </div>
      {made && (
        <div class="row">
          <input
            class="input mono"
            readOnly
            value={made}
            aria-label={t('run.share.address')}
            onFocus={(event) => event.currentTarget.select()}
          />
          <Button icon={isCopied ? 'check' : 'copy'} onClick={() => void copy()}>
            {t(isCopied ? 'common.copied' : 'common.copy')}
          </Button>
        </div>
      )}
      {made && <p class="small soft">{t('run.share.once')}</p>}
      {links.length > 0 && (
        <ul class="share-links" aria-label={t('run.share.links')}>
          {links.map((link) => (
            <li key={link.link_id} class="row">
              <Icon name="link" size={14} />
              <span class="grow small">
                {t('run.share.until', { time: formatDateTime(link.expires_at) })}
                {link.files && ` · ${t('run.tab.files')}`}
                {link.by && ` · ${t('run.answer.by', { name: link.by })}`}
              </span>
              <Button
                look="danger"
                onClick={() =>
                  void actions.attempt(() => actions.links.revoke(link.link_id)).then(() => load())
                }
              >
                {t('run.share.revoke')}
              </Button>
            </li>
          ))}
        </ul>
      )}
    </Dialog>
  );
}
