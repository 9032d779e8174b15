// Small files of every kind, which the tests of lib/media have.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const read = (name: string): Buffer => readFileSync(fileURLToPath(new URL(`../../test/media/files/${name}`, import.meta.url)));

/** A Uint8Array, since a Buffer's slice() is no copy. */
export const mediaFile = (name: string): Uint8Array => Uint8Array.from(read(name));

/** Pictures by their names in pillow.json. */
export function pictures(...names: string[]): Uint8Array[] {
  const all: { name: string; file: string }[] = JSON.parse(read("pillow.json").toString());
  return names.map((name) => Uint8Array.from(Buffer.from(all.find((one) => one.name === name)!.file, "base64")));
}
