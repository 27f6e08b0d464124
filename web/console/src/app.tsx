import { useEffect, useRef } from 'preact/hooks';
import { client } from './data/client';
import { language, t } from './i18n';
import { links, type Route, route } from './router';
import { RunView } from './run';
import { Header } from './shell/header';
import { isHelpOpen, KeyboardHelp, useShortcuts } from './shell/keyboard';
import { EmptyState } from './ui/empty';
import { Notices } from './ui/toast';

const openHelp = () => {
  isHelpOpen.value = true;
};

export function App() {
  const main = useRef<HTMLElement>(null);
  const shown = route.value;
  useShortcuts([{ keys: '?', text: 'keys.open', act: openHelp }]);
  useEffect(() => {
    document.documentElement.lang = language.value;
  }, [language.value]);
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        {t('app.skip')}
      </button>
      <Header />
      <main id="main" ref={main} tabIndex={-1}>
        <View shown={shown} />
      </main>
      <Notices />
      <KeyboardHelp />
    </>
  );
}

function View({ shown }: { shown: Route }) {
  switch (shown.view) {
    case 'run':
      return <RunView key={shown.runId} client={client} runId={shown.runId} />;
    default:
      return (
        <EmptyState icon="question" title={t('missing.title')}>
          {t('missing.text')} <a href={links.runs()}>{t('missing.home')}</a>
        </EmptyState>
      );
  }
}
