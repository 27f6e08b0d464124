/** JSON in which whole numbers keep all their digits, which a JavaScript number may not hold. */

interface Raw {
  readonly rawJSON: string;
}

const exact = JSON as unknown as {
  rawJSON?(text: string): Raw;
  isRawJSON?(value: unknown): value is Raw;
};

/** A number as `JSON.stringify` shall write it, digit by digit. */
export function exactNumber(text: string): unknown {
  const number = Number(text);
  const isKept = !/^-?\d+$/.test(text) || Number.isSafeInteger(number);
  return isKept || !exact.rawJSON ? number : exact.rawJSON(text);
}

export function isExactNumber(value: unknown): boolean {
  return exact.isRawJSON?.(value) === true;
}

/** Parse JSON. Throws `SyntaxError`. */
export function parseExact(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const revive = (_: string, value: unknown, context?: { source?: string }) =>
    typeof value === 'number' && context?.source ? exactNumber(context.source) : value;
  return JSON.parse(text, revive as (this: unknown, key: string, value: unknown) => unknown);
}
