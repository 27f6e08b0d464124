import type { RunEvent } from '@runcast/client';
import { useMemo, useState } from 'preact/hooks';
import { t } from '../../i18n';
import { formatClock, formatDuration } from '../../i18n/format';
import { Icon } from '../../ui';
import type { RunActions } from '../actions';
import { asNumber, asText, isObject, message, name, pick } from '../model/fields';
import {
  by,
  type Item,
  type MessageItem,
  type NoteItem,
  type QuestionItem,
  type TextItem,
  type ToolItem,
  textAt,
} from '../model/story';
import type { RunSession } from '../session';
import { withoutAnsi } from '../text/ansi';
import { Markdown } from '../text/Markdown';
import { FileRow } from './Files';
import { memo } from './memo';
import { LongText, Readable, Tree } from './Value';
import { VirtualList } from './VirtualList';

/** Longer texts are folded until somebody wants all of them. */
const FOLDED_TEXT = 40_000;

/** What happened, in the order in which it began: texts, tools, questions, messages, endings. */
export function Activity({
  session,
  actions,
}: {
  session: RunSession;
  actions: RunActions | null;
}) {
  const { story } = session.index;
  const { seq } = session;
  const count = story.countAt(seq);
  const wanted = session.jump.value;
  const target = useMemo(
    () => wanted && { row: Math.max(0, Math.min(count - 1, story.countAt(wanted.seq - 1))) },
    [wanted],
  );
  if (count === 0)
    return (
      <p class="run-none soft">
        {t(session.isLive ? 'run.activity.none.yet' : 'run.activity.none')}
      </p>
    );
  const isOpen = session.isLive || session.cursor.value !== null;
  return (
    <VirtualList
      class="activity"
      label={t('run.activity')}
      count={count}
      estimate={64}
      identity={story}
      keyOf={(row) => story.items[row]?.id ?? row}
      target={target}
      render={(row) => {
        const item = story.items[row];
        if (!item) return null;
        // Items that have not changed since are not rendered again.
        const seen = Math.min(seq, item.lastSeq);
        const before = story.items[row - 1];
        const isSamePlace = before?.node === item.node && before.agent === item.agent;
        const isSameTime =
          before !== undefined && Math.floor(before.time) === Math.floor(item.time);
        return (
          <ItemView
            item={item}
            seq={seen}
            isOpen={isOpen && (item.lastSeq > seq || session.isLive)}
            isSamePlace={isSamePlace}
            isSameTime={isSameTime}
            isMarked={wanted !== null && target?.row === row}
            actions={actions}
          />
        );
      }}
    />
  );
}

interface ItemProps {
  readonly item: Item;
  readonly seq: number;
  /** Whether the run goes on at the moment that is shown. */
  readonly isOpen: boolean;
  /** Whether the item before is of the same node and agent, and of the same second. */
  readonly isSamePlace: boolean;
  readonly isSameTime: boolean;
  readonly isMarked: boolean;
  readonly actions: RunActions | null;
}

const ItemView = memo(function ItemView({
  item,
  seq,
  isOpen,
  isSamePlace,
  isSameTime,
  isMarked,
  actions,
}: ItemProps) {
  const where = [item.node, item.agent].filter(Boolean).join(' › ');
  return (
    <article class={`story-item story-${item.kind} ${isMarked ? 'is-marked' : ''}`}>
      <time
        class={`item-time numbers small soft ${isSameTime ? 'is-same' : ''}`}
        dateTime={new Date(item.time * 1000).toISOString()}
      >
        {formatClock(item.time)}
      </time>
      <div class="item-body">
        {where && !isSamePlace && item.kind !== 'step' && (
          <div class="item-where small soft">
            <bdi>{where}</bdi>
          </div>
        )}
        {item.kind === 'text' && <TextView item={item} seq={seq} isOpen={isOpen} />}
        {item.kind === 'tool' && <ToolView item={item} seq={seq} isOpen={isOpen} />}
        {item.kind === 'question' && <QuestionView item={item} seq={seq} />}
        {item.kind === 'message' && <MessageView item={item} seq={seq} />}
        {'event' in item && item.kind !== 'message' && (
          <NoteView item={item as NoteItem} actions={actions} />
        )}
      </div>
    </article>
  );
});

