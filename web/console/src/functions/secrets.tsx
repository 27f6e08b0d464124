/** Secrets that a function needs. They live in the page alone, and go with one run. */

import type { SecretInfo } from '@runcast/client';
import { useState } from 'preact/hooks';
import { t } from '../i18n';
import { describedBy, Field } from '../ui';

type Values = Readonly<Record<string, string>>;

/** What was typed, by function, while other views are shown. */
const typed = new Map<string, Values>();

/** The secrets of a function's form, and how to change them. */
export function useSecrets(name: string): [Values, (values: Values) => void] {
  const [values, setValues] = useState<Values>(() => typed.get(name) ?? {});
  const change = (changed: Values) => {
    typed.set(name, changed);
    setValues(changed);
  };
  return [values, change];
}

export function SecretsInput({
  prefix,
  secrets,
  values,
  onChange,
}: {
  readonly prefix: string;
  readonly secrets: readonly SecretInfo[];
  readonly values: Values;
  readonly onChange: (values: Values) => void;
}) {
  if (secrets.length === 0) return null;
  return (
    <fieldset class="group">
      <legend class="group-name">{t('form.group.secrets')}</legend>
      <div class="soft small">{t('form.secret.help')}</div>
      <div class="group-body">
        {secrets.map(({ name, description, required }) => {
          const id = `${prefix}.secrets.${name}`;
          return (
            <Field
              key={name}
              id={id}
              label={name}
              hint={t('form.type.password')}
              help={description}
              required={required}
            >
              <input
                {...describedBy(id, description, undefined)}
                class="input"
                type="password"
                autocomplete="off"
                value={values[name] ?? ''}
                onInput={(event) => onChange({ ...values, [name]: event.currentTarget.value })}
              />
            </Field>
          );
        })}
      </div>
    </fieldset>
  );
}
