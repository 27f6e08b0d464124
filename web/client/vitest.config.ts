import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { conditions: ['source'] },
  test: { name: 'client', environment: 'node', include: ['test/**/*.test.{ts,tsx}'] },
});
