import { defineConfig } from "tsdown";

const shared = { shims: true, target: "node20", outDir: "dist" } as const;

export default defineConfig([
  // The command line and what decodes sounds and films beside the process share their chunks with the library; only the library has types.
  { ...shared, entry: { index: "lib/index.ts", cli: "lib/cli/main.ts", "decode-worker": "lib/media/decode-loop.ts", "clip-decoder": "lib/media/clip-decoder.mjs" }, format: ["esm"], dts: { entry: "lib/index.ts" } },
  { ...shared, entry: ["lib/index.ts"], format: ["cjs"], dts: true, clean: false },
]);
