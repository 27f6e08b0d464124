/**
 * A text in English and in Chinese, with `{name}` for its values. A text whose English depends on the
 * value `count` has the English for one, the English for others, and the Chinese.
 */
export type Text =
  | readonly [en: string, zh: string]
  | readonly [one: string, other: string, zh: string];
export type Texts = Readonly<Record<string, Text>>;
