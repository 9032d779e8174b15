// The code blocks of a guide. ```sh is a command line, ```text what a program prints, and a block whose first line goes on with a name, such as
// ```yaml recipe.yaml, a file of that name.
import { readFileSync } from "node:fs";

export interface Block {
  kind: string;
  file: string | undefined;
  text: string;
}

const KINDS = new Set(["sh", "text", "yaml", "json", "jsonl", "ts"]);

export function blocksOf(path: string): Block[] {
  const blocks = Array.from(readFileSync(path, "utf8").matchAll(/^```(\S+)(?: (\S+))?\n(.*?)^```$/gms), ([, kind, file, text]) => ({
    kind: kind!,
    file,
    text: text!,
  }));
  for (const { kind, file } of blocks) {
    const shown = kind === "sh" || kind === "text";
    // A block that nobody runs would rot.
    if (!KINDS.has(kind) || shown !== (file === undefined)) throw new Error(`${path}: a block of ${kind} ${file ?? "without a name"}`);
  }
  return blocks;
}
