import { t } from '../../i18n';
import { formatNumber } from '../../i18n/format';
import type { Used } from '../model/state';
import { costText } from './Header';

/** What each model used for each agent. */
export function Usage({ usage }: { usage: readonly Used[] }) {
  const number = (value: number | undefined): string => (value ? formatNumber(value) : '–');
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: who has no mouse scrolls it by the keyboard
    <section class="md-table" tabIndex={0} aria-label={t('run.usage')}>
      <table class="numbers">
        <thead>
          <tr>
            <th>{t('run.usage.model')}</th>
            <th>{t('run.usage.agent')}</th>
            {(['calls', 'input', 'cached', 'output', 'reasoning', 'cost'] as const).map((name) => (
              <th key={name} class="md-right">
                {t(`run.usage.${name}`)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {usage.map((used, at) => (
            <tr key={at}>
              <td>
                <bdi>{used.model}</bdi>
              </td>
              <td>
                <bdi>{used.agent}</bdi>
              </td>
              <td class="md-right">{number(used.calls)}</td>
              <td class="md-right">{number(used.input_tokens)}</td>
              <td class="md-right">{number(used.cached_tokens)}</td>
              <td class="md-right">{number(used.output_tokens)}</td>
              <td class="md-right">{number(used.reasoning_tokens)}</td>
              <td class="md-right">
                {used.cost ? costText(used.cost, used.currency ?? '') : '–'}
                {used.unpriced ? (
                  <span class="soft small"> {t('run.unpriced', { count: used.unpriced })}</span>
                ) : null}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
