import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { Heights } from '../model/heights';

export interface VirtualListProps {
  readonly count: number;
  /** The height of a row that was never shown, in pixels. */
  readonly estimate: number;
  readonly render: (row: number) => ComponentChildren;
  /** Names a row; its height belongs to the name. */
  readonly keyOf: (row: number) => string | number;
  /** Changes when rows are other rows, so that measured heights do not count any more. */
  readonly identity: unknown;
  readonly label: string;
  /** A row to bring into sight; a new object for each wish. */
  readonly target?: { readonly row: number } | null | undefined;
  readonly class?: string;
}

/** Rows above and below what is seen, so that scrolling shows no holes. */
const MARGIN_PX = 400;

/**
 * A list of many rows of any height, of which only those in sight are in the document.
 *
 * It scrolls with the page. Rows that turn out higher or lower than estimated above what is seen
 * do not move what is seen.
 */
export function VirtualList(props: VirtualListProps) {
  const { count, estimate, identity, target } = props;
  const box = useRef<HTMLDivElement>(null);
  const heights = useRef(new Heights(estimate));
  const known = useRef(identity);
  const [, redraw] = useState(0);
  if (known.current !== identity) {
    known.current = identity;
    heights.current = new Heights(estimate);
  }
  heights.current.resize(count);

  const range = useRange(box, heights.current, count);
  useEffect(() => {
    if (!target || !box.current) return;
    const scroll = (): void => {
      if (!box.current) return;
      const top =
        box.current.getBoundingClientRect().top + scrollY + heights.current.before(target.row);
      scrollTo({ top: top - stickyHeight() - 12 });
    };
    scroll();
    // Once more when the rows there are measured.
    const timer = setTimeout(scroll, 60);
    return () => clearTimeout(timer);
  }, [target]);

  useLayoutEffect(() => {
    if (!box.current) return;
    const top = box.current.getBoundingClientRect().top;
    let change = 0;
    let above = 0;
    for (const node of box.current.firstElementChild?.children ?? []) {
      const row = Number((node as HTMLElement).dataset.row);
      const place = top + heights.current.before(row);
      const grown = heights.current.set(row, (node as HTMLElement).offsetHeight);
      change += Math.abs(grown);
      if (place + (node as HTMLElement).offsetHeight < stickyHeight()) above += grown;
    }
    if (above !== 0) scrollBy(0, above);
    if (change > 0) redraw((round) => round + 1);
  });

  const rows = [];
  for (let row = range.first; row < range.end; row += 1) {
    rows.push(
      <li
        key={props.keyOf(row)}
        data-row={row}
        class="row-box"
        aria-setsize={count}
        aria-posinset={row + 1}
      >
        {props.render(row)}
      </li>,
    );
  }
  const { current } = heights;
  const lead = current.before(range.first);
  return (
    <div ref={box} class={`virtual ${props.class ?? ''}`} style={{ height: `${current.total}px` }}>
      <ul aria-label={props.label} style={{ transform: `translateY(${lead}px)` }}>
        {rows}
      </ul>
    </div>
  );
}

/** How much of the top of the window the page's bars cover. */
export function stickyHeight(): number {
  const bars = document.querySelector('.run-bar');
  return bars ? Math.max(0, bars.getBoundingClientRect().bottom) : 0;
}

function useRange(
  box: { readonly current: HTMLDivElement | null },
  heights: Heights,
  count: number,
) {
  const [, redraw] = useState(0);
  useEffect(() => {
    let due = 0;
    const look = (): void => {
      cancelAnimationFrame(due);
      due = requestAnimationFrame(() => redraw((round) => round + 1));
    };
    addEventListener('scroll', look, { passive: true });
    addEventListener('resize', look);
    look();
    return () => {
      cancelAnimationFrame(due);
      removeEventListener('scroll', look);
      removeEventListener('resize', look);
    };
  }, []);
  if (count === 0) return { first: 0, end: 0 };
  const top = box.current ? box.current.getBoundingClientRect().top : 0;
  const first = heights.rowAt(Math.max(0, -top - MARGIN_PX));
  const end = heights.rowAt(Math.max(0, innerHeight - top + MARGIN_PX)) + 1;
  return { first, end: Math.min(count, Math.max(end, first + 1)) };
}
