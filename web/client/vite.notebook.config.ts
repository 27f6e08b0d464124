import { defineConfig } from 'vite';

// What a notebook loads from its kernel, in one file: dist/notebook.js.
export default defineConfig({
  build: {
    outDir: 'dist',
    emptyOutDir: false, // what tsc made is there
    target: 'es2022',
    lib: { entry: 'src/notebook.ts', formats: ['es'], fileName: () => 'notebook.js' },
    rolldownOptions: { output: { minify: true } },
  },
});
