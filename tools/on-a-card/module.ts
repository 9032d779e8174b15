// The CUDA module for one architecture, and whether one that was brought is of the sources that lie here.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A hash over what the module is compiled from. */
export function stampOf(root: string): string {
  const hash = createHash("sha256");
  const files = readdirSync(join(root, "cuda"), { recursive: true, encoding: "utf8" })
    .filter((file) => /\.(cu|cuh|h|map)$/.test(file))
    .map((file) => `cuda/${file}`);
  const shared = ["CMakeLists.txt", "native/backend.h", "native/ops.def", "native/quant/tables.h", "native/quant/dynamic_map.cc"];
  for (const file of [...files, ...shared].sort())
    hash
      .update(file)
      .update("\0")
      .update(readFileSync(join(root, file)));
  return hash.digest("hex");
}

export const modulePath = (root: string): string => join(root, "build/Release/libanymal_cuda.so");
export const stampPath = (root: string): string => `${modulePath(root)}.sources`;

/** The module is there, and of these sources. */
export function moduleIsCurrent(root: string): boolean {
  const [module, stamp] = [modulePath(root), stampPath(root)];
  return existsSync(module) && existsSync(stamp) && readFileSync(stamp, "utf8").trim() === stampOf(root);
}

/** `architecture` as CMake names it, "90a-real". False when the build has failed, which it has said. */
export function buildModule(root: string, architecture: string): boolean {
  const stamp = stampOf(root);
  const env = { ...process.env, ANYMAL_CUDA_ARCHITECTURES: architecture };
  const r = spawnSync(process.execPath, [join(root, "tools/build-cuda.cjs")], { cwd: root, stdio: "inherit", env });
  if (r.status === 0) writeFileSync(stampPath(root), `${stamp}\n`);
  return r.status === 0;
}
