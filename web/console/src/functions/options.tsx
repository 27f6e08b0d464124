/** What else a person may choose about a run: its id and its labels. */

import { t } from '../i18n';
import { Button, describedBy, Field } from '../ui';
import type { Problems } from './reading';
import type { FormDraft } from './store';

const RUN_ID = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$/;

export function optionProblems(draft: FormDraft): Problems {
  const wrong = new Map<string, string>();
  if (draft.runId && !RUN_ID.test(draft.runId)) wrong.set('option.id', t('form.option.id.wrong'));
  const names = new Set<string>();
  draft.labels.forEach(({ name }, at) => {
    const path = `option.labels.${at}`;
    if (!name.trim()) wrong.set(path, t('form.required'));
    else if (names.has(name.trim())) wrong.set(path, t('form.twice', { name }));
    names.add(name.trim());
  });
  return wrong;
}

export function Options({
  prefix,
  draft,
  problems,
  onChange,
}: {
  readonly prefix: string;
  readonly draft: FormDraft;
  readonly problems: Problems;
  readonly onChange: (changed: Partial<FormDraft>) => void;
}) {
  const { runId, labels } = draft;
  const id = `${prefix}.option.id`;
  const problem = problems.get('option.id');
  const isUsed = runId !== '' || labels.length > 0 || problem !== undefined;
  return (
    <details class="options" open={isUsed}>
      <summary>{t('form.group.options')}</summary>
      <div class="stack">
        <Field
          {...{ id, problem }}
          label={t('form.option.id')}
          help={t('form.option.id.help')}
          required={false}
        >
          <input
            {...describedBy(id, true, problem)}
            class="input mono"
            autocomplete="off"
            spellcheck={false}
            value={runId}
            onInput={(event) => onChange({ runId: event.currentTarget.value.trim() })}
          />
        </Field>
        <fieldset class="group">
          <legend class="field-head">
            <span class="group-name">{t('form.option.labels')}</span>
            <span class="soft small">{t('common.optional')}</span>
          </legend>
          <div class="soft small">{t('form.option.labels.help')}</div>
          {labels.map((label, at) => {
            const path = `option.labels.${at}`;
            const put = (changed: Partial<typeof label>) =>
              onChange({ labels: labels.with(at, { ...label, ...changed }) });
            return (
              <div key={at}>
                <div class="entry">
                  <input
                    {...describedBy(`${prefix}.${path}`, false, problems.get(path))}
                    class="input entry-name"
                    aria-label={`${t('form.entry.name')} ${at + 1}`}
                    placeholder={t('form.entry.name')}
                    value={label.name}
                    onInput={(event) => put({ name: event.currentTarget.value })}
                  />
                  <input
                    class="input grow"
                    aria-label={`${t('form.entry.value')} ${at + 1}`}
                    placeholder={t('form.entry.value')}
                    value={label.value}
                    onInput={(event) => put({ value: event.currentTarget.value })}
                  />
                  <Button
                    look="bare"
                    icon="trash"
                    label={t('form.remove', { count: at + 1 })}
                    onClick={() => onChange({ labels: labels.toSpliced(at, 1) })}
                  />
                </div>
                <div class="field-problem small" id={`${prefix}.${path}-problem`}>
                  {problems.get(path)}
                </div>
              </div>
            );
          })}
          <div>
            <Button
              icon="plus"
              onClick={() =>
                onChange({
                  labels: [...labels, { name: labels.length ? '' : 'thread', value: '' }],
                })
              }
            >
              {t('form.add')}
            </Button>
          </div>
        </fieldset>
      </div>
    </details>
  );
}
