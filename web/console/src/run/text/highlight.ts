/** A piece of code; `kind` is a class of `run.css`, "" for what needs none. */
export interface Token {
  readonly text: string;
  readonly kind: '' | 'keyword' | 'string' | 'comment' | 'number' | 'name' | 'added' | 'removed';
}

/** Longer code is shown plain: it would be coloured again with each piece that arrives. */
export const MAX_HIGHLIGHTED = 30_000;

interface Grammar {
  readonly comment?: string;
  readonly keywords: string;
  readonly strings?: string;
  readonly ignoreCase?: boolean;
}

const DOUBLE = String.raw`"(?:\\.|[^"\\\n])*"?`;
const SINGLE = String.raw`'(?:\\.|[^'\\\n])*'?`;
const TICK = '`(?:\\\\.|[^`\\\\])*`?';
const TRIPLE = String.raw`"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)`;
const SLASHES = String.raw`\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)`;
const HASH = String.raw`#[^\n]*`;

const C_LIKE =
  'abstract as async await bool boolean break byte case catch char class const continue default delete do double else enum export extends extern final finally float fn for from func function go goto if impl implements import in instanceof int interface internal let long loop match mod mut namespace new null nullptr of operator override package private protected public pub readonly ref return self short signed sizeof static string struct super switch this throw throws trait true false try type typeof undefined union unsafe unsigned use using var virtual void volatile where while with yield nil map range select chan defer None Some Ok Err';

const GRAMMARS: Readonly<Record<string, Grammar>> = {
  c: { comment: SLASHES, keywords: C_LIKE, strings: `${DOUBLE}|${SINGLE}|${TICK}` },
  python: {
    comment: HASH,
    keywords:
      'and as assert async await break case class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return try while with yield None True False self',
    strings: `${TRIPLE}|${DOUBLE}|${SINGLE}`,
  },
  shell: {
    comment: String.raw`(?<=^|\s)#[^\n]*`,
    keywords:
      'if then else elif fi for in do done while until case esac function return export local echo cd set exit source sudo',
    strings: String.raw`"(?:\\[\s\S]|[^"\\])*"?|'[^']*'?`,
  },
  sql: {
    comment: String.raw`--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)`,
    keywords:
      'select from where and or not in is null insert into values update set delete create table index view drop alter add primary key foreign references join left right inner outer full on as order by group having limit offset union all distinct case when then else end begin commit rollback with exists between like asc desc count sum avg min max',
    ignoreCase: true,
  },
  json: { comment: HASH, keywords: 'true false null yes no on off' },
  // Not written as markup: an exported page has this script in its HTML.
  markup: { comment: String.raw`<!-{2}[\s\S]*?(?:-{2}>|$)`, keywords: '' },
};

const LANGUAGES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    c: 'c h cc cpp c++ cs csharp java js javascript jsx mjs ts typescript tsx go golang rust rs kotlin kt swift scala php dart css scss less',
    python: 'python py python3 pycon',
    shell: 'sh bash shell zsh console shellsession dockerfile makefile',
    sql: 'sql sqlite postgres postgresql mysql',
    json: 'json jsonc json5 ndjson jsonl yaml yml toml ini conf properties',
    markup: 'html xml svg vue markup',
    diff: 'diff patch',
  }).flatMap(([grammar, names]) => names.split(' ').map((name) => [name, grammar] as const)),
);

const patterns = new Map<string, RegExp>();

function patternOf(language: string): RegExp | undefined {
  const grammar = Object.hasOwn(GRAMMARS, language) ? GRAMMARS[language] : undefined;
  if (!grammar) return undefined;
  let pattern = patterns.get(language);
  if (!pattern) {
    const parts = [
      `(?<comment>${grammar.comment ?? '(?!)'})`,
      `(?<string>${grammar.strings ?? `${DOUBLE}|${SINGLE}`})`,
      String.raw`(?<number>\b(?:0[xob][\da-f_]+|\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?)\b)`,
      grammar.keywords
        ? `(?<keyword>\\b(?:${grammar.keywords.replaceAll(' ', '|')})\\b)`
        : '(?<keyword>(?!))',
      language === 'markup' || language === 'css' || language === 'config'
        ? String.raw`(?<name><\/?[\w:-]+|\/?>|[\w-]+(?=\s*[:=]))`
        : String.raw`(?<name>\b[A-Za-z_]\w*(?=\())`,
    ];
    pattern = new RegExp(parts.join('|'), grammar.ignoreCase ? 'gim' : 'gm');
    patterns.set(language, pattern);
  }
  return pattern;
}

/** Return code as coloured pieces. Together they are the code, whatever it is. */
export function highlight(code: string, language: string): Token[] {
  const grammar = LANGUAGES.get(language.toLowerCase());
  if (grammar === undefined || code.length > MAX_HIGHLIGHTED) return [{ text: code, kind: '' }];
  if (grammar === 'diff') return highlightDiff(code);
  const tokens: Token[] = [];
  let at = 0;
  const pattern = patternOf(grammar);
  for (const found of pattern ? code.matchAll(pattern) : []) {
    const [text] = found;
    if (!text) continue;
    if (found.index > at) tokens.push({ text: code.slice(at, found.index), kind: '' });
    const kind = Object.entries(found.groups ?? {}).find(([, value]) => value !== undefined)?.[0];
    tokens.push({ text, kind: (kind ?? '') as Token['kind'] });
    at = found.index + text.length;
  }
  if (at < code.length) tokens.push({ text: code.slice(at), kind: '' });
  return tokens;
}

function highlightDiff(code: string): Token[] {
  return code.split(/(?<=\n)/).map((text) => {
    const kind = /^(\+\+\+|---|@@|diff )/.test(text)
      ? 'comment'
      : text.startsWith('+')
        ? 'added'
        : text.startsWith('-')
          ? 'removed'
          : '';
    return { text, kind };
  });
}
