// lib/io/gguf*.ts: header, keys and tensors of every type; what the keys say of a model and of its tokenizer.
import { defaultDevice } from "../../../lib/core/device.js";
import { AnymalError } from "../../../lib/core/errors.js";
import { GgufFile } from "../../../lib/io/gguf.js";
import { GgufCheckpoint } from "../../../lib/io/gguf-checkpoint.js";
import { ggufConfig } from "../../../lib/models/llama-gguf.js";
import { Tokenizer } from "../../../lib/text/tokenizer.js";
import { f32, flag, type GgufEntry, type GgufField, ggufFile, list, text, u32 } from "../gguf-file.js";
import type { Random } from "../random.js";
import { HOSTILE, type Target } from "../target.js";

/** Number of a type, weights of a block, bytes of a block. */
const TYPES = [
  [0, 1, 4],
  [1, 1, 2],
  [30, 1, 2],
  [8, 32, 34],
  [2, 32, 18],
  [12, 256, 144],
  [14, 256, 210],
  [10, 256, 84],
] as const;

function entry(name: string, [type, block, bytes]: (typeof TYPES)[number], blocks: number, rows: number, fill: number): GgufEntry {
  return { name, type, sizes: [block * blocks, rows], data: new Uint8Array(bytes * blocks * rows).fill(fill) };
}

const bytePieces = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
const pieces: [string, GgufField][] = [
  ["tokenizer.ggml.model", text("llama")],
  ["tokenizer.ggml.tokens", list(8, ["<unk>", "<s>", "</s>", ...bytePieces, "\u2581", "a", "b", "ab", "\u2581ab", ""])],
  ["tokenizer.ggml.scores", list(6, [0, 0, 0, ...bytePieces.map(() => 0), -1, -2, -3, -4, -5, -6])],
  ["tokenizer.ggml.token_type", list(5, [2, 3, 3, ...bytePieces.map(() => 6), 1, 1, 1, 1, 1, 4])],
  ["tokenizer.ggml.bos_token_id", u32(1)],
  ["tokenizer.ggml.add_bos_token", flag(true)],
];
const merges: [string, GgufField][] = [
  ["tokenizer.ggml.model", text("gpt2")],
  ["tokenizer.ggml.pre", text("llama-bpe")],
  ["tokenizer.ggml.tokens", list(8, ["a", "b", "ab", "\u0120", "\u0120ab", "<|end|>"])],
  ["tokenizer.ggml.token_type", list(5, [1, 1, 1, 1, 1, 3])],
  ["tokenizer.ggml.merges", list(8, ["a b", "\u0120 ab"])],
  ["tokenizer.ggml.eos_token_id", u32(5)],
  ["tokenizer.chat_template", text("{% for m in messages %}{{ m.content }}{% endfor %}")],
];
const keys: [string, GgufField][] = [
  ["general.architecture", text("llama")],
  ["llama.block_count", u32(1)],
  ["llama.embedding_length", u32(8)],
  ["llama.attention.head_count", u32(2)],
  ["llama.rope.freq_base", f32(1e4)],
  ["general.file_type", { type: 10, value: 1 }],
];

function value(random: Random): GgufField {
  const type = random.pick([0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12] as const);
  const odd = () => (random.chance(0.3) ? random.pick(HOSTILE) : BigInt(random.below(4)));
  switch (random.below(5)) {
    case 0:
      return { type: 8, value: random.bytes(random.below(20)), ...(random.chance(0.2) && { length: random.pick(HOSTILE) }) };
    case 1: {
      const of = random.pick([type, 8, 9, 13]);
      const items = Array.from({ length: random.below(6) }, () => (of === 8 ? "ab" : random.below(3)));
      return { type: 9, of, items: of === 9 || of === 13 ? [] : items, ...(random.chance(0.2) && { count: random.pick(HOSTILE) }) };
    }
    default:
      return { type, value: odd() };
  }
}

/** Keys and tensors that are right but for some. */
function build(random: Random): Uint8Array {
  const values = random
    .pick([[...keys, ...pieces], [...keys, ...merges], keys.slice(0, 2), []])
    .map(([key, field]): [string, GgufField] => [key, random.chance(0.1) ? value(random) : field]);
  for (let n = random.below(3); n > 0; --n)
    values.push([random.pick(["general.alignment", "k", "general.architecture", ""]), value(random)]);
  if (random.chance(0.2)) values.push(["general.alignment", u32(random.pick([0, 1, 3, 8, 64, 2 ** 20, 2 ** 31, 2 ** 32 - 1]))]);
  const tensors = Array.from({ length: random.below(5) }, (_, i) => {
    const made = entry(`t${random.below(9) || i}.weight`, random.pick(TYPES), 1 + random.below(2), 1 + random.below(3), random.below(256));
    if (random.chance(0.15)) made.offset = random.pick(HOSTILE);
    if (random.chance(0.15)) made.sizes = Array.from({ length: random.below(7) }, () => random.pick([...HOSTILE, 32n, 256n]));
    if (random.chance(0.1)) made.type = random.below(48);
    return made;
  });
  return ggufFile({
    values,
    tensors,
    version: random.chance(0.05) ? random.below(2 ** 31) : random.pick([2, 3]),
    ...(random.chance(0.05) && { tensorCount: random.pick(HOSTILE) }),
    ...(random.chance(0.05) && { valueCount: random.pick(HOSTILE) }),
  }).bytes;
}

export const gguf: Target = {
  name: "gguf",
  seeds: [
    ggufFile({
      values: [...keys, ...pieces],
      tensors: TYPES.slice(0, 7).map((type, i) => entry(`blk.0.t${i}.weight`, type, 1, 2, 17 * i)),
    }),
    ggufFile({ values: [...keys, ...merges], tensors: [entry("token_embd.weight", TYPES[0], 8, 7, 1)] }),
    ggufFile({ version: 2, values: [], tensors: [] }),
  ],
  build,
  async run(_bytes, path) {
    const device = defaultDevice();
    using opened = new GgufFile(path);
    for (const name of opened.tensors.keys()) {
      opened.bytes(name);
      mayRefuse(() => {
        opened.load(name, device, { dtype: "bf16" }).dispose();
        opened.load(name, device).dispose();
      });
    }
    mayRefuse(() => {
      using checkpoint = new GgufCheckpoint(path);
      ggufConfig(checkpoint);
    });
    mayRefuse(() => {
      const tokenizer = Tokenizer.fromPretrained(path);
      for (const words of ["", "ab  ab\u00e9\ud83d\ude00", "<s>ab<|end|>"]) tokenizer.decode(tokenizer.encode(words));
      if (tokenizer.hasChatTemplate) tokenizer.applyChatTemplate([{ role: "user", content: "ab" }]);
    });
    if (opened.tensors.size) await device.synchronize(); // the next input takes the file's place
  },
};

/** A part that cannot be used; the others may be. */
function mayRefuse(use: () => void): void {
  try {
    use();
  } catch (error) {
    if (!(error instanceof AnymalError)) throw error;
  }
}
