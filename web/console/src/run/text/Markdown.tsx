import type { ComponentChildren, VNode } from 'preact';
import { useRef } from 'preact/hooks';
import { t } from '../../i18n';
import { CodeBlock } from './CodeBlock';
import type { Inline } from './inline';
import { type Block, GrowingMarkdown } from './markdown';

/** Blocks that did not change keep their nodes, which Preact then does not look at again. */
const nodes = new WeakMap<Block, VNode>();

/** A Markdown text. With `isOpen` it is still being written. */
export function Markdown({ text, isOpen = false }: { text: string; isOpen?: boolean }) {
  const growing = useRef<GrowingMarkdown | null>(null);
  growing.current ??= new GrowingMarkdown();
  return <div class="md">{growing.current.update(text, isOpen).map(blockNode)}</div>;
}

function blockNode(block: Block): VNode {
  let node = nodes.get(block);
  if (!node) {
    node = makeBlock(block);
    nodes.set(block, node);
  }
  return node;
}

function makeBlock(block: Block): VNode {
  const key = block.start;
  switch (block.type) {
    case 'paragraph':
      return <p key={key}>{block.children.map(inlineNode)}</p>;
    case 'heading':
      // Headings of a text are below all headings of the page, whatever their number.
      return (
        // biome-ignore lint/a11y/useSemanticElements: the level is not that of an element
        <div
          key={key}
          role="heading"
          aria-level={Math.min(6, block.level + 3)}
          class={`md-h md-h${block.level}`}
        >
          {block.children.map(inlineNode)}
        </div>
      );
    case 'code':
      return <CodeBlock key={key} text={block.text} language={block.language} />;
    case 'quote':
      return <blockquote key={key}>{block.blocks.map(blockNode)}</blockquote>;
    case 'rule':
      return <hr key={key} />;
    case 'table':
      return (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: who has no mouse scrolls it by the keyboard
        <section key={key} class="md-table" tabIndex={0} aria-label={t('run.table')}>
          <table>
            <thead>
              <tr>
                {block.rows[0]?.map((cell, at) => (
                  <Cell key={at} tag="th" align={block.aligns[at]}>
                    {cell.map(inlineNode)}
                  </Cell>
                ))}
              </tr>
            </thead>
            <tbody>
              {block.rows.slice(1).map((row, number) => (
                <tr key={number}>
                  {row.map((cell, at) => (
                    <Cell key={at} tag="td" align={block.aligns[at]}>
                      {cell.map(inlineNode)}
                    </Cell>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      );
    case 'list': {
      const items = block.items.map((item, at) => (
        <li key={at} class={item.isTicked === null ? undefined : 'md-task'}>
          {item.isTicked !== null && (
            <input
              type="checkbox"
              checked={item.isTicked}
              disabled
              aria-label={item.isTicked ? '✓' : '–'}
            />
          )}
          {item.blocks.map((each, index) =>
            // The text of a short item needs no paragraph of its own.
            index === 0 && each.type === 'paragraph' ? (
              <span key={each.start}>{each.children.map(inlineNode)}</span>
            ) : (
              blockNode(each)
            ),
          )}
        </li>
      ));
      return block.isOrdered ? (
        <ol key={key} start={block.first}>
          {items}
        </ol>
      ) : (
        <ul key={key}>{items}</ul>
      );
    }
  }
}

function Cell({
  tag: Tag,
  align,
  children,
}: {
  tag: 'th' | 'td';
  align: string | undefined;
  children: ComponentChildren;
}) {
  return <Tag class={align ? `md-${align}` : undefined}>{children}</Tag>;
}

function inlineNode(node: Inline, key: number): VNode | string {
  if (typeof node === 'string') return node;
  switch (node.type) {
    case 'strong':
      return <strong key={key}>{node.children.map(inlineNode)}</strong>;
    case 'em':
      return <em key={key}>{node.children.map(inlineNode)}</em>;
    case 'strike':
      return <del key={key}>{node.children.map(inlineNode)}</del>;
    case 'code':
      return <code key={key}>{node.text}</code>;
    case 'break':
      return <br key={key} />;
    case 'link':
      return (
        <a key={key} href={node.href} target="_blank" rel="noopener noreferrer nofollow">
          {node.children.map(inlineNode)}
        </a>
      );
  }
}
