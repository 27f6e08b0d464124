/** Controls in which something is chosen. */

import { t } from '../i18n';
import type { describedBy } from '../ui';
import { type Draft, write } from './draft';
import type { InputProps } from './inputs';
import { canMiss } from './reading';
import type { ChoiceShape, ChoicesShape, FlagShape } from './shape';

type Attributes = { readonly attributes: ReturnType<typeof describedBy> };

const shown = (value: unknown) => (typeof value === 'string' ? value : write(value));

export function ChoiceInput({
  path,
  label,
  shape,
  draft,
  isRequired,
  onChange,
  attributes,
}: InputProps<ChoiceShape> & Attributes) {
  const { at } = draft as Extract<Draft, { at: unknown }>;
  const none = shape.isNullable ? t('form.nothing') : isRequired ? '' : t('form.default.choice');
  return (
    <select
      {...attributes}
      class="input"
      aria-label={label === null ? path : undefined}
      aria-required={isRequired}
      value={at}
      onChange={(event) => onChange({ at: Number(event.currentTarget.value) })}
    >
      {(at < 0 || shape.isNullable) && <option value={-1}>{none}</option>}
      {shape.values.map((value, each) => (
        <option key={write(value)} value={each}>
          {shown(value)}
        </option>
      ))}
    </select>
  );
}

export function FlagInput({
  path,
  label,
  shape,
  draft,
  isRequired,
  onChange,
  attributes,
}: InputProps<FlagShape> & Attributes) {
  const { flag } = draft as Extract<Draft, { flag: unknown }>;
  const name = label === null ? path : undefined;
  if (!canMiss(shape, isRequired)) {
    return (
      <input
        {...attributes}
        class="check"
        type="checkbox"
        aria-label={name}
        checked={flag === true}
        onChange={(event) => onChange({ flag: event.currentTarget.checked })}
      />
    );
  }
  return (
    <select
      {...attributes}
      class="input"
      aria-label={name}
      value={String(flag)}
      onChange={(event) => onChange({ flag: JSON.parse(event.currentTarget.value) })}
    >
      <option value="null">{t(shape.isNullable ? 'form.nothing' : 'form.default.choice')}</option>
      <option value="true">{t('form.yes')}</option>
      <option value="false">{t('form.no')}</option>
    </select>
  );
}

export function ChoicesInput({ prefix, path, shape, draft, onChange }: InputProps<ChoicesShape>) {
  const { chosen, isOff } = draft as Extract<Draft, { chosen: unknown }>;
  return (
    <div class="ticks">
      {shape.values.map((value, at) => (
        <label key={write(value)} class="row">
          <input
            id={`${prefix}.${path}.${at}`}
            type="checkbox"
            class="check"
            checked={chosen.includes(at)}
            onChange={() =>
              onChange({
                isOff,
                chosen: chosen.includes(at)
                  ? chosen.filter((each) => each !== at)
                  : [...chosen, at].sort((a, b) => a - b),
              })
            }
          />
          {shown(value)}
        </label>
      ))}
    </div>
  );
}
