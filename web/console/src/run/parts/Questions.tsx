import { useEffect, useRef, useState } from 'preact/hooks';
import { remember, remembered } from '../../data/remembered';
import { t } from '../../i18n';
import { formatDuration } from '../../i18n/format';
import { Ago, Button, describedBy, Field, Icon, now, useClock } from '../../ui';
import type { RunActions } from '../actions';
import { loadDraft, saveDraft } from '../drafts';
import {
  type Answer,
  allowedBy,
  answerFor,
  changesOf,
  choicesOf,
  type Draft,
  type Objection,
  type Press,
  takesJson,
  textOf,
} from '../model/answers';
import { asText, pick } from '../model/fields';
import type { Question } from '../model/state';
import type { RunSession } from '../session';
import { Markdown } from '../text/Markdown';
import { Tree } from './Value';

/** The questions that a run waits for. */
export function Questions({
  session,
  actions,
}: {
  session: RunSession;
  actions: RunActions | null;
}) {
  const isPast = session.cursor.value !== null;
  const questions = session.state?.interrupts.filter((each) => !each.is_answered) ?? [];
  useAnsweredElsewhere(session, isPast ? null : questions);
  if (questions.length === 0) return null;
  const epoch = session.epoch;
  return (
    <section class="questions" aria-label={t('run.questions')}>
      {questions.map((question) => (
        <QuestionCard
          key={`${epoch}/${question.interrupt_id}/${question.seq}`}
          question={question}
          place={[session.info?.run_id ?? '', epoch, question.interrupt_id ?? '']}
          actions={isPast ? null : actions}
        />
      ))}
    </section>
  );
}

/** When a question is gone that somebody here was answering, say so, and show what they typed. */
function useAnsweredElsewhere(session: RunSession, open: readonly Question[] | null): void {
  const known = useRef(new Map<string, string>());
  useEffect(() => {
    if (open === null) return;
    const still = new Set(open.map((each) => each.interrupt_id ?? ''));
    for (const [id, action] of known.current) {
      if (still.has(id)) continue;
      known.current.delete(id);
      const place = [session.info?.run_id ?? '', session.epoch, id];
      const drafts = [loadDraft(...place, 'args'), loadDraft(...place, 'said')].filter(Boolean);
      saveDraft('', ...place, 'args');
      saveDraft('', ...place, 'said');
      if (drafts.length === 0) continue;
      session.notices.value = [
        ...session.notices.value,
        { key: 'draft', values: { question: action, draft: drafts.join('\n') } },
      ];
    }
    for (const each of open)
      known.current.set(each.interrupt_id ?? '', each.action || each.message || '');
  });
}

interface CardProps {
  readonly question: Question;
  readonly place: readonly string[];
  readonly actions: RunActions | null;
}

