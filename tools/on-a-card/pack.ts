// `tools/on-a-card.sh --pack FOLDER`: what a machine without a package registry needs beside the checkout, in one folder of at most 64 MiB: this
// Node and the packages that tests, demo and benches load, the addon, the op suite and a CUDA module for one architecture where they are built, each
// packed by xz. On the other side tools/on-a-card.sh unpacks it.
import { execFileSync, spawnSync } from "node:child_process";
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

/** One block, whose dictionary reaches over all of it: some packages bring the same program twice. */
const XZ = ["-c", ...(process.arch === "x64" ? ["--x86"] : []), "--lzma2=preset=9e"];
function xz(from: string, to: string): void {
  writeFileSync(to, execFileSync("xz", XZ, { maxBuffer: LIMIT_BYTES, input: readFileSync(from) }));
}

/** Without symbols, of which debuggers alone know something; whole where there is no strip. */
function packNode(to: string): void {
  const work = mkdtempSync(join(tmpdir(), "anymal-pack-"));
  const bare = join(work, "node");
  try {
    const stripped = spawnSync("strip", ["-o", bare, process.execPath]).status === 0 && spawnSync(bare, ["--version"]).status === 0;
    xz(stripped ? bare : process.execPath, to);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** What travels with the checkout: all that git knows of. */
function checkoutBytes(root: string): number {
  const list = spawnSync("git", ["ls-files", "-z"], { cwd: root, encoding: "utf8", maxBuffer: 1 << 26 }).stdout ?? "";
  const files = list.split("\0").filter((file) => file && existsSync(join(root, file)));
  return files.reduce((sum, file) => sum + statSync(join(root, file)).size, 0);
}

function packModules(root: string, target: string): number {
  const { dependencies = {} }: Manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const packages = closure(root, [...Object.keys(dependencies), ...TOOLS]);
  const work = mkdtempSync(join(tmpdir(), "anymal-pack-"));
  try {
    for (const folder of packages) cpSync(join(root, folder), join(work, folder), { recursive: true, dereference: true, filter: needed });
    execFileSync("tar", ["-cf", join(work, "all.tar"), "-C", work, "node_modules"]);
    xz(join(work, "all.tar"), target);
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
  packNode(join(folder, "node.xz"));
  const count = packModules(root, join(folder, "node_modules.tar.xz"));
  xz(addon, join(folder, "anymal.node.xz"));
  const suite = join(root, "build/cmake/backend_ops");
  if (existsSync(suite)) xz(suite, join(folder, "backend_ops.xz"));
  if (architecture && !moduleIsCurrent(root) && !buildModule(root, architecture)) throw new Error("the CUDA module was not built");
  const brings = moduleIsCurrent(root);
  if (brings) {
    xz(modulePath(root), join(folder, "libanymal_cuda.so.xz"));
    copyFileSync(stampPath(root), join(folder, "libanymal_cuda.so.sources"));
  }
  writeFileSync(
    join(folder, "packed.json"),
    `${JSON.stringify({ commit, node: process.version, packages: count, module: brings }, null, 1)}\n`,
  );
  for (const file of readdirSync(folder)) chmodSync(join(folder, file), 0o755);
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1).padStart(6)} MiB`;
  const sizes = readdirSync(folder).map((file) => [file, statSync(join(folder, file)).size] as const);
  const total = sizes.reduce((sum, [, size]) => sum + size, 0);
  const checkout = checkoutBytes(root);
  for (const [file, size] of sizes) console.log(`${mib(size)}  ${file}`);
  console.log(`${mib(total)}  in all, of 64; carry ${folder} and start tools/on-a-card.sh --packed ${folder}`);
  if (total > LIMIT_BYTES) throw new Error(`${mib(total).trim()} are more than the 64 that may be carried; leave libanymal_cuda.so out`);
  console.log(`${mib(checkout)}  the checkout`);
  if (checkout + total > LIMIT_BYTES)
    console.log(
      "Where the 64 MiB are for both, carry the largest files in a go of their own: nothing is unpacked before packed.json is there.",
    );
}
