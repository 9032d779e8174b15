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
  systems: ["adapters", "models", "nn", "core", "io", "text", "media", "data"],
  anymal: ["systems", "generate", "adapters", "data", "models", "nn", "ops", "core", "io", "text", "media"],
  eval: ["anymal", "systems", "adapters", "generate", "models", "data", "nn", "ops", "core", "io", "text", "media"],
  train: ["eval", "anymal", "systems", "models", "adapters", "generate", "data", "nn", "ops", "core", "io", "text", "media"],
  judges: ["train", "eval", "data", "media", "io", "core"],
  plan: ["anymal", "systems", "train", "adapters", "models", "data", "nn", "io", "text", "media", "core"],
  cli: [
    "anymal",
    "plan",
    "judges",
    "systems",
    "generate",
    "train",
    "eval",
    "models",
    "adapters",
    "data",
    "nn",
    "ops",
    "core",
    "io",
    "text",
    "media",
  ],
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

const IMPORT = /^(?:import|export)\s+(type\s+)?((?:[^"';]|\n)*?)\s*from\s+"(\.[^"]+)"|^import\s+"(\.[^"]+)"/gm;

/**
 * What a file needs of others when it runs. Types are left out: they are gone by then, so nothing is half made when it is asked for, and two interfaces
 * that name each other (a tensor its place on the tape, the tape its tensors) are one contract that one file would only hide.
 */
function needs(root: string, file: string): string[] {
  const found: string[] = [];
  for (const [, types, names = "", path, bare] of readFileSync(join(root, file), "utf8").matchAll(IMPORT)) {
    const each = names.startsWith("{") ? names.replace(/[{}]/g, "").split(",") : [names];
    if (types || (path && each.every((name) => /^\s*(type\s|$)/.test(name)))) continue;
    found.push(relative(root, resolve(root, dirname(file), (path ?? bare) as string)).replace(/\.js$/, ".ts"));
  }
  return found;
}

/** Files that need each other, each ring once: whichever is loaded first finds another half made. */
export function circles(needed: ReadonlyMap<string, readonly string[]>): string[][] {
  const found: string[][] = [];
  const [done, path] = [new Set<string>(), [] as string[]];
  const visit = (file: string): void => {
    const at = path.indexOf(file);
    if (at >= 0) found.push(path.slice(at));
    if (at >= 0 || done.has(file)) return;
    path.push(file);
    for (const next of needed.get(file) ?? []) visit(next);
    path.pop();
    done.add(file);
  };
  for (const file of needed.keys()) visit(file);
  return found;
}

function circularImports(root: string): string[] {
  const needed = new Map(files(root, "lib", /\.ts$/).map((file) => [file, needs(root, file)]));
  return circles(needed).map((ring) => `${[...ring, ring[0]].join(" -> ")}: files in a circle; move what both need into a third`);
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
      if (/^lib\/core\/native(-\w+)?\.js$/.test(target) && !NATIVE_READERS.has(layer))
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

/** One sentence per import or include that goes through a wall, and per circle of files. */
export function brokenWalls(root: string): string[] {
  return [...brokenImports(root), ...circularImports(root), ...brokenIncludes(root)];
}
