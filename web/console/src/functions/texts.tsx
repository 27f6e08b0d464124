/** Controls in which something is typed. */

import { t } from '../i18n';
import { formatBytes } from '../i18n/format';
import type { describedBy } from '../ui';
import type { Draft } from './draft';
import type { InputProps } from './inputs';
import type { Format, NumberShape, TextShape } from './shape';
import { defaultOf } from './words';

type Attributes = { readonly attributes: ReturnType<typeof describedBy> };
type Typed = Extract<Draft, { text: unknown }>;

const EXAMPLES: Partial<Record<Format, string>> = {
  date: '2025-01-31',
  'date-time': '2025-01-31T09:00:00Z',
  time: '09:00:00',
  duration: 'PT90S',
  uuid: '123e4567-e89b-12d3-a456-426614174000',
};
const MOST_ROWS = 14;

export function TextInput({
  label,
  path,
  shape,
  draft,
  isRequired,
  onChange,
  attributes,
}: InputProps<TextShape> & Attributes) {
  const { text } = draft as Typed;
  const change = (event: { currentTarget: { value: string } }) =>
    onChange({ text: event.currentTarget.value });
  const shared = {
    ...attributes,
    ...named(label, path),
    class: 'input',
    value: text,
    autocomplete: shape.format === 'password' ? 'new-password' : 'off',
    placeholder: defaultOf(shape) ?? EXAMPLES[shape.format],
    'aria-required': isRequired,
    onInput: change,
  } as const;
  if (shape.format === 'bytes') return <BytesInput {...{ shared, text, onChange }} />;
  if (shape.format === 'password') return <input type="password" {...shared} />;
  // A picker shows nothing of a text that is no date.
  if (shape.format === 'date' && /^(\d{4}-\d\d-\d\d)?$/.test(text)) {
    return <input type="date" {...shared} />;
  }
  if (shape.format !== 'long' && !text.includes('\n')) {
    return <input type="text" spellcheck={false} {...shared} />;
  }
  const rows = Math.min(MOST_ROWS, Math.max(3, text.split('\n').length + 1));
  return <textarea rows={rows} {...shared} />;
}

export function NumberInput({
  label,
  path,
  shape,
  draft,
  isRequired,
  onChange,
  attributes,
}: InputProps<NumberShape> & Attributes) {
  return (
    // Not type=number, which drops what it cannot read, and digits beyond the sixteenth.
    <input
      {...attributes}
      {...named(label, path)}
      class="input numbers"
      inputMode={shape.isWhole && (shape.least ?? -1) >= 0 ? 'numeric' : 'text'}
      autocomplete="off"
      value={(draft as Typed).text}
      placeholder={defaultOf(shape)}
      aria-required={isRequired}
      onInput={(event) => onChange({ text: event.currentTarget.value })}
    />
  );
}

export function JsonInput({
  label,
  path,
  shape,
  draft,
  isRequired,
  onChange,
  attributes,
}: InputProps & Attributes) {
  const { text } = draft as Typed;
  const rows = Math.min(MOST_ROWS, Math.max(2, text.split('\n').length));
  return (
    <textarea
      {...attributes}
      {...named(label, path)}
      class="input mono"
      rows={rows}
      spellcheck={false}
      value={text}
      placeholder={defaultOf(shape) ?? '{"…": …}'}
      aria-required={isRequired}
      onInput={(event) => onChange({ text: event.currentTarget.value })}
    />
  );
}

function BytesInput({
  shared,
  text,
  onChange,
}: {
  shared: object;
  text: string;
  onChange: (draft: Draft) => void;
}) {
  const take = async (file: File | undefined) => {
    if (!file) return;
    const reader = new FileReader();
    reader.onload = () => {
      const address = String(reader.result);
      onChange({ text: address.slice(address.indexOf(',') + 1) });
    };
    reader.readAsDataURL(file);
  };
  return (
    <div class="row">
      <input type="text" spellcheck={false} {...shared} />
      <label class="button">
        {t('form.bytes.choose')}
        <input
          class="unseen"
          type="file"
          onChange={(event) => void take(event.currentTarget.files?.[0])}
        />
      </label>
      {text && (
        <span class="soft small">{t('form.bytes.size', { size: formatBytes(text.length) })}</span>
      )}
    </div>
  );
}

/** An item of a list has no label of its own: its place names it. */
function named(label: string | null, path: string): { 'aria-label'?: string } {
  return label === null ? { 'aria-label': path.replaceAll('.', ' ') } : {};
}
