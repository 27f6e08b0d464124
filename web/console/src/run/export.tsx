/**
 * The script of an exported page: the view of one run, from events inside the page, without a server.
 *
 * The console imports the view from here, so that both are built into one file, `assets/export.js`.
 * In an exported page that file stands in the HTML, and finds the recording in the element
 * `runcast-recording`.
 */

import '../theme/tokens.css';
import '../theme/base.css';
import '../theme/parts.css';
import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import { language, t } from '../i18n';
import { Preferences } from '../shell/preferences';
import { applyTheme } from '../shell/theme';
import { Mark, Notices } from '../ui';
import { type Recording, RunView } from './index';

export { RunView };

/** An exported page: the run, and who made the page. */
function Exported({ recording }: { recording: Recording }) {
  useEffect(() => {
    document.documentElement.lang = language.value;
  }, [language.value]);
  return (
    <>
      <header class="header">
        <span class="brand">
          <Mark /> <span>runcast</span>
        </span>
        <span class="soft small">{t('run.recording')}</span>
        <span class="grow" />
        <Preferences />
      </header>
      <main id="main">
        <RunView runId={recording.run?.run_id ?? ''} recording={recording} readOnly />
      </main>
      <Notices />
    </>
  );
}

const embedded = document.getElementById('runcast-recording')?.textContent;
if (embedded) {
  applyTheme();
  const root = document.createElement('div');
  document.body.append(root);
  render(<Exported recording={JSON.parse(embedded) as Recording} />, root);
}
