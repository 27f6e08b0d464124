import { execFile } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import manifest from '../package.json' with { type: 'json' };

/** The package as others get it: packed, unpacked elsewhere, used without this workspace. */

const run = promisify(execFile);
const CLIENT = fileURLToPath(new URL('..', import.meta.url));
const MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url));
const BIN = join(MODULES, '.bin');
const LIMIT = { timeout: 120_000 };
const folder = mkdtempSync(join(tmpdir(), 'runcast-packed-'));
const home = join(folder, 'node_modules', '@runcast', 'client');
const SUBPATHS = Object.keys(manifest.exports);

const USES = `
import { connect, Fold, type RunEvent, type Snapshot, RuncastError, is } from '@runcast/client';
import { useRun } from '@runcast/client/react';
import type { RunElement } from '@runcast/client/element';

const client = connect({ url: 'http://127.0.0.1:8000', token: 'x' });
export async function main(): Promise<number> {
  const state: Snapshot = new Fold().snapshot;
  for await (const event of client.watch('r', { types: ['content'] })) {
    const known: RunEvent = event;
    if (is(known, 'progress')) console.log(known.data.percent?.toFixed());
  }
  const element: RunElement = document.createElement('runcast-run');
  element.source = client;
  // @ts-expect-error: an answer has a type
  await client.answer('r', 'q', { typ: 'accept' });
  return state.texts.length + useRun.length + new RuncastError('gone', '').status;
}
`;

beforeAll(async () => {
  await run(join(BIN, 'tsc'), ['--build', '--force'], { ...LIMIT, cwd: CLIENT });
  await run(join(BIN, 'vite'), ['build', '--logLevel', 'error'], { ...LIMIT, cwd: CLIENT });
  const packed = await run('npm', ['pack', '--silent', '--pack-destination', folder], {
    ...LIMIT,
    cwd: CLIENT,
  });
  mkdirSync(home, { recursive: true });
  const name = join(folder, packed.stdout.trim());
  await run('tar', ['-xzf', name, '-C', home, '--strip-components=1'], LIMIT);
  writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
  writeFileSync(join(folder, 'main.ts'), USES);
}, 240_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('it holds what it needs, and nothing else', () => {
  expect(readdirSync(home).sort()).toEqual(['README.md', 'dist', 'package.json']);
  const files = readdirSync(join(home, 'dist'), { recursive: true }).map(String);
  expect(files).toContain('embed.js');
  expect(files.filter((file) => /test|tsbuildinfo/.test(file))).toEqual([]);
});

test.each([
  ['NodeNext', 'NodeNext'],
  ['Node16', 'Node16'],
  ['ESNext', 'Bundler'],
])(
  'its types are found with %s and %s',
  async (module, moduleResolution) => {
    const compilerOptions = {
      ...{ module, moduleResolution, target: 'ES2022', lib: ['ES2022', 'DOM', 'DOM.Iterable'] },
      ...{ strict: true, exactOptionalPropertyTypes: true, noEmit: true, types: [] },
    };
    const config = { compilerOptions, files: ['main.ts'] };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
    const said = await run(join(BIN, 'tsc'), ['-p', folder], LIMIT).catch((error) => error);
    expect(said.stdout).toBe('');
  },
  120_000,
);

/** What the code in documents takes for granted. */
const AROUND = `export {};
declare global {
  const run: string;
  function showText(key: string, text: string): void;
  function openDialog(text: string, respond: (answer: boolean) => Promise<unknown>): void;
  function closeDialog(id: string): void;
  function showProgress(state: object): void;
}`;

test('the code in the documents is right', async () => {
  symlinkSync(join(MODULES, '@types'), join(folder, 'node_modules', '@types'));
  for (const name of ['react', 'csstype']) {
    symlinkSync(join(MODULES, name), join(folder, 'node_modules', name));
  }
  const files = ['around.d.ts'];
  writeFileSync(join(folder, 'around.d.ts'), AROUND);
  for (const path of ['docs/typescript.md', 'docs/migrating.md', 'web/client/README.md']) {
    const text = readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
    for (const [, kind, code] of text.matchAll(/^```(tsx?)\n(.*?)^```$/gms)) {
      files.push(`document-${files.length}.${kind}`);
      writeFileSync(join(folder, files.at(-1) ?? ''), code ?? '');
    }
  }
  expect(files.length).toBeGreaterThan(4);
  const compilerOptions = {
    ...{ module: 'NodeNext', target: 'ES2022', lib: ['ES2022', 'DOM', 'DOM.Iterable'] },
    ...{ strict: true, noEmit: true, jsx: 'react-jsx', types: [], skipLibCheck: true },
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
  const said = await run(join(BIN, 'tsc'), ['-p', folder], LIMIT).catch((error) => error);
  expect(said.stdout).toBe('');
}, 120_000);

test('Node imports it', async () => {
  const paths = SUBPATHS.filter((path) => path !== './react'); // which needs React
  const imports = paths.map((path) => `await import('@runcast/client${path.slice(1)}');`);
  const program = `${imports.join('\n')}
    const { connect } = await import('@runcast/client');
    console.log(typeof connect('http://127.0.0.1:1').watch);`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program], {
    ...LIMIT,
    cwd: folder,
  });
  expect(stdout.trim()).toBe('function');
}, 120_000);
