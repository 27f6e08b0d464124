/** The form by which a function is started. */

import { type FunctionDescription, RuncastError } from '@runcast/client';
import { useMemo, useRef, useState } from 'preact/hooks';
import { client } from '../data/client';
import { parseExact } from '../data/json';
import { t } from '../i18n';
import { go, links } from '../router';
import { Button, describedBy, Field, FieldProblem, Icon, notify } from '../ui';
import { isRecord, write } from './draft';
import { FilesInput } from './files';
import { Fields } from './inputs';
import { Options, optionProblems } from './options';
import { placeProblems } from './problems';
import { type Problems, readInputs } from './reading';
import { SecretsInput, useSecrets } from './secrets';
import { type ObjectShape, shapeOf } from './shape';
import { type FormDraft, freshDraft, loadDraft, saveDraft } from './store';

const NONE: Problems = new Map();

interface FormProps {
  readonly known: FunctionDescription;
  /** What the form begins with in place of what the tab kept. */
  readonly filled?: FormDraft | undefined;
}

export function FunctionForm({ known, filled }: FormProps) {
  const { name } = known;
  const shape = useMemo(() => shapeOf(known.inputs as never), [known]);
  const [draft, setDraft] = useState(() => filled ?? loadDraft(name, shape));
  const [problems, setProblems] = useState(NONE);
  const [refusal, setRefusal] = useState('');
  const [isStarting, setStarting] = useState(false);
  const [uploads, setUploads] = useState(0);
  const [secrets, setSecrets] = useSecrets(name);
  const box = useRef<HTMLFormElement>(null);
  const latest = useRef(draft);
  const groups = known.files.filter((group) => group.kind === 'input');

  const change = (changed: Partial<FormDraft>) => {
    latest.current = { ...latest.current, ...changed };
    setDraft(latest.current);
    saveDraft(name, shape, latest.current);
    setRefusal('');
  };
  const show = (found: Problems, told = '') => {
    setProblems(found);
    setRefusal(told || (found.size ? t('form.wrong', { count: found.size }) : ''));
    if (found.size) setTimeout(() => focusFirst(box.current, name, found), 0);
  };

  const start = async (event?: Event) => {
    event?.preventDefault();
    if (isStarting) return;
    const { inputs, problems: found } = readAll(shape, draft);
    const wrong = new Map([...found, ...optionProblems(draft), ...fileProblems(known, draft)]);
    if (wrong.size) return show(wrong);
    if (uploads > 0) return show(NONE, t('form.files.busy'));
    setStarting(true);
    try {
      const runId = await client.invoke(name, inputs, {
        ...(draft.runId && { runId: draft.runId }),
        ...(draft.labels.length && { labels: labelsOf(draft) }),
        ...(groups.length && { files: filesOf(draft) }),
        secrets: Object.fromEntries(Object.entries(secrets).filter(([, value]) => value)),
      });
      saveDraft(name, shape, null);
      go(links.run(runId));
    } catch (error) {
      refuse(error);
    } finally {
      setStarting(false);
    }
  };
  const refuse = (error: unknown) => {
    const told = error instanceof Error ? error.message : String(error);
    const said = error instanceof RuncastError ? (error.problems ?? []) : [];
    const paths = new Set(
      [...(box.current?.querySelectorAll('[id]') ?? [])].map((each) =>
        each.id.replace(`${name}.`, ''),
      ),
    );
    const { problems: placed, others } = placeProblems(said, paths);
    show(placed, placed.size && !others.length ? '' : others.join('; ') || told);
  };
  const startOver = () => {
    const before = latest.current;
    change(freshDraft(shape));
    show(NONE);
    notify(t('form.cleared'), 'plain', {
      text: t('form.undo'),
      act: () => change(before),
    });
  };

  const isJson = draft.json !== null;
  return (
    <form
      ref={box}
      class="form"
      noValidate
      onSubmit={start}
      onKeyDown={(event) => {
        if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void start(event);
      }}
    >
      <ModeSwitch {...{ shape, draft, change, show }} />
      {isJson ? (
        <JsonInputs {...{ name, draft, problems, change }} />
      ) : shape.fields.length ? (
        <Fields
          prefix={name}
          path=""
          label=""
          shape={shape}
          draft={draft.inputs}
          isRequired
          problems={problems}
          onChange={(inputs) => change({ inputs })}
        />
      ) : (
        groups.length === 0 && <p class="soft">{t('form.none')}</p>
      )}
      {groups.map((group) => (
        <FilesInput
          key={group.key}
          prefix={name}
          group={group}
          files={draft.files[group.key] ?? []}
          problem={problems.get(`files.${group.key}`)}
          onChange={(changed) => {
            const { files } = latest.current;
            change({ files: { ...files, [group.key]: changed(files[group.key] ?? []) } });
          }}
          onBusy={(by) => setUploads((present) => present + by)}
        />
      ))}
      <SecretsInput prefix={name} secrets={known.secrets} values={secrets} onChange={setSecrets} />
      <Options prefix={name} draft={draft} problems={problems} onChange={change} />
      <div class="form-foot">
        <Button look="primary" type="submit" icon="play" busy={isStarting}>
          {t(isStarting ? 'form.starting' : 'form.run')}
        </Button>
        <Button look="bare" onClick={startOver}>
          {t('form.clear')}
        </Button>
        <span class="grow" />
        <kbd class="wide-only">Ctrl ⏎</kbd>
      </div>
      <div class="field-problem" role="alert">
        {refusal && (
          <>
            <Icon name="alert" /> {refusal}
          </>
        )}
      </div>
    </form>
  );
}

