/** All functions of the server. */

import { useRef, useState } from 'preact/hooks';
import { functions, functionsProblem } from '../data/functions';
import { t } from '../i18n';
import { links } from '../router';
import { useShortcuts } from '../shell/keyboard';
import { EmptyState, Icon } from '../ui';
import { isRecord } from './draft';
import { FunctionsFailed } from './page';

export function FunctionsView() {
  const [text, setText] = useState('');
  const box = useRef<HTMLInputElement>(null);
  useShortcuts([{ keys: '/', text: 'keys.search', act: () => box.current?.focus() }]);
  const all = functions.value;
  const wanted = text.trim().toLowerCase();
  const found = (all ?? []).filter(({ name, description }) =>
    `${name}\n${description}`.toLowerCase().includes(wanted),
  );
  return (
    <section class="stack" aria-labelledby="title">
      <div class="row wrap">
        <h1 id="title" class="grow" tabIndex={-1}>
          {t('functions.title')}
        </h1>
        <div class="search">
          <Icon name="search" />
          <input
            ref={box}
            class="input"
            type="search"
            aria-label={t('functions.search')}
            placeholder={t('functions.search')}
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </div>
      </div>
      {!all && functionsProblem.value && <FunctionsFailed />}
      {all?.length === 0 && (
        <EmptyState icon="bolt" title={t('functions.none')}>
          {t('functions.none.text')}
        </EmptyState>
      )}
      {all && all.length > 0 && found.length === 0 && (
        <p class="soft" role="status">
          {t('functions.nomatch', { text })}
        </p>
      )}
      <ul class="cards">
        {found.map(({ name, description, inputs, files, streaming }) => {
          const count = isRecord(inputs.properties) ? Object.keys(inputs.properties).length : 0;
          return (
            <li key={name}>
              <a class="card panel" href={links.function(name)}>
                <span class="mono card-name">{name}</span>
                <span class="soft card-text">{description.split(/\n\s*\n/)[0]}</span>
                <span class="soft small row">
                  <span>{t('functions.inputs', { count })}</span>
                  {files.some((each) => each.kind === 'input') && (
                    <span class="row">
                      <Icon name="file" size={12} /> {t('functions.files')}
                    </span>
                  )}
                  {streaming && (
                    <span class="row">
                      <Icon name="bolt" size={12} /> {t('functions.streams')}
                    </span>
                  )}
                </span>
              </a>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
