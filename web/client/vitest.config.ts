import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { conditions: ['source'] },
  test: {
    name: 'client',
    environment: 'node',
    testTimeout: 30_000,
    include: ['test/**/*.test.{ts,tsx}'],
  },
});
