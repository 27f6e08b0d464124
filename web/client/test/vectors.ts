import { readFileSync } from 'node:fs';

/** The vectors of a file that clients of every language read. */
export function vectors<T>(file: string): (T & { readonly name: string })[] {
  const found = JSON.parse(
    readFileSync(new URL(`../../../conformance/${file}`, import.meta.url), 'utf8'),
  );
  if (!Array.isArray(found) || !found.length) throw new Error(`${file} has no vectors`);
  return found;
}
