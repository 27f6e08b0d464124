import { LANGUAGE_NAMES, type Language, language, setLanguage, t } from '../i18n';
import { links, route } from '../router';
import { Button } from '../ui/button';
import { Icon, type IconName, Mark } from '../ui/icon';
import { ConnectionIndicator } from './connection';
import { isHelpOpen } from './keyboard';
import { nextTheme, type Theme, theme } from './theme';

const THEME_ICONS: Readonly<Record<Theme, IconName>> = {
  system: 'system',
  light: 'sun',
  dark: 'moon',
};

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
      <LanguageSwitch />
      <Button
        look="bare"
        icon={THEME_ICONS[theme.value]}
        label={`${t('theme.label')}: ${t(`theme.${theme.value}`)}`}
        onClick={nextTheme}
      />
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

function LanguageSwitch() {
  return (
    <span class="language">
      <Icon name="globe" />
      <select
        aria-label={t('language.label')}
        value={language.value}
        onChange={(change) => setLanguage(change.currentTarget.value as Language)}
      >
        {Object.entries(LANGUAGE_NAMES).map(([code, name]) => (
          <option key={code} value={code} lang={code}>
            {name}
          </option>
        ))}
      </select>
    </span>
  );
}
