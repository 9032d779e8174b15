// `tools/on-a-card.sh --pack FOLDER`: what a machine without a package registry needs beside the checkout, in one folder of at most 64 MiB: this
// Node and the packages that tests, demo and benches load, packed by xz; the addon; the op suite and a CUDA module for one architecture where they
// are built. On the other side tools/on-a-card.sh unpacks it.
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { buildModule, moduleIsCurrent, modulePath, stampPath } from "./module.js";

export const LIMIT_BYTES = 64 * 2 ** 20;
/** What runs TypeScript and the tests; the library's own dependencies come with it. */
const TOOLS = ["tsx", "uvu"];

interface Manifest {
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

/** Folders of packages below node_modules that these and what they depend on need; what is not installed on this machine is for another. */
export function closure(root: string, names: readonly string[]): string[] {
  const found = new Set<string>();
  const visit = (name: string, from: string): void => {
    for (let at = from; ; at = dirname(at)) {
      const folder = join(at, "node_modules", name);
      if (existsSync(join(folder, "package.json"))) {
        if (found.has(folder)) return;
        found.add(folder);
        const { dependencies = {}, optionalDependencies = {} }: Manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
        for (const next of Object.keys({ ...dependencies, ...optionalDependencies })) visit(next, folder);
        return;
      }
      if (at === root || at === dirname(at)) return;
    }
  };
  for (const name of names) visit(name, root);
  return [...found].map((folder) => folder.slice(root.length).replace(/^\//, "")).sort();
}

/** Maps, sources and readmes are for people; a package's nested packages are packages of their own. */
const needed = (path: string) =>
  !/(\.map|\.md|\.d\.[cm]?ts)$/.test(path) && !/\/node_modules$/.test(path.replace(/^.*?\/node_modules\//, ""));

function xz(args: string[], from?: string): Buffer {
  return execFileSync("xz", ["-6", "-T0", "-c", ...args], { maxBuffer: LIMIT_BYTES, ...(from && { input: readFileSync(from) }) });
}

function packModules(root: string, target: string): number {
  const { dependencies = {} }: Manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const packages = closure(root, [...Object.keys(dependencies), ...TOOLS]);
  const work = mkdtempSync(join(tmpdir(), "anymal-pack-"));
  try {
    for (const folder of packages) cpSync(join(root, folder), join(work, folder), { recursive: true, dereference: true, filter: needed });
    execFileSync("tar", ["-cf", join(work, "all.tar"), "-C", work, "node_modules"]);
    writeFileSync(target, xz([], join(work, "all.tar")));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return packages.length;
}

/** `architecture`: builds the CUDA module for it first ("90a-real"), where it is not there. */
export function pack(root: string, folder: string, commit: string, architecture?: string): void {
  const addon = join(root, "build/Release/anymal.node");
  if (!existsSync(addon)) throw new Error("build/Release/anymal.node is missing; run: npm run build:native");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "node.xz"), xz([], process.execPath));
  const count = packModules(root, join(folder, "node_modules.tar.xz"));
  copyFileSync(addon, join(folder, "anymal.node"));
  const suite = join(root, "build/cmake/backend_ops");
  if (existsSync(suite)) copyFileSync(suite, join(folder, "backend_ops"));
  if (architecture && !moduleIsCurrent(root) && !buildModule(root, architecture)) throw new Error("the CUDA module was not built");
  const brings = moduleIsCurrent(root);
  if (brings) {
    writeFileSync(join(folder, "libanymal_cuda.so.xz"), xz([], modulePath(root)));
    copyFileSync(stampPath(root), join(folder, "libanymal_cuda.so.sources"));
  }
  writeFileSync(
    join(folder, "packed.json"),
    `${JSON.stringify({ commit, node: process.version, packages: count, module: brings }, null, 1)}\n`,
  );
  for (const file of readdirSync(folder)) chmodSync(join(folder, file), 0o755);
  const sizes = readdirSync(folder).map((file) => [file, statSync(join(folder, file)).size] as const);
  const total = sizes.reduce((sum, [, size]) => sum + size, 0);
  for (const [file, size] of sizes) console.log(`${(size / 2 ** 20).toFixed(1).padStart(6)} MiB  ${file}`);
  console.log(
    `${(total / 2 ** 20).toFixed(1).padStart(6)} MiB  in all, of 64; carry ${folder} and start tools/on-a-card.sh --packed ${folder}`,
  );
  if (total > LIMIT_BYTES)
    throw new Error(`${(total / 2 ** 20).toFixed(1)} MiB are more than the 64 that may be carried; leave libanymal_cuda.so out`);
}
