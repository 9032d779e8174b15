// lib/io/gguf*.ts: header, keys and tensors of every type.
import { defaultDevice } from "../../../lib/core/device.js";
import { GgufError, GgufFile } from "../../../lib/io/gguf.js";
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

const keys: [string, GgufField][] = [
  ["general.architecture", text("llama")],
  ["llama.block_count", u32(1)],
  ["llama.embedding_length", u32(8)],
  ["llama.attention.head_count", u32(2)],
  ["llama.rope.freq_base", f32(1e4)],
  ["general.file_type", { type: 10, value: 1 }],
  ["tokenizer.ggml.model", text("llama")],
  ["tokenizer.ggml.tokens", list(8, ["<unk>", "<s>", "</s>", "<0x00>", "\u2581a", "a", ""])],
  ["tokenizer.ggml.scores", list(6, [0, 0, 0, 0, -1, -2, -3])],
  ["tokenizer.ggml.token_type", list(5, [2, 3, 3, 6, 1, 1, 1])],
  ["tokenizer.ggml.add_bos_token", flag(true)],
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
    .pick([keys, keys.slice(0, 2), []])
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
    ggufFile({ values: keys, tensors: TYPES.slice(0, 7).map((type, i) => entry(`blk.0.t${i}.weight`, type, 1, 2, 17 * i)) }),
    ggufFile({ values: keys.slice(0, 6), tensors: [entry("token_embd.weight", TYPES[0], 8, 7, 1)] }),
    ggufFile({ version: 2, values: [], tensors: [] }),
  ],
  build,
  async run(_bytes, path) {
    const device = defaultDevice();
    using opened = new GgufFile(path);
    for (const name of opened.tensors.keys()) {
      opened.bytes(name);
      try {
        opened.load(name, device, { dtype: "bf16" }).dispose();
        opened.load(name, device).dispose();
      } catch (error) {
        if (!(error instanceof GgufError)) throw error; // a type that is not widened here; the other tensors may be
      }
    }
    if (opened.tensors.size) await device.synchronize(); // the next input takes the file's place
  },
};
