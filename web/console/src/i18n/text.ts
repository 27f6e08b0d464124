/** A text with `{name}` for its values; or one for each plural form, chosen by the value `count`. */
export type Text = string | { readonly one?: string; readonly other: string };
export type Strings = Readonly<Record<string, Text>>;
