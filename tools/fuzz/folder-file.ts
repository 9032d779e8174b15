// A folder as one input: its files one after the other, each behind a line with its name, so that bytes of any of them may be changed.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { joined } from "./input.js";

export type Files = Readonly<Record<string, string | Uint8Array>>;

const MARK = (name: string) => `\n=== ${name} ===\n`;

export function packed(files: Files): Uint8Array {
  return joined(...Object.entries(files).flatMap(([name, content]) => [Buffer.from(MARK(name)), Buffer.from(content as string)]));
}

/** Writes those of the files that `names` knows, and that the input still has, into a folder of its own beside `path`. */
export function unpacked(bytes: Uint8Array, path: string, names: readonly string[]): string {
  const folder = `${path}-folder`;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  const all = Buffer.from(bytes);
  const found = names.map((name) => ({ name, at: all.indexOf(MARK(name)) })).filter(({ at }) => at >= 0);
  found.sort((a, b) => a.at - b.at);
  for (const [i, { name, at }] of found.entries())
    writeFileSync(join(folder, name), all.subarray(at + Buffer.byteLength(MARK(name)), found[i + 1]?.at ?? all.length));
  return folder;
}
