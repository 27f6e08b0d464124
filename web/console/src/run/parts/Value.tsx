import { useState } from 'preact/hooks';
import { t } from '../../i18n';
import { formatNumber } from '../../i18n/format';
import { isObject } from '../model/fields';
import { Markdown } from '../text/Markdown';

/** Entries of a list or an object that are shown at once. */
const MAX_ENTRIES = 100;
/** Characters of a text that are shown at once. */
const MAX_CHARS = 2_000;
/** A value with so much JSON begins folded. */
const FOLDED_CHARS = 1_500;
const MAX_COLUMNS = 12;

/** Any JSON, as a tree whose large parts are folded. */
export function Tree({ value, isOpen }: { value: unknown; isOpen?: boolean }) {
  const size = isObject(value) ? sizeOf(value, FOLDED_CHARS) : 0;
  return (
    <div class="tree mono">
      <Node value={value} depth={0} isOpen={isOpen ?? size < FOLDED_CHARS} />
    </div>
  );
}

function Node({
  label,
  value,
  depth,
  isOpen: isFirst,
}: {
  label?: string;
  value: unknown;
  depth: number;
  isOpen: boolean;
}) {
  const [isOpen, setOpen] = useState(isFirst);
  const [most, setMost] = useState(MAX_ENTRIES);
  const name = label === undefined ? null : <span class="tree-key">{label}: </span>;
  if (!isObject(value)) {
    return (
      <div class="tree-line">
        {name}
        <Scalar value={value} />
      </div>
    );
  }
  const isList = Array.isArray(value);
  const keys = Object.keys(value);
  const [open, close] = isList ? '[]' : '{}';
  if (keys.length === 0)
    return (
      <div class="tree-line">
        {name}
        {open}
        {close}
      </div>
    );
  return (
    <div class="tree-branch">
      <button
        type="button"
        class="tree-toggle"
        aria-expanded={isOpen}
        onClick={() => setOpen(!isOpen)}
      >
        <span class="tree-caret" aria-hidden="true" />
        {name}
        {isOpen ? (
          open
        ) : (
          <span class="soft">
            {open} {preview(value)} {close}
          </span>
        )}
      </button>
      {isOpen && (
        <>
          <div class="tree-inner">
            {keys.slice(0, most).map((key) => (
              <Node
                key={key}
                label={key}
                value={(value as Readonly<Record<string, unknown>>)[key]}
                depth={depth + 1}
                isOpen={isFirst && depth < 3}
              />
            ))}
            {keys.length > most && (
              <button type="button" class="quiet" onClick={() => setMost(most + MAX_ENTRIES * 5)}>
                {t('run.more.entries', { count: keys.length - most })}
              </button>
            )}
          </div>
          <div class="tree-line">{close}</div>
        </>
      )}
    </div>
  );
}

function Scalar({ value }: { value: unknown }) {
  if (typeof value === 'string') return <LongText text={value} isQuoted />;
  const kind =
    value === null || value === undefined ? 'null' : typeof value === 'boolean' ? 'bool' : 'number';
  return <span class={`tree-${kind}`}>{String(value ?? null)}</span>;
}

/** A text of which the beginning is shown; a button shows the rest. */
export function LongText({ text, isQuoted = false }: { text: string; isQuoted?: boolean }) {
  const [isWhole, setWhole] = useState(false);
  const shown = isWhole || text.length <= MAX_CHARS ? text : text.slice(0, MAX_CHARS);
  const left = text.length - shown.length;
  return (
    <>
      <bdi class={isQuoted ? 'tree-string' : undefined}>
        {isQuoted ? JSON.stringify(shown) : shown}
      </bdi>
      {left > 0 && (
        <button type="button" class="quiet" onClick={() => setWhole(true)}>
          {t('run.more.characters', { count: left })}
        </button>
      )}
    </>
  );
}

/** A few words of what a folded value holds. */
function preview(value: object): string {
  const keys = Object.keys(value);
  if (Array.isArray(value)) return formatNumber(keys.length);
  const shown = keys.slice(0, 4).map((key) => key.slice(0, 20));
  return keys.length > 4 ? `${shown.join(', ')}, … ${formatNumber(keys.length)}` : shown.join(', ');
}

/** Return about how many characters a value has as JSON, counting no further than needed. */
export function sizeOf(value: unknown, most: number): number {
  let size = 0;
  const stack: unknown[] = [value];
  while (stack.length > 0 && size < most) {
    const each = stack.pop();
    if (typeof each === 'string') size += each.length + 3;
    else if (!isObject(each)) size += 6;
    else {
      for (const key of Object.keys(each).slice(0, 1000)) {
        size += key.length + 4;
        stack.push((each as Readonly<Record<string, unknown>>)[key]);
      }
    }
  }
  return size;
}

/** A result for people: text as Markdown, a list of records as a table, everything else as a tree. */
export function Readable({ value }: { value: unknown }) {
  if (typeof value === 'string') return <Markdown text={value.slice(0, 200_000)} />;
  const columns = columnsOf(value);
  if (!columns) return <Tree value={value} />;
  const rows = value as readonly Readonly<Record<string, unknown>>[];
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: who has no mouse scrolls it by the keyboard
    <section class="md-table" tabIndex={0} aria-label={t('run.result')}>
      <table>
        <thead>
          <tr>
            {columns.map((name) => (
              <th key={name}>{name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, MAX_ENTRIES).map((row, at) => (
            <tr key={at}>
              {columns.map((name) => (
                <td key={name}>{row[name] === undefined ? '' : <Scalar value={row[name]} />}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > MAX_ENTRIES && <Tree value={value} isOpen={false} />}
    </section>
  );
}

function columnsOf(value: unknown): string[] | null {
  if (!Array.isArray(value) || value.length === 0) return null;
  if (!value.every((row) => isObject(row) && !Array.isArray(row))) return null;
  const columns = [...new Set(value.slice(0, 200).flatMap((row) => Object.keys(row)))];
  const isFlat = value
    .slice(0, 200)
    .every((row) => Object.values(row).every((cell) => !isObject(cell)));
  return isFlat && columns.length > 0 && columns.length <= MAX_COLUMNS ? columns : null;
}
