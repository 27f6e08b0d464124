import { LANGUAGE_NAMES, type Language, language, setLanguage, t } from '../i18n';
import { Button } from '../ui/button';
import { Icon, type IconName } from '../ui/icon';
import { Select } from '../ui/select';
import { nextTheme, type Theme, theme } from './theme';

const THEME_ICONS: Readonly<Record<Theme, IconName>> = {
  system: 'system',
  light: 'sun',
  dark: 'moon',
};

/** The language and the colours, to be changed. */
export function Preferences() {
  return (
    <>
      <span class="language">
        <Icon name="globe" />
        <Select
          class=""
          label={t('language.label')}
          value={language.value}
          choices={Object.entries(LANGUAGE_NAMES)}
          onChoose={(code) => setLanguage(code as Language)}
        />
      </span>
      <Button
        look="bare"
        icon={THEME_ICONS[theme.value]}
        label={`${t('theme.label')}: ${t(`theme.${theme.value}`)}`}
        onClick={nextTheme}
      />
    </>
  );
}
