// A checkpoint of LLaMA's shape with random weights, in Hugging Face layout: what loading, quantising and memory are measured on. One tensor is in
// memory at a time, whatever the size of the model.
import { copyFile, mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Device, device, noGrad, Tensor } from "../../lib/index.js";
import { encodeHeader, type FileDType, fileDTypeBytes } from "../../lib/io/safetensors-header.js";
import { cast, randomNormal } from "../../lib/ops/index.js";

export interface Shape {
  hidden: number;
  intermediate: number;
  layers: number;
  heads: number;
  kvHeads: number;
  vocabulary: number;
  tied: boolean;
}
export interface RandomCheckpointOptions extends Partial<Shape> {
  dtype?: "bf16" | "f16" | "f32";
  /** Bytes of one file at most, save where a single tensor is larger. Default 5 GB. */
  shardBytes?: number;
  seed?: number;
  /** A folder whose tokenizer is copied. */
  tokenizer?: string;
  onShard?: (file: string, bytes: number) => void;
}

/** LLaMA 2 of 7 B. */
export const LLAMA_2_7B: Shape = {
  hidden: 4096,
  intermediate: 11008,
  layers: 32,
  heads: 32,
  kvHeads: 32,
  vocabulary: 32000,
  tied: false,
};
const STORED = { bf16: "BF16", f16: "F16", f32: "F32" } as const;
const TORCH = { bf16: "bfloat16", f16: "float16", f32: "float32" } as const;
/** transformers' initializer_range. */
const DEVIATION = 0.02;
const TOKENIZER = ["tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"];

/** Resolves to the bytes of all tensors. */
export async function randomCheckpoint(folder: string, options: RandomCheckpointOptions = {}): Promise<number> {
  const { dtype = "bf16", shardBytes = 5e9, seed = 0, tokenizer, onShard, ...shape } = options;
  const wanted: Shape = { ...LLAMA_2_7B, ...shape };
  const stored = STORED[dtype];
  const shards = inShards([...tensors(wanted)], shardBytes, fileDTypeBytes(stored));
  await mkdir(folder, { recursive: true });
  const number = (n: number) => String(n).padStart(5, "0");
  const nameOf = (i: number) =>
    shards.length === 1 ? "model.safetensors" : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
  const map: Record<string, string> = {};
  let total = 0;
  let drawn = 0;
  for (const [i, shard] of shards.entries()) {
    const name = nameOf(i);
    const file = await open(join(folder, name), "w");
    let bytes = 0;
    try {
      await file.writeFile(
        encodeHeader(
          shard.map(([key, sizes]) => [key, { dtype: stored, shape: sizes }]),
          { format: "pt" },
        ),
      );
      for (const [key, sizes] of shard) {
        const data = await draw(device("cpu"), key, sizes, stored, seed, drawn);
        drawn += sizes.reduce((a, b) => a * b, 1);
        await file.writeFile(data);
        bytes += data.byteLength;
        map[key] = name;
      }
    } finally {
      await file.close();
    }
    total += bytes;
    onShard?.(name, bytes);
  }
  if (shards.length > 1)
    await writeFile(join(folder, "model.safetensors.index.json"), text({ metadata: { total_size: total }, weight_map: map }));
  await writeFile(join(folder, "config.json"), text(configJson(wanted, TORCH[dtype])));
  if (tokenizer) for (const file of TOKENIZER) await copyFile(join(tokenizer, file), join(folder, file)).catch(ignoreMissing);
  return total;
}

const text = (json: object): string => `${JSON.stringify(json, null, 2)}\n`;

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}

/** In the order of transformers' state dict. */
function* tensors({ hidden, intermediate, layers, heads, kvHeads, vocabulary, tied }: Shape): Generator<[string, number[]]> {
  const keys = (kvHeads * hidden) / heads;
  yield ["model.embed_tokens.weight", [vocabulary, hidden]];
  for (let i = 0; i < layers; ++i) {
    const at = `model.layers.${i}`;
    yield [`${at}.self_attn.q_proj.weight`, [hidden, hidden]];
    yield [`${at}.self_attn.k_proj.weight`, [keys, hidden]];
    yield [`${at}.self_attn.v_proj.weight`, [keys, hidden]];
    yield [`${at}.self_attn.o_proj.weight`, [hidden, hidden]];
    yield [`${at}.mlp.gate_proj.weight`, [intermediate, hidden]];
    yield [`${at}.mlp.up_proj.weight`, [intermediate, hidden]];
    yield [`${at}.mlp.down_proj.weight`, [hidden, intermediate]];
    yield [`${at}.input_layernorm.weight`, [hidden]];
    yield [`${at}.post_attention_layernorm.weight`, [hidden]];
  }
  yield ["model.norm.weight", [hidden]];
  if (!tied) yield ["lm_head.weight", [vocabulary, hidden]];
}

function inShards(all: readonly [string, number[]][], most: number, width: number): [string, number[]][][] {
  const shards: [string, number[]][][] = [[]];
  let bytes = 0;
  for (const one of all) {
    const size = one[1].reduce((a, b) => a * b, width);
    if (bytes && bytes + size > most) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)?.push(one);
    bytes += size;
  }
  return shards;
}

/** Norms are ones; all else is normal, as transformers initialises it. */
async function draw(d: Device, key: string, shape: readonly number[], dtype: FileDType, seed: number, drawn: number): Promise<Uint8Array> {
  const wide = Tensor.full(shape, 1, { device: d });
  if (shape.length > 1) randomNormal(wide, 0, DEVIATION, seed, drawn);
  const tensor = dtype === "BF16" ? noGrad(() => cast(wide, "bf16")) : wide;
  if (tensor !== wide) wide.dispose();
  try {
    const bytes = await tensor.bytes();
    return new Uint8Array(dtype === "F16" ? halves(new Float32Array(bytes)).buffer : bytes);
  } catch (cause) {
    throw new Error(`could not make ${key}`, { cause });
  } finally {
    tensor.dispose();
  }
}

/** f16 of numbers below 1 in size, cut off. A random weight needs no rounding, only a file that holds it. */
function halves(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer);
  const out = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; ++i) {
    const u = bits[i] as number;
    const exponent = ((u >>> 23) & 0xff) - 112;
    out[i] = ((u >>> 16) & 0x8000) | (exponent > 0 ? (exponent << 10) | ((u >>> 13) & 0x3ff) : 0);
  }
  return out;
}

function configJson({ hidden, intermediate, layers, heads, kvHeads, vocabulary, tied }: Shape, dtype: string): object {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    attention_bias: false,
    bos_token_id: 1,
    eos_token_id: 2,
    hidden_act: "silu",
    hidden_size: hidden,
    initializer_range: DEVIATION,
    intermediate_size: intermediate,
    max_position_embeddings: 4096,
    mlp_bias: false,
    num_attention_heads: heads,
    num_hidden_layers: layers,
    num_key_value_heads: kvHeads,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: tied,
    torch_dtype: dtype,
    use_cache: true,
    vocab_size: vocabulary,
  };
}
