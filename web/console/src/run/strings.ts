import type { Strings, Text } from '../i18n/text';

/** What the view of a run says in English; every key begins with `run.`. */
export const en = {
  'run.title': 'Run {run}',
} as const satisfies Strings;

/** The same in Chinese. */
export const zh: Readonly<Record<keyof typeof en, Text>> = {
  'run.title': '运行 {run}',
};
