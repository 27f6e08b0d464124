/** One control for each kind of shape. What is typed is kept as it was typed. */

import type { ComponentChildren } from 'preact';
import { t } from '../i18n';
import { Button, describedBy, Field, FieldProblem, Select } from '../ui';
import { ChoiceInput, ChoicesInput, FlagInput } from './choices';
import { type Draft, draftOf } from './draft';
import { canMiss, inside, type Problems } from './reading';
import type { Shape } from './shape';
import { JsonInput, NumberInput, TextInput } from './texts';
import { hintOf } from './words';

export interface InputProps<S extends Shape = Shape> {
  /** The beginning of the ids in this form. */
  readonly prefix: string;
  /** Where the value is, like `owner.name`. */
  readonly path: string;
  /** What it is called; null for the value of an item that has no name. */
  readonly label: string | null;
  readonly shape: S;
  readonly draft: Draft;
  readonly isRequired: boolean;
  readonly problems: Problems;
  readonly onChange: (draft: Draft) => void;
}

type Of<K extends Shape['kind']> = InputProps<Extract<Shape, { kind: K }>>;

/** The control of a shape, with its label, help and problem. */
export function Input(props: InputProps) {
  const { shape } = props;
  switch (shape.kind) {
    case 'object':
      return <ObjectInput {...props} shape={shape} />;
    case 'list':
      return <ListInput {...props} shape={shape} />;
    case 'map':
      return <MapInput {...props} shape={shape} />;
    case 'union':
      return <UnionInput {...props} shape={shape} />;
    case 'choices':
      return (
        <Group {...props}>
          <ChoicesInput {...props} shape={shape} />
        </Group>
      );
    default:
      return <LineInput {...props} />;
  }
}

function LineInput(props: InputProps) {
  const { prefix, path, label, shape, isRequired, problems } = props;
  const id = `${prefix}.${path}`;
  const problem = problems.get(path);
  const described = describedBy(id, label !== null && shape.help, problem);
  const control = <Control {...props} attributes={described} />;
  if (label === null) {
    return (
      <div class="grow stack-tight">
        {control}
        <FieldProblem id={id} problem={problem} />
      </div>
    );
  }
  const hint = hintOf(shape);
  return (
    <Field {...{ id, label, hint, problem }} help={shape.help} required={isRequired}>
      {control}
    </Field>
  );
}

function Control(props: InputProps & { attributes: ReturnType<typeof describedBy> }) {
  const { shape } = props;
  switch (shape.kind) {
    case 'text':
      return <TextInput {...props} shape={shape} />;
    case 'number':
      return <NumberInput {...props} shape={shape} />;
    case 'flag':
      return <FlagInput {...props} shape={shape} />;
    case 'choice':
      return <ChoiceInput {...props} shape={shape} />;
    default:
      return <JsonInput {...props} />;
  }
}

/** A group of controls, with a box to tick if its value may be missing. */
function Group({
  prefix,
  path,
  label,
  shape,
  draft,
  isRequired,
  problems,
  onChange,
  children,
}: InputProps & { readonly children: ComponentChildren }) {
  const id = `${prefix}.${path}`;
  const problem = problems.get(path);
  const hasBox = 'isOff' in draft && canMiss(shape, isRequired);
  const isOff = hasBox && draft.isOff;
  return (
    <fieldset
      id={id}
      class={`group ${problem ? 'wrong' : ''}`}
      aria-describedby={`${id}-problem`}
      tabIndex={problem ? -1 : undefined}
    >
      <legend class="field-head">
        {label !== null && <span class="group-name">{label}</span>}
        <span class="soft small">
          {hintOf(shape)}
          {!isRequired && <> · {t('common.optional')}</>}
        </span>
      </legend>
      {shape.help && <div class="soft small">{shape.help}</div>}
      {hasBox && (
        <label class="row small">
          <input
            type="checkbox"
            checked={!isOff}
            onChange={() => onChange({ ...draft, isOff: !isOff })}
          />
          {t('form.set')}
        </label>
      )}
      {!isOff && children}
      <FieldProblem id={id} problem={problem} />
    </fieldset>
  );
}

function ObjectInput(props: Of<'object'>) {
  return (
    <Group {...props}>
      <div class="group-body">
        <Fields {...props} />
      </div>
    </Group>
  );
}

