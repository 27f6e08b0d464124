import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { conditions: ['source'] },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  test: { name: 'console', environment: 'happy-dom', include: ['test/**/*.test.{ts,tsx}'] },
});
