import { defineConfig } from "tsdown";

export default defineConfig({ entry: ["lib/index.ts"], format: ["esm", "cjs"], dts: true, shims: true, target: "node20", outDir: "dist" });
