import { defineConfig } from 'vite';

// The element in one file, for pages that build nothing: dist/embed.js.
export default defineConfig({
  build: {
    outDir: 'dist',
    emptyOutDir: false, // what tsc made is there
    target: 'es2022',
    lib: { entry: 'src/element.ts', formats: ['es'], fileName: () => 'embed.js' },
    rolldownOptions: { output: { minify: true } },
  },
});