function TextView({ item, seq, isOpen }: { item: TextItem; seq: number; isOpen: boolean }) {
  const { text, attempt, isDone } = textAt(item, seq);
  const [isWhole, setWhole] = useState(false);
  const isThought = item.type !== 'content';
  const [isUnfolded, setUnfolded] = useState(false);
  const isWriting = isOpen && !isDone;
  const shown = isWhole || text.length <= FOLDED_TEXT ? text : text.slice(-FOLDED_TEXT);
  const body = (
    <>
      {attempt > 1 && <span class="run-chip">{t('run.attempt', { number: attempt })}</span>}
      {shown.length < text.length && (
        <button type="button" class="quiet" onClick={() => setWhole(true)}>
          {t('run.more.before', { count: text.length - shown.length })}
        </button>
      )}
      <div class={isWriting ? 'is-writing' : undefined}>
        <Markdown text={withoutAnsi(shown)} isOpen={isWriting} />
      </div>
    </>
  );
  if (!isThought) return body;
  const line = withoutAnsi(text.slice(0, 400)).replace(/\s+/g, ' ').trim();
  return (
    <div class="thought">
      <button
        type="button"
        class="thought-head"
        aria-expanded={isUnfolded}
        onClick={() => setUnfolded(!isUnfolded)}
      >
        <span class="tree-caret" aria-hidden="true" />
        <em>{t(item.type === 'reasoning' ? 'run.reasoning' : 'run.thought')}</em>
        {!isUnfolded && (
          <span class="cut soft">
            <bdi>{line}</bdi>
          </span>
        )}
      </button>
      {isUnfolded && <div class="thought-body">{body}</div>}
    </div>
  );
}

function ToolView({ item, seq, isOpen }: { item: ToolItem; seq: number; isOpen: boolean }) {
  const [isUnfolded, setUnfolded] = useState(false);
  const call = by(item.call, seq);
  const result = by(item.result, seq);
  const isFailed = result !== null && pick(result.data, 'ok') === false;
  const state = result
    ? isFailed
      ? 'failed'
      : 'done'
    : !isOpen
      ? 'stopped'
      : call
        ? 'running'
        : 'writing';
  const took = result && call ? formatDuration(Math.max(0, result.time - call.time)) : '';
  const args = call ? pick(call.data, 'args') : item.argsText;
  const answer = result ? pick(result.data, 'result', 'content') : undefined;
  const icon = {
    failed: 'cross',
    done: 'check',
    stopped: 'ban',
    running: 'spinner',
    writing: 'spinner',
  } as const;
  return (
    <div class={`tool tool-${state}`}>
      <button
        type="button"
        class="tool-head"
        aria-expanded={isUnfolded}
        onClick={() => setUnfolded(!isUnfolded)}
      >
        <Icon name={icon[state]} size={14} />
        <code class="tool-name">
          <bdi>{item.tool || t('run.kind.tool')}</bdi>
        </code>
        <span class="cut soft mono small grow">
          <bdi>{asText(args).slice(0, 300)}</bdi>
        </span>
        {item.attempt > 1 && (
          <span class="run-chip">{t('run.attempt', { number: item.attempt })}</span>
        )}
        <span class="soft small numbers">{took || t(`run.tool.${state}`)}</span>
        <span class="tree-caret" aria-hidden="true" />
      </button>
      {!isUnfolded && answer !== undefined && (
        <div class="tool-line cut soft small">
          <span aria-hidden="true">→ </span>
          <bdi>{withoutAnsi(asText(answer).slice(0, 300))}</bdi>
        </div>
      )}
      {isUnfolded && (
        <div class="tool-body">
          <div class="small soft">{t('run.tool.args')}</div>
          {typeof args === 'string' ? (
            <pre class="plain">
              <LongText text={args} />
            </pre>
          ) : (
            <Tree value={args ?? null} />
          )}
          {result && (
            <>
              <div class="small soft">{t('run.tool.result')}</div>
              {typeof answer === 'string' ? (
                <pre class="plain">
                  <LongText text={withoutAnsi(answer)} />
                </pre>
              ) : (
                <Tree value={answer ?? null} />
              )}
              {asNumber(pick(result.data, 'length')) !== null && (
                <p class="small soft">
                  {t('run.tool.length', { count: asNumber(pick(result.data, 'length')) ?? 0 })}
                </p>
              )}
            </>
          )}
        </div>
      )}
    </div>
  );
}

function QuestionView({ item, seq }: { item: QuestionItem; seq: number }) {
  const { asked } = item;
  const response = by(item.response, seq);
  const resolved = by(item.resolved, seq);
  const answer = response ?? resolved;
  const given = pick(answer?.data, 'answer');
  const type = asText(pick(given, 'type'));
  const outcome = resolved ? name(resolved, 'outcome') : '';
  const args = isObject(given) ? pick(given, 'args', 'content') : given;
  const verdict = type || (response ? asText(pick(response.data, 'approved')) : '') || outcome;
  const who = answer ? name(answer, 'by') : '';
  const isKnown = (key: string): key is 'accept' | 'reject' | 'edit' | 'response' | 'expired' =>
    ['accept', 'reject', 'edit', 'response', 'expired'].includes(key);
  return (
    <div class="asked">
      <div class="asked-line">
        <Icon name="question" size={14} />
        <span>
          {name(asked, 'action') && (
            <code>
              <bdi>{name(asked, 'action')}</bdi>
            </code>
          )}{' '}
          <bdi>{message(asked)}</bdi>
        </span>
      </div>
      {pick(asked.data, 'args') !== undefined && (
        <Tree value={pick(asked.data, 'args')} isOpen={false} />
      )}
      {answer ? (
        <div class={`asked-answer answer-${type || outcome}`}>
          <Icon name={type === 'reject' || outcome === 'expired' ? 'cross' : 'check'} size={14} />
          <strong>
            {isKnown(verdict) ? t(`run.answer.${verdict}`) : verdict || t('run.answer.closed')}
          </strong>
          {who && <span>{t('run.answer.by', { name: who })}</span>}
          <span class="soft small numbers">{formatClock(answer.time)}</span>
          {args !== undefined &&
            args !== null &&
            (isObject(args) ? (
              <Tree value={args} />
            ) : (
              <span class="answer-text">
                <bdi>{asText(args)}</bdi>
              </span>
            ))}
        </div>
      ) : (
        <div class="soft small">{t('run.answer.none')}</div>
      )}
    </div>
  );
}

