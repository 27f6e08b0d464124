import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { projects: ['client', 'client/vitest.preact.config.ts', 'console'] },
});
