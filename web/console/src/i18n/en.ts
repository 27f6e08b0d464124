import { en as run } from '../run/strings';
import type { Strings } from './text';

/** What the console says in English. Other languages have the same keys. */
export const en = {
  ...run,

  'app.skip': 'Skip to content',
  'nav.main': 'Main',
  'nav.runs': 'Runs',
  'nav.functions': 'Functions',
  'nav.api': 'API',

  'status.queued': 'Queued',
  'status.running': 'Running',
  'status.waiting': 'Waiting',
  'status.done': 'Done',
  'status.failed': 'Failed',
  'status.cancelled': 'Cancelled',

  'link.connecting': 'Connecting',
  'link.live': 'Live',
  'link.idle': 'Up to date',
  'link.paused': 'Paused',
  'link.reconnecting': 'Reconnecting',
  'link.resumed': 'Resumed',
  'link.lost': 'Events lost',
  'link.reconnecting.why': 'The connection is lost: {why}. The console tries again by itself.',

  'theme.label': 'Colours',
  'theme.system': 'Colours of the system',
  'theme.light': 'Light colours',
  'theme.dark': 'Dark colours',
  'language.label': 'Language',

  'keys.title': 'Keyboard shortcuts',
  'keys.open': 'Keyboard shortcuts',

  'common.close': 'Close',
  'common.cancel': 'Cancel',
  'common.retry': 'Try again',
  'common.copy': 'Copy',
  'common.copied': 'Copied',
  'common.loading': 'Loading',
  'common.optional': 'optional',
  'common.dismiss': 'Dismiss',

  'missing.title': 'There is no such page',
  'missing.text': 'The address may be incomplete.',
  'missing.home': 'Show the runs',
} as const satisfies Strings;