/** The fields of an object, without a frame. */
export function Fields({ prefix, path, shape, draft, problems, onChange }: Of<'object'>) {
  const given = draft as Extract<Draft, { fields: unknown }>;
  return (
    <>
      {shape.fields.map(({ name, isRequired, shape: inner }) => (
        <Input
          key={name}
          {...{ prefix, isRequired, problems }}
          path={inside(path, name)}
          label={name}
          shape={inner}
          draft={given.fields[name] ?? draftOf(inner, undefined, isRequired)}
          onChange={(changed) =>
            onChange({ ...given, fields: { ...given.fields, [name]: changed } })
          }
        />
      ))}
    </>
  );
}

function ListInput(props: Of<'list'>) {
  const { prefix, path, label, shape, draft, problems, onChange } = props;
  const given = draft as Extract<Draft, { items: unknown }>;
  const isFixed = shape.most !== null && shape.least === shape.most;
  const isFull = shape.most !== null && given.items.length >= shape.most;
  const put = (items: readonly Draft[]) => onChange({ ...given, items });
  return (
    <Group {...props}>
      <ol class="items">
        {given.items.map((item, at) => (
          <li key={at} class="entry">
            <Input
              {...{ prefix, problems }}
              path={inside(path, at)}
              label={null}
              shape={shape.item(at)}
              draft={item}
              isRequired
              onChange={(changed) => put(given.items.with(at, changed))}
            />
            {!isFixed && (
              <Button
                look="bare"
                icon="trash"
                label={t('form.remove', { count: at + 1 })}
                onClick={() => put(given.items.toSpliced(at, 1))}
              />
            )}
          </li>
        ))}
      </ol>
      {!isFixed && !isFull && (
        <div>
          <Button
            icon="plus"
            aria-label={label ? `${t('form.add')}: ${label}` : undefined}
            onClick={() => put([...given.items, draftOf(shape.item(given.items.length))])}
          >
            {t('form.add')}
          </Button>
        </div>
      )}
    </Group>
  );
}

function MapInput(props: Of<'map'>) {
  const { prefix, path, label, shape, draft, problems, onChange } = props;
  const given = draft as Extract<Draft, { entries: unknown }>;
  const put = (entries: typeof given.entries) => onChange({ ...given, entries });
  return (
    <Group {...props}>
      <ul class="items">
        {given.entries.map((entry, at) => (
          <li key={at} class="entry">
            <input
              class="input entry-name"
              id={`${prefix}.${inside(path, at)}.name`}
              aria-label={`${t('form.entry.name')} ${at + 1}`}
              placeholder={t('form.entry.name')}
              autocomplete="off"
              value={entry.name}
              onInput={(event) =>
                put(given.entries.with(at, { ...entry, name: event.currentTarget.value }))
              }
            />
            <Input
              {...{ prefix, problems }}
              path={inside(path, at)}
              label={null}
              shape={shape.value}
              draft={entry.value}
              isRequired
              onChange={(value) => put(given.entries.with(at, { ...entry, value }))}
            />
            <Button
              look="bare"
              icon="trash"
              label={t('form.remove', { count: at + 1 })}
              onClick={() => put(given.entries.toSpliced(at, 1))}
            />
          </li>
        ))}
      </ul>
      <div>
        <Button
          icon="plus"
          aria-label={label ? `${t('form.add')}: ${label}` : undefined}
          onClick={() => put([...given.entries, { name: '', value: draftOf(shape.value) }])}
        >
          {t('form.add')}
        </Button>
      </div>
    </Group>
  );
}

function UnionInput(props: Of<'union'>) {
  const { prefix, path, label, shape, draft, isRequired, problems, onChange } = props;
  const given = draft as Extract<Draft, { option: unknown }>;
  const chosen = shape.options[given.option];
  const choose = (option: number) => {
    const inner = shape.options[option];
    const options = { ...given.options };
    if (inner) options[option] ??= draftOf(inner);
    onChange({ option, options });
  };
  return (
    <Group {...props}>
      <Select
        id={`${prefix}.${path}.kind`}
        label={`${label ?? ''} ${t('form.type.union')}`}
        value={String(given.option)}
        choices={[
          ...(canMiss(shape, isRequired) || given.option < 0
            ? [['-1', t('form.nothing')] as const]
            : []),
          ...shape.options.map((each, at) => [String(at), each.title || hintOf(each)] as const),
        ]}
        onChoose={(option) => choose(Number(option))}
      />
      {chosen && (
        <Input
          key={given.option}
          {...{ prefix, path, problems }}
          label={null}
          shape={chosen}
          draft={given.options[given.option] ?? draftOf(chosen)}
          isRequired={isRequired}
          onChange={(changed) =>
            onChange({ ...given, options: { ...given.options, [given.option]: changed } })
          }
        />
      )}
    </Group>
  );
}
