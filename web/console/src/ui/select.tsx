interface SelectProps {
  /** Its name, unless a `Field` has one. */
  readonly label?: string;
  readonly id?: string;
  readonly value: string;
  /** Values, and their names. */
  readonly choices: readonly (readonly [value: string, name: string])[];
  readonly onChoose: (value: string) => void;
  readonly class?: string;
}

/** A list of which one is chosen. */
export function Select(props: SelectProps) {
  const { id, label, value, choices, onChoose } = props;
  return (
    <select
      id={id}
      class={props.class ?? 'input'}
      aria-label={label}
      value={value}
      onChange={(event) => onChoose(event.currentTarget.value)}
    >
      {choices.map(([value, name]) => (
        <option key={value} value={value}>
          {name}
        </option>
      ))}
    </select>
  );
}
