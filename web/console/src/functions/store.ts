/** Drafts of forms, kept by the tab until their run has started. */

import type { Upload } from '@runcast/client';
import { belongs, type Draft, draftOf } from './draft';
import type { ObjectShape, Shape } from './shape';

export interface Label {
  readonly name: string;
  readonly value: string;
}

/** Everything that a person has put into a form. */
export interface FormDraft {
  readonly inputs: Draft;
  /** The inputs as JSON, if the person writes JSON; null if they use the form. */
  readonly json: string | null;
  readonly files: Readonly<Record<string, readonly Upload[]>>;
  readonly runId: string;
  readonly labels: readonly Label[];
}

const PREFIX = 'runcast.draft.';
/** Complete drafts; what the browser keeps has no secrets, because it may write to the disk. */
const memory = new Map<string, FormDraft>();

export function freshDraft(shape: ObjectShape): FormDraft {
  return { inputs: draftOf(shape), json: null, files: {}, runId: '', labels: [] };
}

/** Return the draft of a function's form as the person left it; a fresh one if there is none. */
export function loadDraft(name: string, shape: ObjectShape): FormDraft {
  const fresh = freshDraft(shape);
  const kept = memory.get(name) ?? stored(name);
  return {
    inputs: belongs(shape, kept.inputs) ? kept.inputs : fresh.inputs,
    json: typeof kept.json === 'string' ? kept.json : null,
    files: kept.files ?? {},
    runId: kept.runId ?? '',
    labels: kept.labels ?? [],
  };
}

function stored(name: string): Partial<FormDraft> {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + name) ?? '{}');
  } catch {
    return {}; // a browser may refuse all storage
  }
}

/** Keep a draft; null forgets it. */
export function saveDraft(name: string, shape: ObjectShape, draft: FormDraft | null): void {
  if (draft) memory.set(name, draft);
  else memory.delete(name);
  try {
    if (draft)
      sessionStorage.setItem(PREFIX + name, JSON.stringify(withoutAllSecrets(shape, draft)));
    else sessionStorage.removeItem(PREFIX + name);
  } catch {
    // The draft then lasts as long as the page.
  }
}

function withoutAllSecrets(shape: ObjectShape, draft: FormDraft): FormDraft {
  // JSON that may hold a secret stays in memory alone, too.
  const json = hasSecret(shape) ? null : draft.json;
  return { ...draft, inputs: withoutSecrets(shape, draft.inputs), json };
}

/** Return a draft in which secret texts are empty. */
export function withoutSecrets(shape: Shape, draft: Draft): Draft {
  if (shape.kind === 'text') return shape.format === 'password' ? { text: '' } : draft;
  if (shape.kind === 'object' && 'fields' in draft) {
    const fields = shape.fields.map(({ name, shape: inner }) => {
      const field = draft.fields[name];
      return [name, field && withoutSecrets(inner, field)] as const;
    });
    return { ...draft, fields: Object.fromEntries(fields) as Record<string, Draft> };
  }
  if (shape.kind === 'list' && 'items' in draft) {
    const items = draft.items.map((item, at) => withoutSecrets(shape.item(at), item));
    return { ...draft, items };
  }
  if (shape.kind === 'map' && 'entries' in draft) {
    const clean = draft.entries.map((each) => ({
      ...each,
      value: withoutSecrets(shape.value, each.value),
    }));
    return { ...draft, entries: clean };
  }
  if (shape.kind === 'union' && 'options' in draft) {
    const options = Object.entries(draft.options).map(([at, inner]) => {
      const option = shape.options[Number(at)];
      return [at, option ? withoutSecrets(option, inner) : inner] as const;
    });
    return { ...draft, options: Object.fromEntries(options) };
  }
  return draft;
}

function hasSecret(shape: Shape): boolean {
  switch (shape.kind) {
    case 'text':
      return shape.format === 'password';
    case 'object':
      return shape.fields.some((each) => hasSecret(each.shape));
    case 'list':
      return hasSecret(shape.item(0));
    case 'map':
      return hasSecret(shape.value);
    case 'union':
      return shape.options.some(hasSecret);
    default:
      return false;
  }
}
