/** Files for a run: chosen or dropped, and uploaded at once, so that a reload loses none. */

import type { FileGroup, Upload } from '@runcast/client';
import { useRef, useState } from 'preact/hooks';
import { client } from '../data/client';
import { t } from '../i18n';
import { formatBytes } from '../i18n/format';
import { Button, describedBy, Field, Icon } from '../ui';

interface FilesProps {
  readonly prefix: string;
  readonly group: FileGroup;
  readonly files: readonly Upload[];
  readonly problem: string | undefined;
  /** Changes the list as it is when the change is made: uploads end at any time. */
  readonly onChange: (change: (files: readonly Upload[]) => readonly Upload[]) => void;
  /** Reports how many uploads began or ended. */
  readonly onBusy: (change: 1 | -1) => void;
}

interface Pending {
  readonly id: number;
  readonly file: File;
  readonly problem: string;
}

let count = 0;

export function FilesInput({ prefix, group, files, problem, onChange, onBusy }: FilesProps) {
  const id = `${prefix}.files.${group.key}`;
  const [pending, setPending] = useState<readonly Pending[]>([]);
  const [isOver, setOver] = useState(false);
  const turn = useRef(Promise.resolve());

  const upload = async (entry: Pending) => {
    try {
      const uploaded = await client.upload(entry.file);
      const isOne = group.most === 1;
      onChange((present) => (isOne ? [uploaded] : [...present, uploaded]));
      setPending((present) => present.filter((each) => each.id !== entry.id));
    } catch (error) {
      const told = error instanceof Error ? error.message : String(error);
      setPending((all) =>
        all.map((each) => (each.id === entry.id ? { ...each, problem: told } : each)),
      );
    } finally {
      onBusy(-1);
    }
  };
  const take = (list: FileList | null | undefined) => {
    const chosen = [...(list ?? [])].slice(0, group.most === 1 ? 1 : undefined);
    const added = chosen.map((file) => ({ id: ++count, file, problem: '' }));
    setPending((present) => [...present.filter((each) => !each.problem), ...added]);
    for (const entry of added) {
      onBusy(1);
      // One by one, because a server takes a bounded number of uploads at once.
      turn.current = turn.current.then(() => upload(entry));
    }
  };

  const described = describedBy(id, group.description, problem);
  const isOne = group.most === 1;
  return (
    <Field
      {...{ id, problem }}
      label={group.key}
      hint={t(isOne ? 'form.type.file' : 'form.type.files')}
      help={group.description}
      required={group.required}
    >
      <fieldset
        aria-label={group.key}
        class={`drop ${isOver ? 'over' : ''}`}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          take(event.dataTransfer?.files);
        }}
      >
        <Icon name="upload" />
        <span class="soft">{t('files.drop')}</span>
        <label class="button">
          {t('files.choose')}
          <input
            {...described}
            class="unseen"
            type="file"
            multiple={!isOne}
            onChange={(event) => {
              take(event.currentTarget.files);
              event.currentTarget.value = ''; // the same file may be chosen again
            }}
          />
        </label>
      </fieldset>
      <ul class="file-list">
        {files.map((file) => (
          <li key={file.upload_id} class="row">
            <Icon name="file" />
            <span class="grow cut">{file.name}</span>
            <span class="soft small numbers">{formatBytes(file.size)}</span>
            {file.expires_at < Date.now() / 1000 && (
              <span class="bad small">{t('files.expired')}</span>
            )}
            <Button
              look="bare"
              icon="close"
              label={t('files.remove', { name: file.name })}
              onClick={() => {
                onChange((present) => present.filter((it) => it.upload_id !== file.upload_id));
              }}
            />
          </li>
        ))}
        {pending.map(({ id: key, file, problem: told }) => (
          <li key={key} class="row">
            <Icon name={told ? 'alert' : 'spinner'} />
            <span class="grow cut">{file.name}</span>
            <span class={`small ${told ? 'bad' : 'soft'}`}>{told || t('files.uploading')}</span>
          </li>
        ))}
      </ul>
    </Field>
  );
}

/** Drop of files beside a field would open them in place of the console. */
export function keepDropsInside(): void {
  for (const kind of ['dragover', 'drop'] as const) {
    addEventListener(kind, (event) => event.preventDefault());
  }
}
