import { signal } from '@preact/signals';
import { remember, remembered } from '../data/remembered';
import type { Text } from './text';
import { texts } from './texts';

export type Key = keyof typeof texts;
export type Language = 'en' | 'zh';
export type Values = Readonly<Record<string, string | number>>;

/** Languages by the names that they give themselves. */
export const LANGUAGE_NAMES: Readonly<Record<Language, string>> = { en: 'English', zh: '中文' };

/** The language of the console. A component that calls `t` is rendered again when it changes. */
export const language = signal<Language>(firstLanguage());

export function setLanguage(chosen: Language): void {
  language.value = chosen;
  remember('language', chosen);
}

/** Return a text in the language of the console; `{name}` is replaced by a value. */
export function t(key: Key, values: Values = {}): string {
  const text = formOf(texts[key], values.count);
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === 'number' ? value.toLocaleString(language.value) : value;
  });
}

function formOf(forms: Text, count: unknown): string {
  const isChinese = language.value === 'zh';
  return (isChinese ? forms.at(-1) : forms.at(forms.length > 2 && count !== 1 ? 1 : 0)) as string;
}

function firstLanguage(): Language {
  const kept = remembered('language');
  if (kept === 'en' || kept === 'zh') return kept;
  const wanted = globalThis.navigator?.languages ?? [];
  const known = wanted
    .map((each) => each.slice(0, 2))
    .find((each) => each === 'en' || each === 'zh');
  return (known as Language | undefined) ?? 'en';
}
