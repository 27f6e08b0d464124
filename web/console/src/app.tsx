import { useEffect, useRef } from 'preact/hooks';
import { client, isSignedOut } from './data/client';
import { loadFunctions } from './data/functions';
import { FunctionsView } from './functions/list';
import { FunctionView } from './functions/page';
import { language, t } from './i18n';
import { go, links, type Route, route } from './router';
import { RunView } from './run/export';
import { SharedRun } from './run/shared';
import { HomeView } from './runs/home';
import { ThreadView } from './runs/thread';
import { Header } from './shell/header';
import { isHelpOpen, KeyboardHelp, useShortcuts } from './shell/keyboard';
import { SignIn } from './shell/signin';
import { nextTheme } from './shell/theme';
import { EmptyState } from './ui/empty';
import { Notices } from './ui/toast';

const openHelp = () => {
  isHelpOpen.value = true;
};
const SHORTCUTS = [
  { keys: '?', text: 'keys.open', act: openHelp },
  { keys: 'g r', text: 'keys.runs', act: () => go(links.runs()) },
  { keys: 'g f', text: 'keys.functions', act: () => go(links.functions) },
  { keys: 't', text: 'keys.theme', act: nextTheme },
] as const;

export function App() {
  const main = useRef<HTMLElement>(null);
  const shown = route.value;
  useShortcuts(SHORTCUTS);
  useEffect(() => {
    document.documentElement.lang = language.value;
  }, [language.value]);
  useEffect(() => {
    if (!isSignedOut.value) void loadFunctions();
  }, [isSignedOut.value]);
  useTitle(main, nameOf(shown));
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        {t('app.skip')}
      </button>
      <Header />
      <main id="main" ref={main} tabIndex={-1}>
        {isSignedOut.value && shown.view !== 'shared' ? <SignIn /> : <View shown={shown} />}
      </main>
      <Notices />
      <KeyboardHelp />
    </>
  );
}

function View({ shown }: { shown: Route }) {
  switch (shown.view) {
    case 'runs':
      return <HomeView query={shown.filters} />;
    case 'functions':
      return <FunctionsView />;
    case 'function':
      return <FunctionView name={shown.name} from={shown.from} />;
    case 'run':
      return <RunView key={shown.runId} client={client} runId={shown.runId} />;
    case 'shared':
      return <SharedRun key={shown.token} runId={shown.runId} token={shown.token} />;
    case 'thread':
      return <ThreadView key={shown.thread} thread={shown.thread} />;
    case 'missing':
      return (
        <EmptyState icon="question" title={t('missing.title')} isPage>
          {t('missing.text')} <a href={links.runs()}>{t('missing.home')}</a>
        </EmptyState>
      );
  }
}

/** A name for each view; filters change it not, so that they move no focus. */
function nameOf(shown: Route): string {
  switch (shown.view) {
    case 'function':
      return shown.name;
    case 'run':
      return shown.runId;
    case 'thread':
      return shown.thread;
    default:
      return t(shown.view === 'functions' ? 'nav.functions' : 'nav.runs');
  }
}

/** Name the document after its view. When the view changes, the focus moves to its title. */
function useTitle(main: { current: HTMLElement | null }, name: string): void {
  const before = useRef('');
  useEffect(() => {
    document.title = `${name} · runcast`;
    const isFirst = before.current === '';
    before.current = name;
    if (isFirst || !main.current) return;
    scrollTo(0, 0);
    return focusTitle(main.current);
  }, [name]);
}

/** How long a view may take until its title is there. */
const TITLE_MS = 5000;

/**
 * Move the focus to the title of a view, which may be replaced while the view loads. Ends when the
 * person does something. Returns what ends it before.
 */
function focusTitle(main: HTMLElement): () => void {
  const move = () => {
    const title = main.querySelector('h1');
    const { activeElement: active } = document;
    const isLost = active === null || active === document.body || active === main;
    if (title && isLost) title.focus({ preventScroll: true });
  };
  (main.querySelector('h1') ?? main).focus({ preventScroll: true });
  const observer = new MutationObserver(move);
  observer.observe(main, { childList: true, subtree: true });
  const stop = () => {
    observer.disconnect();
    clearTimeout(timer);
    removeEventListener('keydown', stop);
    removeEventListener('pointerdown', stop);
  };
  const timer = setTimeout(stop, TITLE_MS);
  addEventListener('keydown', stop);
  addEventListener('pointerdown', stop);
  return stop;
}
