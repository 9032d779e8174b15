// IDEFICS' case as a folder that can be asked in words: its weights and configuration, a tokenizer of as many tokens, and its processor.
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { seenOf } from "../../lib/adapters/gated-cross-attention.js";
import type { Tensor } from "../../lib/core/tensor.js";
import type { AnyMAL } from "../../lib/index.js";
import type { Span } from "../../lib/nn/sequence.js";
import { type Case, copyFolder } from "../case.js";

export const EDGE = "<fake_token_around_image>";
const SPECIAL = ["<unk>", "<s>", "</s>"];
export const LETTERS = "abcdefghijklmnopqrstuvwxyz";

/** Letters as tokens, and the two that IDEFICS adds behind the table. */
function tokenizerOf(rows: number): object {
  const vocab: Record<string, number> = {};
  for (const [i, token] of [...SPECIAL, ...LETTERS, "Ġ"].entries()) vocab[token] = i;
  for (let i = Object.keys(vocab).length; i < rows; ++i) vocab[`w${i}`] = i;
  const added = (content: string, id: number) => ({
    ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
  });
  return {
    ...{ version: "1.0", truncation: null, padding: null, normalizer: null },
    added_tokens: [...SPECIAL.map(added), added(EDGE, rows), added("<image>", rows + 1)],
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, vocab, merges: [] }, // biome-ignore format: one line
  };
}

/** A new folder, its owner's to remove. */
export function ideficsFolder(c: Case): string {
  const folder = mkdtempSync(join(tmpdir(), "anymal-idefics-"));
  copyFolder(c.folder, folder, (file) => /^(config|generation_config)\.json$|^model\.safetensors$/.test(basename(file)));
  const { vocab_size: rows, vision_config: vision } = c.json() as { vocab_size: number; vision_config: { image_size: number } };
  const write = (name: string, json: object) => writeFileSync(join(folder, name), JSON.stringify(json));
  write("tokenizer.json", tokenizerOf(rows));
  write("tokenizer_config.json", { tokenizer_class: "PreTrainedTokenizerFast", bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" });
  write("preprocessor_config.json", {
    image_processor_type: "IdeficsImageProcessor",
    image_size: vision.image_size,
    image_num_channels: 3,
  });
  return folder;
}

export const jsonOf = (folder: string, name = "config.json") => JSON.parse(readFileSync(join(folder, name), "utf8"));

/** transformers' image_attention_mask as what each token sees: one picture or none. */
export function seenIn(c: Case, R: number): Span[][] {
  const [B, T, N] = c.shape("in.image_attention_mask") as [number, number, number];
  const mask = c.values("in.image_attention_mask");
  return Array.from({ length: B }, (_, b) =>
    Array.from({ length: T }, (_, t) => {
      const row = Array.from(mask.subarray((b * T + t) * N, (b * T + t + 1) * N));
      const first = row.indexOf(1);
      return first < 0 ? { start: 0, end: 0 } : { start: first * R, end: (row.lastIndexOf(1) + 1) * R };
    }),
  );
}

/** Of the case's pixels the rows beside the text, through the model's own encoder and bridge: (B, pictures · R, d). */
export function rowsOf(model: AnyMAL, c: Case): { rows: Tensor; R: number } {
  const [B, N, ...picture] = c.shape("in.pixel_values") as [number, number, number, number, number];
  const features = model.encoder("image").forward({ data: c.values("in.pixel_values") as Float32Array, shape: [B * N, ...picture] });
  const rows = model.projector("image").forward(features);
  const [, R, d] = rows.shape as [number, number, number];
  return { rows: rows.reshape([B, N * R, d]), R };
}

export const latest = (places: readonly number[], length: number, items: number, R: number): Span[][] =>
  seenOf([Array.from({ length }, (_, i) => Number(places.includes(i)))], items, R, true);
