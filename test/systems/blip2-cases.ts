// BLIP-2's cases as folders that can be opened: the case with a language model brings no tokenizer, so it gets one of as many tokens.
import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { image } from "../../lib/index.js";
import type { ImagePart } from "../../lib/media/image.js";
import { type Case, copyFolder } from "../case.js";

/** A copy of the case, its owner's to remove. */
export function blip2Folder(c: Case): string {
  const folder = mkdtempSync(join(tmpdir(), "anymal-blip2-"));
  copyFolder(c.folder, folder, (file) => !/expected/.test(file));
  if (existsSync(join(folder, "tokenizer.json"))) return folder;
  const json = c.json() as { text_config: { vocab_size: number }; vision_config: { image_size: number }; image_token_index: number };
  const special = ["<unk>", "<s>", "</s>"];
  const vocab = Object.fromEntries(
    Array.from({ length: json.text_config.vocab_size }, (_, id) => [
      special[id] ?? (id === json.image_token_index ? "<image>" : `w${id}`),
      id,
    ]),
  );
  const added = (content: string) => ({ id: vocab[content], content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }); // biome-ignore format: one line
  const write = (name: string, value: object) => writeFileSync(join(folder, name), JSON.stringify(value));
  write("tokenizer.json", {
    ...{ version: "1.0", truncation: null, padding: null, normalizer: null, post_processor: null, decoder: null },
    added_tokens: [...special, "<image>"].map(added),
    pre_tokenizer: { type: "Whitespace" },
    model: { type: "WordLevel", vocab, unk_token: "<unk>" },
  });
  write("tokenizer_config.json", { tokenizer_class: "PreTrainedTokenizerFast", bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" });
  const side = json.vision_config.image_size;
  write("preprocessor_config.json", { image_processor_type: "BlipImageProcessor", size: { height: side, width: side } });
  return folder;
}

/** The case's n-th picture. */
export function pictureOf(c: Case, n: number): ImagePart {
  const [height, width] = c.shape(`in.picture.${n}`) as [number, number, number];
  return image({ data: Uint8Array.from(c.values(`in.picture.${n}`)), width, height });
}

/** Rows without what fills them up. */
export const unpadded = (rows: readonly number[][], mask: readonly number[][]): number[][] =>
  rows.map((row, b) => row.filter((_, t) => mask[b]![t]));
