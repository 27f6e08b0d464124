import { Component, type ComponentType, createElement, type FunctionComponent } from 'preact';

/** Return a component that is rendered again only when one of its properties is another value. */
export function memo<Props extends object>(render: FunctionComponent<Props>): ComponentType<Props> {
  return class Memo extends Component<Props> {
    override shouldComponentUpdate(next: Props): boolean {
      const { props } = this;
      return (Object.keys(next) as (keyof Props)[]).some((key) => next[key] !== props[key]);
    }
    override render() {
      return createElement(render, this.props as Props);
    }
  } as unknown as ComponentType<Props>;
}
