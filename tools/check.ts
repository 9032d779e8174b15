// `npm run check`: types, lint and format of TypeScript, format of C++ and CUDA, the walls of the architecture, and the one-definition
// check of the dispatch levels. `--format` rewrites C++ instead of complaining.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sharedLevelSymbols } from "./level-symbols.js";
import { brokenWalls } from "./walls.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = (name: string) => join(root, "node_modules/.bin", name);

function tool(command: string, ...args: string[]): string[] {
  const r = spawnSync(command, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 26 });
  if (r.error) return [`${command}: ${r.error.message}; run: npm ci`];
  return r.status === 0 ? [] : [`${r.stdout}${r.stderr}`.trim()];
}

function sources(...folders: string[]): string[] {
  return folders
    .filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) => readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).map((file) => join(folder, file)))
    .filter((file) => /\.(cc|h|inc|cu|cuh)$/.test(file));
}

const format = process.argv.includes("--format");
const clangFormat = () =>
  tool(
    bin("clang-format"),
    ...(format ? ["-i"] : ["--dry-run", "--Werror"]),
    ...sources("native", "cuda", "test/native", "test/cuda-emulator"),
  );

const checks: Record<string, () => string[]> = {
  "C++ format": clangFormat,
  ...(format
    ? {}
    : {
        types: () => tool(bin("tsc"), "--noEmit", "--project", root),
        "lint and format": () => tool(bin("biome"), "check", "--error-on-warnings", "."),
        walls: () => brokenWalls(root),
        "dispatch levels": () => sharedLevelSymbols(root),
      }),
};

for (const [name, check] of Object.entries(checks)) {
  const problems = check();
  console.log(`${problems.length ? "FAIL" : "ok  "} ${name}`);
  for (const problem of problems) console.log(problem);
  if (problems.length) process.exitCode = 1;
}