function QuestionCard({ question, place, actions }: CardProps) {
  const { config } = question;
  const allowed = allowedBy(config);
  const choices = choicesOf(config);
  const [args, setArgs] = useState<string | null>(() => loadDraft(...place, 'args') || null);
  const [said, setSaid] = useState(() => loadDraft(...place, 'said'));
  const [by, setBy] = useState(() => remembered('name') ?? '');
  const [problem, setProblem] = useState<{ readonly why: Objection; readonly press: Press } | null>(
    null,
  );
  const [busy, setBusy] = useState<Press | ''>('');
  const hasArgs = question.args !== undefined && question.args !== null;
  const isCut = (question.args_dropped ?? 0) > 0;
  const draft: Draft = { args: isCut ? null : args, said };
  const isChanged = changesOf(draft, question.args) !== null;
  const id = `q-${place.join('-').replace(/[^\w-]/g, '_')}`;

  const keep = (what: 'args' | 'said', text: string): void => {
    setProblem(null);
    if (what === 'said') setSaid(text);
    else setArgs(text === textOf(question.args) ? null : text);
    saveDraft(what === 'args' && text === textOf(question.args) ? '' : text, ...place, what);
  };
  const send = async (press: Press, answer: Answer): Promise<void> => {
    setBusy(press);
    remember('name', by.trim() || null);
    const isSent = await actions?.attempt(() =>
      actions.answer(question.interrupt_id ?? '', answer, by.trim()),
    );
    setBusy('');
    if (!isSent) return;
    saveDraft('', ...place, 'args');
    saveDraft('', ...place, 'said');
  };
  const press = (which: Press): void => {
    const isSure = problem?.press === which && problem.why === 'changed';
    const answer = answerFor(which, draft, question, isSure);
    if (typeof answer === 'string') setProblem({ why: answer, press: which });
    else void send(which, answer);
  };

  return (
    <article class="question panel">
      <div class="question-head">
        <Icon name="question" />
        <strong>{t('run.question.asks')}</strong>
        {question.action && (
          <code>
            <bdi>{question.action}</bdi>
          </code>
        )}
        <span class="soft small">
          {[question.node, question.agent].filter(Boolean).join(' › ')}
        </span>
        <span class="grow" />
        <span class="soft small">
          <Ago time={question.asked_at} />
        </span>
        <Expiry at={question.expires_at} />
      </div>
      {question.message && <Markdown text={question.message} />}
      {hasArgs && (!allowed.edit || isCut || !actions) && (
        <div class="field">
          <span class="small soft">
            {isCut
              ? t('run.question.cut', { count: question.args_dropped ?? 0 })
              : t('run.question.fixed')}
          </span>
          <Tree value={question.args} />
        </div>
      )}
      {hasArgs && allowed.edit && !isCut && actions && (
        <Field
          id={`${id}-args`}
          label={t('run.question.args')}
          problem={
            problem?.why === 'json' && problem.press === 'accept'
              ? t('run.question.json')
              : undefined
          }
          hint={
            isChanged ? (
              <button
                type="button"
                class="quiet"
                onClick={() => keep('args', textOf(question.args))}
              >
                {t('run.question.undo')}
              </button>
            ) : (
              'JSON'
            )
          }
        >
          <textarea
            {...describedBy(`${id}-args`, '', undefined)}
            class="input mono"
            spellcheck={false}
            rows={Math.min(14, textOf(question.args).split('\n').length + 1)}
            value={args ?? textOf(question.args)}
            onInput={(event) => keep('args', event.currentTarget.value)}
          />
        </Field>
      )}
      {actions && choices.length > 0 && allowed.respond && (
        <fieldset class="question-choices">
          <legend class="unseen">{t('run.question.choices')}</legend>
          {choices.map((choice, at) => (
            <Button
              key={at}
              busy={busy === 'response'}
              onClick={() => void send('response', { type: 'response', args: choice })}
            >
              <bdi>{asText(choice)}</bdi>
            </Button>
          ))}
        </fieldset>
      )}
      {actions && (allowed.respond || !allowed.accept) && choices.length === 0 && (
        <Field
          id={`${id}-said`}
          label={t(allowed.respond ? 'run.question.response' : 'run.question.reason')}
          hint={takesJson(config) ? 'JSON' : undefined}
          problem={
            problem &&
            problem.press === 'response' &&
            (problem.why === 'json' || problem.why === 'empty')
              ? t(`run.question.${problem.why}`)
              : undefined
          }
        >
          <textarea
            {...describedBy(`${id}-said`, '', undefined)}
            class="input"
            rows={said.includes('\n') ? 4 : 1}
            value={said}
            onInput={(event) => keep('said', event.currentTarget.value)}
          />
        </Field>
      )}
      {pick(config, 'response_schema') !== undefined && choices.length === 0 && (
        <details class="small">
          <summary>{t('run.question.schema')}</summary>
          <Tree value={pick(config, 'response_schema')} />
        </details>
      )}
      {problem && (problem.why === 'changed' || problem.why === 'said') && (
        <p class="question-problem" role="alert">
          <Icon name="alert" size={14} /> {t(`run.question.${problem.why}`)}
        </p>
      )}
      {actions && (
        <div class="question-foot">
          {allowed.accept && (
            <Button
              look="primary"
              icon="check"
              busy={busy === 'accept'}
              onClick={() => press('accept')}
            >
              {isChanged ? t('run.question.accept.changed') : t('run.question.accept')}
            </Button>
          )}
          {!allowed.accept && hasArgs && allowed.edit && isChanged && (
            <Button
              look="primary"
              icon="check"
              busy={busy === 'accept'}
              onClick={() => press('accept')}
            >
              {t('run.question.edit')}
            </Button>
          )}
          {allowed.respond && choices.length === 0 && (
            <Button
              icon="send"
              look={allowed.accept ? 'plain' : 'primary'}
              busy={busy === 'response'}
              onClick={() => press('response')}
            >
              {t('run.question.respond')}
            </Button>
          )}
          <Button
            look="danger"
            icon="cross"
            busy={busy === 'reject'}
            onClick={() => press('reject')}
          >
            {problem?.press === 'reject' && problem.why === 'changed'
              ? t('run.question.reject.sure')
              : said.trim()
                ? t('run.question.reject.said')
                : t('run.question.reject')}
          </Button>
          <span class="grow" />
          <label class="question-by small soft">
            {t('run.question.by')}
            <input
              class="input"
              value={by}
              maxLength={200}
              autocomplete="name"
              onInput={(event) => setBy(event.currentTarget.value)}
            />
          </label>
        </div>
      )}
    </article>
  );
}

function Expiry({ at }: { at: number | string | null | undefined }) {
  useClock(typeof at === 'number');
  if (typeof at !== 'number') return null;
  const left = at - now.value;
  return (
    <span class="badge question-expiry">
      <Icon name="clock" size={14} />
      {left > 0
        ? t('run.question.expires', { time: formatDuration(Math.ceil(left)) })
        : t('run.question.expired')}
    </span>
  );
}
