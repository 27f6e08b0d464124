import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';
import { expect, test } from 'vitest';
import manifest from '../package.json' with { type: 'json' };

/** The size of what a page loads that uses these names, in bytes after gzip. */
async function sizeOf(names: string, from = '../src/index.ts'): Promise<number> {
  const entry = 'entry-of-a-page.js';
  const path = fileURLToPath(new URL(from, import.meta.url));
  const built = await build({
    configFile: false,
    logLevel: 'silent',
    build: {
      write: false,
      target: 'es2022',
      modulePreload: false,
      rolldownOptions: { input: entry, preserveEntrySignatures: 'strict' },
    },
    plugins: [
      {
        name: 'entry',
        resolveId: (id) => (id === entry ? id : null),
        load: (id) => (id === entry ? `export { ${names} } from ${JSON.stringify(path)};` : null),
      },
    ],
  });
  const outputs = [built].flat().flatMap((each) => ('output' in each ? each.output : []));
  const code = outputs.map((each) => ('code' in each ? each.code : '')).join('');
  expect(code.length).toBeGreaterThan(1000);
  return gzipSync(code, { level: 9 }).length;
}

test('the core with its parser, without the fold, is at most 8 kB', async () => {
  const core = await sizeOf('connect, RuncastError, is, isGap, isTerminal');
  const whole = await sizeOf('connect, Fold');
  console.info(`gzip: core ${core} B, with the fold ${whole} B`);

  expect(core).toBeLessThanOrEqual(8000);
  expect(whole).toBeGreaterThan(core + 500); // the fold is not in the core
});

test('the package needs no other package', () => {
  expect(Object.keys(manifest)).not.toContain('dependencies');
});
