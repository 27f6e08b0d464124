import type { ComponentChildren } from 'preact';
import { t } from '../i18n';
import { Icon } from './icon';

interface FieldProps {
  /** The id of the control inside. */
  readonly id: string;
  readonly label: ComponentChildren;
  /** What kind of value is expected. */
  readonly hint?: ComponentChildren;
  readonly help?: ComponentChildren;
  readonly required?: boolean;
  readonly problem?: string | undefined;
  readonly children: ComponentChildren;
}

/** A control with its label, its help, and what is wrong with its value. */
export function Field({ id, label, hint, help, required, problem, children }: FieldProps) {
  return (
    <div class={`field ${problem ? 'wrong' : ''}`}>
      <div class="field-head">
        <label for={id}>{label}</label>
        <span class="soft small">
          {hint}
          {required === false && (hint ? ` · ${t('common.optional')}` : t('common.optional'))}
        </span>
      </div>
      {children}
      {help && (
        <div class="field-help soft small" id={`${id}-help`}>
          {help}
        </div>
      )}
      <FieldProblem id={id} problem={problem} />
    </div>
  );
}

export function FieldProblem({ id, problem }: { id: string; problem: string | undefined }) {
  return (
    <div class="field-problem small" id={`${id}-problem`} aria-live="polite">
      {problem && (
        <>
          <Icon name="alert" size={14} /> {problem}
        </>
      )}
    </div>
  );
}

/** The attributes by which a control names its help and its problem. */
export function describedBy(id: string, help: unknown, problem: string | undefined) {
  return {
    id,
    'aria-describedby': [help && `${id}-help`, `${id}-problem`].filter(Boolean).join(' '),
    'aria-invalid': problem ? ('true' as const) : undefined,
  };
}
