import { t } from '../i18n';
import { write } from './draft';
import { boundsOf } from './reading';
import type { Shape } from './shape';

/** Say what kind of value a shape takes, and its default if the control cannot show it. */
export function hintOf(shape: Shape): string {
  const kind = kindOf(shape);
  if (shape.kind === 'number') return [kind, boundsOf(shape)].filter(Boolean).join(' ');
  return shape.title && shape.kind === 'object' ? shape.title : kind;
}

function kindOf(shape: Shape): string {
  switch (shape.kind) {
    case 'text':
      return t(`form.type.${shape.format}`);
    case 'number':
      return t(shape.isWhole ? 'form.type.whole' : 'form.type.number');
    default:
      return t(`form.type.${shape.kind}`);
  }
}

/** A default as the placeholder of an empty field shows it; undefined if there is none to show. */
export function defaultOf(shape: Shape): string | undefined {
  const { given } = shape;
  if (given === undefined || given === null || given === '') return undefined;
  return t('form.default', { value: typeof given === 'string' ? given : write(given) });
}
