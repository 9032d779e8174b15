// What a model folder, or a GGUF file, holds, as a short text: equal contents give equal texts. Of large files only the size, the head and blocks all over it are
// read, so that a folder of many gigabytes takes a blink; a file that was trained further differs everywhere.
import { createHash, type Hash } from "node:crypto";
import { statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { expected } from "../core/errors.js";
import { onFile } from "../core/file-error.js";
import { checkLinks, openPlain } from "../core/plain-file.js";

/** Whatever changes what the model computes from a text or a medium. */
const RELEVANT =
  /^(config|open_clip_config|preprocessor_config|processor_config|video_preprocessor_config|tokenizer|tokenizer_config|special_tokens_map)\.json$|^tokenizer\.model$|^chat_template\.jinja$|\.safetensors(\.index\.json)?$/;
const WHOLE = 4 << 20;
const [BLOCKS, BLOCK] = [64, 16 << 10];

/** `name`: under which a single file counts; one that was renamed is told as the same by the name that it had. */
export async function fingerprint(path: string, name = basename(path)): Promise<string> {
  const hash = createHash("sha256");
  const text = () => `sha256:${hash.digest("hex").slice(0, 32)}`;
  if (statSync(path, { throwIfNoEntry: false })?.isFile()) {
    await addFile(hash, path, name);
    return text();
  }
  const names = await readdir(path).catch((cause: NodeJS.ErrnoException) => {
    throw expected("E_FILE", path, "a model's folder", cause.code === "ENOENT" ? "no such folder" : cause.message, "check the path");
  });
  for (const name of names.filter((name) => RELEVANT.test(name) && !name.startsWith(".")).sort()) {
    checkLinks(path, join(path, name));
    await addFile(hash, join(path, name), name);
  }
  return text();
}

const addFile = (hash: Hash, path: string, name: string): Promise<void> => onFile("to be read", path, () => readParts(hash, path, name));

async function readParts(hash: Hash, path: string, name: string): Promise<void> {
  const file = await openPlain(path);
  try {
    const { size } = await file.stat();
    hash.update(`${name}\0${size}\0`);
    const read = async (at: number, length: number) => {
      const bytes = new Uint8Array(Math.min(length, size - at));
      await file.read(bytes, 0, bytes.length, at);
      hash.update(bytes);
    };
    if (size <= WHOLE) return await read(0, size);
    for (let i = 0; i < BLOCKS; ++i) await read(Math.floor((i * (size - BLOCK)) / (BLOCKS - 1)), BLOCK);
  } finally {
    await file.close();
  }
}
