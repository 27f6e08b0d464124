import { useMemo, useState } from 'preact/hooks';
import { t } from '../../i18n';
import { highlight } from './highlight';

/** Code with its language, its colours, and a button that copies it. */
export function CodeBlock({ text, language }: { text: string; language: string }) {
  const [isCopied, setCopied] = useState(false);
  const tokens = useMemo(() => highlight(text, language), [text, language]);
  const copy = async (): Promise<void> => {
    await navigator.clipboard?.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <figure class="code">
      <figcaption>
        <span>{language}</span>
        <button type="button" class="quiet" onClick={() => void copy()}>
          {isCopied ? t('common.copied') : t('common.copy')}
        </button>
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: who has no mouse scrolls it by the keyboard */}
      <pre tabIndex={0}>
        <code>
          {tokens.map((token, at) =>
            token.kind ? (
              <span key={at} class={`code-${token.kind}`}>
                {token.text}
              </span>
            ) : (
              token.text
            ),
          )}
        </code>
      </pre>
    </figure>
  );
}
