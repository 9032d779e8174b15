// What the suite loop-lag runs on: a random LLaMA on disk with a tokenizer of as many words, pictures, and a file of captions.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { randomCheckpoint } from "../tools/random-checkpoint/make.js";
import { randomConfig } from "./random-llama.js";

const [PICTURES, CAPTIONS] = [32, 4000];
const SPECIAL = ["<s>", "</s>"];

export interface LagWorld {
  llm: string;
  encoder: string;
  captions: string;
  conversations: string;
  pictures: readonly string[];
  path(name: string): string;
  remove(): void;
}

/** `folder`: a language model with its tokenizer to take in place of a random one. */
export async function lagWorld(size: string, folder?: string): Promise<LagWorld> {
  const home = mkdtempSync(join(tmpdir(), "anymal-lag-"));
  const path = (name: string) => join(home, name);
  if (folder === undefined) {
    const { hiddenSize, intermediateSize, layers, heads, kvHeads, vocabSize } = randomConfig(size);
    const shape = { hidden: hiddenSize, intermediate: intermediateSize, layers, heads, kvHeads, vocabulary: vocabSize };
    await randomCheckpoint(path("llm"), shape);
    writeFileSync(join(path("llm"), "tokenizer.json"), JSON.stringify(tokenizerJson(vocabSize), null, 2));
    writeFileSync(join(path("llm"), "tokenizer_config.json"), JSON.stringify({ bos_token: "<s>", eos_token: "</s>" }));
  }
  mkdirSync(path("pictures"));
  const pictures = Array.from({ length: PICTURES }, (_, i) => path(`pictures/${i}.png`));
  for (const [i, file] of pictures.entries()) {
    const background = { r: (i * 83) % 256, g: (i * 31) % 256, b: (i * 57) % 256 };
    await sharp({ create: { width: 640, height: 480, channels: 3, background } })
      .png()
      .toFile(file);
  }
  const rows = Array.from({ length: CAPTIONS }, (_, i) => ({ image: pictures[i % PICTURES], caption: words(i) }));
  writeFileSync(path("captions.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const turns = (i: number) => [
    { from: "human", value: `<image>\n${words(i)}?` },
    { from: "gpt", value: words(i + 1) },
  ];
  writeFileSync(path("conversations.json"), JSON.stringify(rows.map(({ image }, i) => ({ id: `${i}`, image, conversations: turns(i) }))));
  return {
    llm: folder ?? path("llm"),
    encoder: fileURLToPath(new URL("../models/tiny/clip", import.meta.url)),
    captions: path("captions.jsonl"),
    conversations: path("conversations.json"),
    pictures,
    path,
    remove: () => rmSync(home, { recursive: true, force: true }),
  };
}

const words = (i: number): string =>
  Array.from({ length: 8 + (i % 9) }, (_, k) => ["red", "square", "above", "circle", "left", "of", "blue"][(i * 5 + k * 3) % 7]).join(" ");

/** A byte-level pair model of so many words: bytes, then each word so far with each letter behind it. */
function tokenizerJson(count: number): object {
  const bytes = Array.from({ length: 256 }, (_, byte) => byteCharacter(byte));
  const letters = Array.from({ length: 26 }, (_, i) => String.fromCharCode(97 + i));
  const merges: [string, string][] = [];
  const list = [...SPECIAL, ...bytes];
  const grown = [...letters];
  for (let i = 0; list.length < count; ++i) {
    const pair: [string, string] = [grown[Math.floor(i / 26)] as string, letters[i % 26] as string];
    merges.push(pair);
    grown.push(pair.join(""));
    list.push(pair.join(""));
  }
  const added = SPECIAL.map((content, id) => ({
    id,
    content,
    special: true,
    normalized: false,
    single_word: false,
    lstrip: false,
    rstrip: false,
  }));
  const level = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: "1.0",
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: level,
    post_processor: null,
    decoder: level,
    model: { type: "BPE", unk_token: null, vocab: Object.fromEntries(list.map((word, id) => [word, id])), merges },
  };
}

/** GPT-2's printable stand-in for a byte. */
function byteCharacter(byte: number): string {
  const plain = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  if (plain(byte)) return String.fromCharCode(byte);
  const before = Array.from({ length: byte }, (_, b) => b).filter((b) => !plain(b)).length;
  return String.fromCharCode(256 + before);
}
