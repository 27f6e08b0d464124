import type { ComponentChildren, JSX } from 'preact';
import { Icon, type IconName } from './icon';

type ButtonProps = Omit<JSX.IntrinsicElements['button'], 'icon' | 'size'> & {
  readonly look?: 'plain' | 'primary' | 'danger' | 'bare';
  readonly icon?: IconName;
  /** Shows that its work goes on; it cannot be pressed meanwhile. */
  readonly busy?: boolean;
  readonly children?: ComponentChildren;
};

/** A button. Without children it needs a `label`, which is also its tooltip. */
export function Button({
  look = 'plain',
  icon,
  busy = false,
  label,
  children,
  ...rest
}: ButtonProps & { readonly label?: string }) {
  return (
    <button
      type="button"
      aria-label={label}
      title={label}
      aria-busy={busy || undefined}
      {...rest}
      disabled={busy || rest.disabled === true}
      class={`button ${look} ${children === undefined ? 'square' : ''} ${rest.class ?? ''}`}
    >
      {busy ? <Icon name="spinner" /> : icon && <Icon name={icon} />}
      {children}
    </button>
  );
}
