import { defineConfig } from "tsdown";

const shared = { shims: true, target: "node20", outDir: "dist" } as const;

export default defineConfig([
  // The command line and the worker that decodes sounds share their chunks with the library; only the library has types.
  { ...shared, entry: { index: "lib/index.ts", cli: "lib/cli/main.ts", "decode-worker": "lib/media/decode-loop.ts" }, format: ["esm"], dts: { entry: "lib/index.ts" } },
  { ...shared, entry: ["lib/index.ts"], format: ["cjs"], dts: true, clean: false },
]);
