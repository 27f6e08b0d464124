import { defineConfig } from 'vitest/config';

// The tests of the hooks once more, with Preact in the place of React.
export default defineConfig({
  resolve: {
    conditions: ['source'],
    alias: [
      { find: 'react-dom/client', replacement: 'preact/compat/client' },
      { find: /^react\/jsx-(dev-)?runtime$/, replacement: 'preact/compat/jsx-runtime' },
      { find: /^react$/, replacement: 'preact/compat' },
    ],
  },
  test: {
    name: 'client with preact',
    environment: 'node',
    testTimeout: 30_000,
    include: ['test/react.test.tsx'],
  },
});
