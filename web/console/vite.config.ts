import preact from '@preact/preset-vite';
import { defineConfig } from 'vite';

// Built into the Python package, so that a server needs no Node. `python3 dev.py web` proves the
// committed files fresh.
const SERVER = 'http://127.0.0.1:8000';

export default defineConfig({
  base: './',
  plugins: [preact()],
  resolve: { conditions: ['source', 'module', 'browser', 'development|production'] },
  build: {
    outDir: process.env.RUNCAST_CONSOLE_OUT ?? '../../src/runcast/_http/console/built',
    emptyOutDir: true,
    target: 'es2022',
    // Browsers since 2024: CSS nesting and `light-dark()` stay as they are written.
    cssTarget: ['chrome123', 'firefox121', 'safari17.5'],
    // One style for both scripts: two of them compress worse.
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    // The view of a run is one script with a known name, because `runcast export` puts it into
    // pages. The console uses the same file.
    rolldownOptions: {
      input: { index: 'index.html', export: 'src/run/export.tsx' },
      output: {
        entryFileNames: (chunk) =>
          `assets/${chunk.name === 'export' ? 'export' : '[name]-[hash]'}.js`,
        assetFileNames: (asset) =>
          `assets/${asset.names.includes('style.css') ? 'export' : '[name]-[hash]'}[extname]`,
      },
    },
    // Inlined files would need `data:` in the policy for images and fonts.
    assetsInlineLimit: 0,
  },
  worker: { format: 'es' },
  // The console beside `runcast serve`. Paths of the console's own modules are not among them.
  server: { proxy: { '^/(docs|events|functions$|invoke|runs|session|uploads)': SERVER } },
});
