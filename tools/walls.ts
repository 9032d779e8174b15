// Who may know whom. The folders of lib/ form layers; a file imports only from layers below its own, and lib/core/native.ts is known to
// lib/core and lib/ops alone. In C++ the core knows neither Node nor a backend, a backend knows the contract and the formats.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const LAYERS: Record<string, readonly string[]> = {
  core: [],
  ops: ["core"],
  io: ["ops", "core"],
  nn: ["ops", "core", "io"],
  text: ["core", "io"],
  media: ["core", "io"],
  data: ["media", "text", "io", "core"],
  generate: ["nn", "ops", "core", "io", "text"],
  models: ["generate", "nn", "ops", "core", "io", "text", "media"],
  adapters: ["models", "nn", "ops", "core", "io"],
  anymal: ["generate", "adapters", "data", "models", "nn", "ops", "core", "io", "text", "media"],
  train: ["anymal", "models", "adapters", "generate", "data", "nn", "ops", "core", "io", "text", "media"],
  eval: ["anymal", "train", "adapters", "generate", "models", "data", "nn", "ops", "core", "io", "text", "media"],
  plan: ["models", "nn", "core", "io"],
  serve: ["anymal", "generate", "train", "eval", "models", "adapters", "data", "nn", "ops", "core", "io", "text", "media", "plan"],
  cli: ["serve", "anymal", "generate", "train", "eval", "models", "adapters", "data", "nn", "ops", "core", "io", "text", "media", "plan"],
};
const NATIVE_READERS = new Set(["core", "ops", "media"]);

/** [files, includes that they must not have, why] */
const INCLUDES: readonly [RegExp, RegExp, string][] = [
  [/^native\/(?!node\/)/, /^(napi\.h|node_api\.h|node\/)/, "only native/node knows Node"],
  [/^native\/[^/]+$/, /^cuda/, "the core loads CUDA, it does not link it"],
  [/^native\/cpu\/(ops|linear)\//, /^(tensor|memory|queue|loader)\.h$/, "a kernel gets pointers, sizes and a stream"],
  [/^native\/(shapes\/|quant\/)/, /^cpu\//, "rules and formats are the same for every backend"],
  [
    /^cuda\//,
    /^(?!backend\.h$|quant\/|cuda|cub\/|mma\.h|[a-z0-9_]+\.cuh$)[a-z_]+\/[a-z_]+\.h$/,
    "CUDA knows backend.h and the quantisation formats",
  ],
];

function files(root: string, folder: string, pattern: RegExp): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .map((file) => join(folder, file))
    .filter((file) => pattern.test(file));
}

function brokenImports(root: string): string[] {
  const problems: string[] = [];
  for (const file of files(root, "lib", /\.ts$/)) {
    const layer = relative("lib", file).split("/")[0] as string;
    if (layer.endsWith(".ts")) continue; // lib/index.ts names everything
    const allowed = LAYERS[layer];
    if (!allowed) {
      problems.push(`${file}: lib/${layer} has no place in tools/walls.ts`);
      continue;
    }
    for (const [, path] of readFileSync(join(root, file), "utf8").matchAll(/(?:from|import)\s*\(?"(\.[^"]+)"/g)) {
      const target = relative(root, resolve(root, dirname(file), path as string));
      const into = relative("lib", target).split("/")[0] as string;
      if (/^lib\/core\/native(-surface)?\.js$/.test(target) && !NATIVE_READERS.has(layer))
        problems.push(`${file}: only ${[...NATIVE_READERS].join(", ")} know the addon`);
      else if (into !== layer && !allowed.includes(into)) problems.push(`${file}: lib/${layer} must not know ${target}`);
    }
  }
  return problems;
}

function brokenIncludes(root: string): string[] {
  const problems: string[] = [];
  for (const file of [...files(root, "native", /\.(cc|h|inc)$/), ...files(root, "cuda", /\.(cu|cuh|h)$/)]) {
    const includes = [...readFileSync(join(root, file), "utf8").matchAll(/^#include\s+[<"]([^>"]+)[>"]/gm)].map(
      (match) => match[1] as string,
    );
    for (const [where, what, why] of INCLUDES) {
      if (!where.test(file)) continue;
      for (const include of includes.filter((name) => what.test(name))) problems.push(`${file}: must not include ${include} (${why})`);
    }
  }
  return problems;
}

/** One sentence per import or include that goes through a wall. */
export function brokenWalls(root: string): string[] {
  return [...brokenImports(root), ...brokenIncludes(root)];
}
