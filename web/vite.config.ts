import { defineConfig } from "vite";

// Relative addresses, so that the page works behind any prefix; no inlined assets, which the content security
// policy would refuse.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../src/linkwise/serve/static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { proxy: { "/v1": "http://127.0.0.1:8765" } },
});
