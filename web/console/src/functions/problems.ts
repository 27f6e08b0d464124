/** What the server says is wrong with inputs, as the fields of a form show it. */

import type { Problems } from './reading';

/** The end of a message that names a place inside the input: `… - at `$.zip[0]``. */
const PLACE = / - at `\$([^`]*)`$/;

/**
 * Return what to show beside each field, and what belongs to none.
 *
 * @param known the paths of the form's fields. A place inside a field without fields of its own, such
 *   as JSON, is shown beside that field, with the place.
 */
export function placeProblems(
  said: readonly string[],
  known: ReadonlySet<string>,
): { problems: Problems; others: string[] } {
  const problems = new Map<string, string>();
  const others: string[] = [];
  for (const text of said) {
    const colon = text.indexOf(': ');
    const name = text.slice(0, Math.max(0, colon));
    const message = text.slice(colon + 2);
    if (colon < 0 || !known.has(name)) {
      others.push(text);
      continue;
    }
    const steps = (PLACE.exec(message)?.[1] ?? '').match(/[^.[\]]+/g) ?? [];
    let path = name;
    let depth = 0;
    while (depth < steps.length && known.has(`${path}.${steps[depth]}`)) {
      path = `${path}.${steps[depth++]}`;
    }
    const shown = depth === steps.length ? message.replace(PLACE, '') : message;
    problems.set(path, problems.has(path) ? `${problems.get(path)}; ${shown}` : shown);
  }
  return { problems, others };
}
