// A GGUF file of a LLaMA's shape with random weights for llama.cpp, written as a stream: a bench measures time and bytes, which do not depend on what was
// learned. Every matrix is in Q4_0, the head too, where llama-quantize would take Q6_K: the rival is at its fastest.
import { closeSync, openSync, renameSync, writeSync } from "node:fs";
import type { LlamaConfig } from "../../lib/models/llama-config.js";
import { f32, type GgufEntry, type GgufField, ggufFile, list, text, u32 } from "../../tools/fuzz/gguf-file.js";

const [F32, Q4_0] = [0, 2];
/** 32 weights: a scale in f16, then 16 bytes of codes. */
const BLOCK = { weights: 32, bytes: 18 };
/** 0.0045 as f16: uniform codes of -8 to 7 then have the spread of a fresh LLaMA's weights, 0.02. */
const SCALE = 0x1c9c;
const ALIGNMENT = 32;
const PIECE = 2 ** 16; // blocks

interface Planned {
  name: string;
  sizes: readonly number[]; // the fastest first
  type: number;
}
const count = (sizes: readonly number[]) => sizes.reduce((a, b) => a * b, 1);
const bytesOf = ({ sizes, type }: Planned) => (type === F32 ? 4 * count(sizes) : (count(sizes) / BLOCK.weights) * BLOCK.bytes);
const aligned = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/** What llama.cpp's convert_hf_to_gguf.py and llama-quantize write of such a model. */
function tensorsOf({ hiddenSize: C, intermediateSize: F, layers, heads, kvHeads, headDim: D, vocabSize: V }: LlamaConfig): Planned[] {
  const matrix = (name: string, I: number, O: number): Planned => ({ name: `${name}.weight`, sizes: [I, O], type: Q4_0 });
  const norm = (name: string): Planned => ({ name: `${name}.weight`, sizes: [C], type: F32 });
  const layer = (i: number): Planned[] => [
    norm(`blk.${i}.attn_norm`),
    matrix(`blk.${i}.attn_q`, C, heads * D),
    matrix(`blk.${i}.attn_k`, C, kvHeads * D),
    matrix(`blk.${i}.attn_v`, C, kvHeads * D),
    matrix(`blk.${i}.attn_output`, heads * D, C),
    norm(`blk.${i}.ffn_norm`),
    matrix(`blk.${i}.ffn_gate`, C, F),
    matrix(`blk.${i}.ffn_up`, C, F),
    matrix(`blk.${i}.ffn_down`, F, C),
  ];
  const blocks = Array.from({ length: layers }, (_, i) => layer(i)).flat();
  return [matrix("token_embd", C, V), ...blocks, norm("output_norm"), matrix("output", C, V)];
}

/** A SentencePiece vocabulary that loads: three marks, the bytes, then words of letters. */
function vocabulary(size: number): [string, GgufField][] {
  const [NORMAL, UNKNOWN, CONTROL, BYTE] = [1, 2, 3, 6];
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`);
  const words = Array.from({ length: Math.max(0, size - 259) }, (_, i) => `▁${i.toString(36)}`);
  const tokens = ["<unk>", "<s>", "</s>", ...bytes, ...words].slice(0, size);
  const types = tokens.map((_, i) => (i === 0 ? UNKNOWN : i < 3 ? CONTROL : i < 259 ? BYTE : NORMAL));
  return [
    ["tokenizer.ggml.model", text("llama")],
    ["tokenizer.ggml.tokens", list(8, tokens)],
    [
      "tokenizer.ggml.scores",
      list(
        6,
        tokens.map((_, i) => -i),
      ),
    ],
    ["tokenizer.ggml.token_type", list(5, types)],
    ["tokenizer.ggml.bos_token_id", u32(1)],
    ["tokenizer.ggml.eos_token_id", u32(2)],
    ["tokenizer.ggml.unknown_token_id", u32(0)],
  ];
}

function keysOf(config: LlamaConfig): [string, GgufField][] {
  return [
    ["general.architecture", text("llama")],
    ["general.name", text("random")],
    ["general.file_type", u32(2)],
    ["llama.vocab_size", u32(config.vocabSize)],
    ["llama.context_length", u32(config.maxPositions)],
    ["llama.embedding_length", u32(config.hiddenSize)],
    ["llama.block_count", u32(config.layers)],
    ["llama.feed_forward_length", u32(config.intermediateSize)],
    ["llama.attention.head_count", u32(config.heads)],
    ["llama.attention.head_count_kv", u32(config.kvHeads)],
    ["llama.attention.layer_norm_rms_epsilon", f32(1e-5)],
    ["llama.rope.dimension_count", u32(config.headDim)],
    ["llama.rope.freq_base", f32(10000)],
    ...vocabulary(config.vocabSize),
  ];
}

/** Appears under its name when it is whole. */
export function writeRandomGguf(path: string, config: LlamaConfig): void {
  const planned = tensorsOf(config);
  const entries: GgufEntry[] = [];
  let offset = 0;
  for (const tensor of planned) {
    entries.push({ ...tensor, offset, data: new Uint8Array(0) });
    offset += aligned(bytesOf(tensor));
  }
  const file = openSync(`${path}.part`, "w");
  try {
    writeSync(file, ggufFile({ values: keysOf(config), tensors: entries }).bytes);
    const [codes, ones] = [randomBlocks(), Buffer.from(new Float32Array(PIECE).fill(1).buffer)];
    for (const tensor of planned) {
      const bytes = bytesOf(tensor);
      const piece = tensor.type === F32 ? ones : codes;
      for (let done = 0; done < bytes; done += piece.length) writeSync(file, piece, 0, Math.min(piece.length, bytes - done));
      writeSync(file, new Uint8Array(aligned(bytes) - bytes));
    }
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.part`, path);
}

function randomBlocks(): Buffer {
  const blocks = Buffer.alloc(PIECE * BLOCK.bytes);
  let state = 1;
  for (let at = 0; at < blocks.length; ++at) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    blocks[at] = state >>> 24;
  }
  for (let block = 0; block < PIECE; ++block) blocks.writeUInt16LE(SCALE, block * BLOCK.bytes);
  return blocks;
}