function MessageView({ item, seq }: { item: MessageItem; seq: number }) {
  const data = pick(item.event.data, 'data');
  const isRead = item.readSeq !== null && item.readSeq <= seq;
  return (
    <div class="said">
      <div class="said-bubble">
        {typeof data === 'string' ? <LongText text={data} /> : <Tree value={data ?? null} />}
      </div>
      <div class="small soft">
        {[
          name(item.event, 'from'),
          isRead
            ? t('run.message.read', { time: formatClock(item.readTime ?? item.time) })
            : t('run.message.delivered'),
        ]
          .filter(Boolean)
          .join(' · ')}
      </div>
    </div>
  );
}

function NoteView({ item, actions }: { item: NoteItem; actions: RunActions | null }) {
  const { event, kind } = item;
  if (kind === 'step') {
    const where = [item.node, item.agent].filter(Boolean).join(' › ');
    const text = message(event);
    return (
      <div class="step-line">
        <span>
          <bdi>{text || where || t('run.kind.step')}</bdi>
        </span>
        {text && where && where !== text && (
          <span class="soft small">
            <bdi>{where}</bdi>
          </span>
        )}
      </div>
    );
  }
  if (kind === 'error') {
    return (
      <div class="note note-error">
        <Icon name="alert" size={14} />
        <bdi>{withoutAnsi(message(event, 'error'))}</bdi>{' '}
        {name(event, 'code', 'error_code', 'error_type') && (
          <code>{name(event, 'code', 'error_code', 'error_type')}</code>
        )}
      </div>
    );
  }
  if (kind === 'attempt')
    return (
      <div class="note note-attempt">
        <Icon name="redo" size={14} />
        {t(pick(event.data, 'recovered') === true ? 'run.recovered' : 'run.attempt', {
          number: asNumber(pick(event.data, 'attempt')) ?? 2,
        })}
      </div>
    );
  if (kind === 'result')
    return (
      <Labelled title={t('run.result.part')} value={pick(event.data, 'value') ?? event.data} />
    );
  if (kind === 'files') {
    const files = pick(event.data, 'files');
    return (
      <div class="files">
        {(Array.isArray(files) ? files.slice(0, 20) : []).map((file, at) => (
          <FileRow key={at} file={file} actions={actions} />
        ))}
        {Array.isArray(files) && files.length > 20 && (
          <p class="small soft">{t('run.more.files', { count: files.length - 20 })}</p>
        )}
      </div>
    );
  }
  if (kind === 'ending') return <Ending event={event} />;
  return (
    <details class="own-event">
      <summary>
        <code>{event.type}</code>{' '}
        <span class="cut soft small mono">
          <bdi>{asText(event.data).slice(0, 300)}</bdi>
        </span>
      </summary>
      <Tree value={event.data} isOpen />
    </details>
  );
}

function Labelled({ title, value }: { title: string; value: unknown }) {
  return (
    <div class="labelled">
      <div class="small soft">{title}</div>
      <Readable value={value} />
    </div>
  );
}

function Ending({ event }: { event: RunEvent }) {
  if (event.type === 'failed')
    return (
      <div class="note note-error">
        <Icon name="cross" size={14} />
        <strong>{t('status.failed')}</strong> <bdi>{message(event, 'error')}</bdi>{' '}
        <code>{name(event, 'code', 'error_code')}</code>
      </div>
    );
  if (event.type === 'cancelled')
    return (
      <div class="note">
        <Icon name="ban" size={14} />
        <strong>{t('status.cancelled')}</strong> <bdi>{message(event, 'reason')}</bdi>
      </div>
    );
  const { data } = event;
  const isOurs =
    isObject(data) && Object.keys(data).every((key) => key === 'result' || key === 'summary');
  const result = isOurs ? pick(data, 'result') : data;
  const summary = isOurs ? pick(data, 'summary') : undefined;
  return (
    <div class="ending">
      <div class="note note-done">
        <Icon name="check" size={14} />
        <strong>{t('status.done')}</strong>
      </div>
      {summary !== undefined && <Labelled title={t('run.summary')} value={summary} />}
      {result !== undefined && result !== null && (
        <Labelled title={t('run.result')} value={result} />
      )}
    </div>
  );
}
