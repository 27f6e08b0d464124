import { useEffect, useState } from 'preact/hooks';
import { t } from '../../i18n';
import { formatBytes } from '../../i18n/format';
import { Button, Icon } from '../../ui';
import type { RunActions } from '../actions';
import { asNumber, asText, pick } from '../model/fields';
import { withoutAnsi } from '../text/ansi';
import { CodeBlock } from '../text/CodeBlock';
import { Markdown } from '../text/Markdown';

/** Bytes of a text that a preview reads. */
const PREVIEW_BYTES = 65_536;
/** Bytes of the largest image that is shown. */
const IMAGE_BYTES = 20_000_000;
/** Images that cannot hold a script. */
const IMAGES = /\.(png|jpe?g|gif|webp|avif)$/i;
const TEXTS =
  /\.(txt|md|markdown|json|jsonl|ndjson|csv|tsv|log|ya?ml|toml|ini|py|js|ts|tsx|jsx|css|html?|xml|svg|sql|sh|rs|go|java|c|h|cpp|diff|patch)$/i;

/** All files that a run left. */
export function Files({
  files,
  dropped,
  actions,
}: {
  files: readonly unknown[];
  dropped: number;
  actions: RunActions | null;
}) {
  return (
    <div class="files">
      {files.map((file, at) => (
        <FileRow key={at} file={file} actions={actions} />
      ))}
      {dropped > 0 && <p class="soft">{t('run.more.files', { count: dropped })}</p>}
    </div>
  );
}

/**
 * Return the path of a file that this server keeps for a run; null for everything else.
 *
 * A function may call any address a file of its own: only plain paths below `files` of a run pass,
 * which no browser or proxy could change into another address.
 */
export function pathOf(file: unknown): { readonly runId: string; readonly path: string } | null {
  const url = pick(file, 'url');
  if (typeof url !== 'string') return null;
  try {
    const [root, runs, id = '', files, ...path] = url.split('/').map(decodeURIComponent);
    const isPlain =
      // biome-ignore lint/suspicious/noControlCharactersInRegex: such names are refused
      path.length > 0 && path.every((name) => !/^\.{0,2}$|[\0-\x1f/\\\x7f]/.test(name));
    const isOurs = !root && runs === 'runs' && /^[a-z\d][\w.:-]*$/i.test(id) && files === 'files';
    return isOurs && isPlain ? { runId: id, path: path.join('/') } : null;
  } catch {
    return null; // not UTF-8
  }
}

/** A file of the run: its name, a link if this server keeps it, and a preview. */
export function FileRow({ file, actions }: { file: unknown; actions: RunActions | null }) {
  const [isOpen, setOpen] = useState(false);
  const name = asText(pick(file, 'path', 'name') ?? file);
  const size = asNumber(pick(file, 'size'));
  const found = actions && pathOf(file);
  const isImage = IMAGES.test(name) && (size ?? 0) <= IMAGE_BYTES;
  const canOpen =
    found && (isImage || TEXTS.test(name) || /^text\//.test(asText(pick(file, 'type'))));
  return (
    <div class="file">
      <div class="file-head">
        <Icon name="file" />
        {found ? (
          <a href={actions.fileUrl(found.runId, found.path)} download="">
            <bdi>{name}</bdi>
          </a>
        ) : (
          <bdi>{name}</bdi>
        )}
        {size !== null && <span class="soft small">{formatBytes(size)}</span>}
        <span class="grow" />
        {canOpen && (
          <Button look="bare" class="small" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
            {t(isOpen ? 'run.file.hide' : 'run.file.show')}
          </Button>
        )}
      </div>
      {isOpen &&
        found &&
        (isImage ? (
          <img
            class="file-image"
            src={actions.fileUrl(found.runId, found.path)}
            alt={name}
            loading="lazy"
            referrerpolicy="no-referrer"
          />
        ) : (
          <TextFile name={name} runId={found.runId} path={found.path} actions={actions} />
        ))}
    </div>
  );
}

function TextFile({
  name,
  runId,
  path,
  actions,
}: {
  name: string;
  runId: string;
  path: string;
  actions: RunActions;
}) {
  const [text, setText] = useState<string | null>(null);
  const [problem, setProblem] = useState('');
  const [isCut, setCut] = useState(false);
  useEffect(() => {
    const stop = new AbortController();
    (async () => {
      const response = await actions.download(runId, path, stop.signal);
      const { bytes, isMore } = await readStart(response, PREVIEW_BYTES);
      setCut(isMore);
      setText(new TextDecoder().decode(bytes));
    })().catch((error: unknown) => {
      if (!stop.signal.aborted) setProblem(error instanceof Error ? error.message : String(error));
    });
    return () => stop.abort();
  }, [runId, path]);
  if (problem) return <p class="note note-error">{problem}</p>;
  if (text === null) return <p class="soft">{t('common.loading')}</p>;
  const isMarkdown = /\.(md|markdown)$/i.test(name);
  return (
    <div class="file-text">
      {isMarkdown ? (
        <Markdown text={text} />
      ) : (
        <CodeBlock text={withoutAnsi(text)} language={/\.(\w+)$/.exec(name)?.[1] ?? ''} />
      )}
      {isCut && <p class="small soft">{t('run.file.cut', { size: formatBytes(PREVIEW_BYTES) })}</p>}
    </div>
  );
}

/** Read the beginning of an answer, and leave the rest. */
async function readStart(
  response: Response,
  most: number,
): Promise<{ bytes: Uint8Array; isMore: boolean }> {
  const reader = response.body?.getReader();
  const parts: Uint8Array[] = [];
  let size = 0;
  while (reader && size <= most) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
  }
  await reader?.cancel().catch(() => {});
  const bytes = new Uint8Array(Math.min(size, most));
  let at = 0;
  for (const part of parts) {
    bytes.set(part.subarray(0, Math.max(0, most - at)), Math.min(at, most));
    at += part.length;
    if (at >= most) break;
  }
  return { bytes, isMore: size > most };
}
