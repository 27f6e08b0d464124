/** The console's icons: lines of 1.5 px in a square of 16, drawn for it. */

const PATHS = {
  alert: 'M8 2.5 14.5 13.5h-13ZM8 6.5v3.2M8 11.6v.1',
  arrow: 'M3 8h10M9 4l4 4-4 4',
  ban: 'M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2ZM3.8 3.8l8.4 8.4',
  bolt: 'M9 1.5 3.5 9H8l-1 5.5L12.5 7H8Z',
  check: 'M3 8.5 6.5 12 13 4.5',
  chevron: 'M6 3.5 10.5 8 6 12.5',
  clock: 'M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2ZM8 4.8V8l2.2 1.6',
  close: 'M3.5 3.5l9 9M12.5 3.5l-9 9',
  copy: 'M5.5 5.5h8v8h-8ZM10.5 5.5v-3h-8v8h3',
  cross: 'M4.5 4.5l7 7M11.5 4.5l-7 7',
  download: 'M8 2v8M4.5 7 8 10.5 11.5 7M2.5 13.5h11',
  file: 'M3.5 1.5h6l3 3v10h-9ZM9.5 1.5v3h3',
  filter: 'M2 4h12M4.5 8h7M7 12h2',
  globe: 'M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2ZM2 8h12M8 2c4.5 4 4.5 8 0 12C3.5 10 3.5 6 8 2Z',
  keyboard: 'M1.5 4h13v8.5h-13ZM4 6.8h.1M6.7 6.8h.1M9.3 6.8h.1M12 6.8h.1M5 9.8h6',
  link: 'M6.5 9.5l3-3M7 4.5 9 2.6a3.1 3.1 0 0 1 4.4 4.4l-2 2M9 11.5l-2 1.9A3.1 3.1 0 0 1 2.6 9l2-2',
  moon: 'M13.5 9.5A5.8 5.8 0 0 1 6.5 2.5a5.8 5.8 0 1 0 7 7Z',
  pause: 'M5.5 3v10M10.5 3v10',
  play: 'M4.5 2.5v11l9-5.5Z',
  plus: 'M8 3v10M3 8h10',
  question: 'M5.5 5.8A2.5 2.5 0 1 1 8.8 8.2c-.6.3-.8.7-.8 1.4M8 12v.1',
  redo: 'M13 3v4H9M12.6 7A5.2 5.2 0 1 0 13 9.5',
  search: 'M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9ZM10.3 10.3l3.2 3.2',
  send: 'M14 2 1.8 6.8l5 2.4 2.4 5ZM6.8 9.2 14 2',
  spinner: 'M8 2a6 6 0 1 1-6 6',
  stop: 'M4 4h8v8H4Z',
  sun: 'M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6ZM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1',
  system: 'M2 2.5h12v8.5H2ZM5.5 14h5M8 11v3',
  thread: 'M3 3.5h10v7H8l-3 2.8v-2.8H3Z',
  trash: 'M2.5 4.5h11M6 4.5v-2h4v2M4 4.5l.7 9.5h6.6l.7-9.5',
  upload: 'M8 10.5v-8M4.5 5.5 8 2l3.5 3.5M2.5 13.5h11',
} as const;

export type IconName = keyof typeof PATHS;

/** An icon. It is decoration: what it means is said beside it, or by the label of its button. */
export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg
      class={`icon icon-${name}`}
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      stroke-width="1.5"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
      focusable="false"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The mark of runcast: one log, and its waves to whoever watches. */
export function Mark({ size = 20 }: { size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 22 22"
      fill="none"
      stroke="currentColor"
      stroke-width="2.2"
      stroke-linecap="round"
      aria-hidden="true"
      focusable="false"
    >
      <path d="M2 6h7M2 11h4M2 16h7M12 7a5 5 0 0 1 0 8M16 4a10 10 0 0 1 0 14" />
    </svg>
  );
}
