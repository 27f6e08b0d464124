import type { ComponentChildren } from 'preact';
import { Icon, Select } from '../../ui';
import { VirtualList, type VirtualListProps } from './VirtualList';

interface Props extends Omit<VirtualListProps, 'identity' | 'estimate'> {
  /** What the search looks for, and its label. */
  readonly text: string;
  readonly onText: (text: string) => void;
  readonly search: string;
  /** What is chosen beside the search, from values and their names. */
  readonly choice: string;
  readonly onChoice: (choice: string) => void;
  readonly choices: readonly (readonly [value: string, name: string])[];
  readonly choose: string;
  /** How many rows are shown. */
  readonly status: string;
  /** What is shown if there are none. */
  readonly none: string;
  readonly children?: ComponentChildren;
}

/** A long list with a search and a choice above it. */
export function FilteredList(props: Props) {
  const { text, onText, search, choice, onChoice, choices, choose, status, none, children } = props;
  return (
    <div>
      <div class="run-filters">
        <label class="filter-search">
          <Icon name="search" size={14} />
          <input
            class="input"
            type="search"
            placeholder={search}
            aria-label={search}
            value={text}
            onInput={(event) => onText(event.currentTarget.value)}
          />
        </label>
        <Select label={choose} value={choice} choices={choices} onChoose={onChoice} />
        <span class="soft small" role="status">
          {status}
        </span>
        {children}
      </div>
      {props.count === 0 ? (
        <p class="run-none soft">{none}</p>
      ) : (
        <VirtualList {...props} estimate={25} identity={`${choice} ${text}`} />
      )}
    </div>
  );
}
