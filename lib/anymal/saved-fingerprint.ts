// What a folder of anymal holds, as a short text: its own weights, those of its adapters, and anymal.json, which names those that lie elsewhere.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { onFile } from "../core/file-error.js";
import { readPlain } from "../core/plain-file.js";
import { fingerprint } from "./fingerprint.js";

/** Descriptions that change what a model computes and are no weights. */
const DESCRIPTIONS = ["anymal.json", "adapter_config.json"];
const LARGEST = 16 << 20;
/** Adapters lie two folders down at most. */
const DEEPEST = 2;

export async function savedFingerprint(folder: string, depth = 0): Promise<string> {
  const hash = createHash("sha256").update(await fingerprint(folder));
  for (const name of DESCRIPTIONS) {
    const path = join(folder, name);
    if (existsSync(path)) hash.update(name).update(await readPlain(path, { most: LARGEST, linksInside: true }));
  }
  const entries = await onFile("to be read", folder, () => readdir(folder, { withFileTypes: true }));
  const folders = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith(".")).map(({ name }) => name);
  if (depth < DEEPEST) for (const name of folders.sort()) hash.update(name).update(await savedFingerprint(join(folder, name), depth + 1));
  return `sha256:${hash.digest("hex").slice(0, 32)}`;
}