function ModeSwitch({
  shape,
  draft,
  change,
  show,
}: {
  readonly shape: ObjectShape;
  readonly draft: FormDraft;
  readonly change: (changed: Partial<FormDraft>) => void;
  readonly show: (problems: Problems) => void;
}) {
  const isJson = draft.json !== null;
  const toJson = () => {
    const { inputs, problems } = readInputs(shape, draft.inputs);
    // A value that cannot be read would not be in the JSON.
    const unread = [...problems].filter(([, text]) => text !== t('form.required'));
    if (unread.length) return show(new Map(unread));
    show(NONE);
    change({ json: write(inputs, 2) });
  };
  const toForm = () => {
    const { inputs, problems } = readAll(shape, draft);
    if (problems.size) return show(problems);
    show(NONE);
    change({ json: null, inputs: fillIn(shape, inputs) });
  };
  return (
    <fieldset class="switch" aria-label={t('form.mode')}>
      <button type="button" aria-pressed={!isJson} onClick={() => isJson && toForm()}>
        {t('form.mode.form')}
      </button>
      <button type="button" aria-pressed={isJson} onClick={() => isJson || toJson()}>
        {t('form.mode.json')}
      </button>
    </fieldset>
  );
}

function JsonInputs({
  name,
  draft,
  problems,
  change,
}: {
  readonly name: string;
  readonly draft: FormDraft;
  readonly problems: Problems;
  readonly change: (changed: Partial<FormDraft>) => void;
}) {
  const id = `${name}.json`;
  const text = draft.json ?? '';
  const others = [...problems].filter(([path]) => path !== 'json');
  return (
    <Field id={id} label={t('form.json.label')} problem={problems.get('json')}>
      <textarea
        {...describedBy(id, '', problems.get('json'))}
        class="input mono"
        rows={Math.min(24, Math.max(8, text.split('\n').length + 1))}
        spellcheck={false}
        value={text}
        onInput={(event) => change({ json: event.currentTarget.value })}
      />
      {others.map(([path, told]) => (
        <FieldProblem key={path} id={`${id}.${path}`} problem={`${path}: ${told}`} />
      ))}
    </Field>
  );
}

/** Read the inputs from the JSON, if the person writes JSON, or from the form. */
function readAll(shape: ObjectShape, draft: FormDraft) {
  if (draft.json === null) return readInputs(shape, draft.inputs);
  let inputs: unknown;
  try {
    inputs = parseExact(draft.json.trim() || '{}');
  } catch (error) {
    const told = error instanceof Error ? ` (${error.message})` : '';
    return { inputs: {}, problems: new Map([['json', t('form.json') + told]]) };
  }
  if (isRecord(inputs)) return { inputs, problems: NONE };
  return { inputs: {}, problems: new Map([['json', t('form.object')]]) };
}

function fillIn(shape: ObjectShape, inputs: Record<string, unknown>) {
  return freshDraft({ ...shape, given: inputs }).inputs;
}

function fileProblems(known: FunctionDescription, draft: FormDraft): Problems {
  const wrong = new Map<string, string>();
  for (const { key, kind, least, most } of known.files) {
    if (kind !== 'input') continue;
    const count = draft.files[key]?.length ?? 0;
    if (count < least) wrong.set(`files.${key}`, t('form.files.few', { count: least }));
    if (most !== null && count > most) {
      wrong.set(`files.${key}`, t('form.files.many', { count: most }));
    }
  }
  return wrong;
}

function filesOf(draft: FormDraft) {
  const groups = Object.entries(draft.files).filter(([, files]) => files.length);
  return Object.fromEntries(
    groups.map(([key, files]) => [key, files.map(({ upload_id }) => ({ upload_id }))]),
  );
}

function labelsOf(draft: FormDraft): Record<string, string> {
  return Object.fromEntries(draft.labels.map(({ name, value }) => [name.trim(), value]));
}

/** Move the focus to the first field, from the top of the form, that has a problem. */
function focusFirst(box: HTMLFormElement | null, name: string, problems: Problems): void {
  const ids = new Set([...problems.keys()].map((path) => `${name}.${path}`));
  const first = [...(box?.querySelectorAll<HTMLElement>('[id]') ?? [])].find((it) =>
    ids.has(it.id),
  );
  first?.focus();
}
