import { t } from '../i18n';
import { links, route } from '../router';
import { Button } from '../ui/button';
import { Mark } from '../ui/icon';
import { ConnectionIndicator } from './connection';
import { isHelpOpen } from './keyboard';
import { Preferences } from './preferences';

export function Header() {
  const { view } = route.value;
  return (
    <header class="header">
      <a class="brand" href={links.runs()} aria-label="runcast">
        <Mark />
        <span class="brand-word">runcast</span>
      </a>
      <nav class="tabs" aria-label={t('nav.main')}>
        <a href={links.runs()} aria-current={view === 'runs' ? 'page' : undefined}>
          {t('nav.runs')}
        </a>
        <a href={links.functions} aria-current={view === 'functions' ? 'page' : undefined}>
          {t('nav.functions')}
        </a>
        <a class="wide-only" href="docs">
          {t('nav.api')}
        </a>
      </nav>
      <span class="grow" />
      <ConnectionIndicator />
      <Preferences />
      <Button
        look="bare"
        class="wide-only"
        icon="keyboard"
        label={t('keys.open')}
        onClick={() => {
          isHelpOpen.value = true;
        }}
      />
    </header>
  );
}
