// A GGUF file as a checkpoint of Hugging Face's LLaMA classes: their names for llama.cpp's, and their order of the rows of q and k.
import { shown } from "../core/checks.js";
import type { Device } from "../core/device.js";
import { scope } from "../core/scope.js";
import { type DType, Tensor } from "../core/tensor.js";
import type { Pieces } from "../core/turns.js";
import { gatherRows } from "../ops/index.js";
import type { WeightSource } from "./checkpoint.js";
import { GgufError, GgufFile, type GgufTensor, type GgufValue } from "./gguf.js";

const OUTSIDE: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
};
const INSIDE: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  ffn_norm: "post_attention_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};
/** Divisors of RoPE's frequencies: of the configuration, not of the weights. */
export const ROPE_FACTORS = "rope_freqs.weight";

/** Hugging Face's name for llama.cpp's; one that is unknown stays as it is, and is left over. */
export function hubName(name: string): string {
  const [, layer, part, kind] = /^(?:blk\.(\d+)\.)?([a-z_]+)\.(weight|bias)$/.exec(name) ?? [];
  const names = layer === undefined ? OUTSIDE : INSIDE;
  if (part === undefined || !Object.hasOwn(names, part)) return name;
  return layer === undefined ? `${names[part]}.${kind}` : `model.layers.${layer}.${names[part]}.${kind}`;
}

/** A LLaMA of llama.cpp under Hugging Face's names, so that it loads as any other checkpoint. */
export class GgufCheckpoint implements WeightSource {
  readonly file: GgufFile;
  readonly #stored: ReadonlyMap<string, string>; // llama.cpp's names by Hugging Face's

  /** Throws E_FILE or E_GGUF, also where a tensor is of a type that is not read here. */
  constructor(
    readonly path: string,
    file = new GgufFile(path),
  ) {
    this.file = file;
    try {
      const names = [...this.file.tensors.keys()].filter((name) => name !== ROPE_FACTORS);
      for (const name of names) this.file.checkType(name);
      this.#stored = new Map(names.map((name) => [hubName(name), name]));
      if (this.#stored.size !== names.length) throw new GgufError(path, "every weight once", "two names for one");
    } catch (error) {
      this.file.close();
      throw error;
    }
  }

  static *inPieces(path: string): Pieces<GgufCheckpoint> {
    return new GgufCheckpoint(path, yield* GgufFile.inPieces(path));
  }

  /** "llama", "qwen2", … */
  get architecture(): string {
    const value = this.file.values.get("general.architecture");
    if (typeof value !== "string") throw new GgufError(this.path, "general.architecture to be a name", kindOf(value));
    return value;
  }
  /** A value of the architecture's own, such as "block_count". */
  value(key: string): GgufValue | undefined {
    return this.file.values.get(`${this.architecture}.${key}`);
  }

  names(): Iterable<string> {
    return this.#stored.keys();
  }
  has(name: string): boolean {
    return this.#stored.has(name);
  }
  entry(name: string): { dtype: GgufTensor["type"]; shape: readonly number[]; bytes: number } {
    const { type, shape, bytes } = this.file.tensor(this.#name(name));
    return { dtype: type, shape, bytes };
  }
  load(name: string, device: Device, options: { dtype?: DType | undefined; shape?: readonly number[] | undefined } = {}): Tensor {
    const heads = this.#interleavedHeads(name);
    if (heads === undefined) return this.file.load(this.#name(name), device, options);
    using tensor = this.file.load(this.#name(name), device, options); // one that was prepared is in no scope's care
    return scope(() => this.#inHalves(name, tensor, heads));
  }
  *prepare(prefix: string, device: Device, dtype: "f32" | "bf16"): Pieces<void> {
    for (const [name, stored] of this.#stored) if (name.startsWith(prefix)) yield* this.file.prepare(stored, device, dtype);
  }
  loadBytes(name: string, device: Device): Tensor {
    return this.file.loadBytes(this.#name(name), device);
  }
  bytes(name: string, from?: number, length?: number): ArrayBuffer {
    return this.file.bytes(this.#name(name), from, length);
  }

  #name(name: string): string {
    const stored = this.#stored.get(name);
    if (stored === undefined)
      throw new GgufError(this.path, `a tensor "${name}"`, "none of that name", "the model is of another architecture, or incomplete");
    return stored;
  }

  /**
   * llama.cpp turns neighbours (2i, 2i + 1) of a LLaMA's head by RoPE, Hugging Face's classes turn (i, i + D/2): its converter puts the rows of q
   * and k in the former order. Qwen's stay.
   */
  #interleavedHeads(name: string): number | undefined {
    const part = /\.self_attn\.([qk])_proj\.(weight|bias)$/.exec(name)?.[1];
    if (!part || this.architecture !== "llama") return undefined;
    const heads = this.value("attention.head_count");
    const count = part === "q" ? heads : (this.value("attention.head_count_kv") ?? heads);
    if (typeof count !== "number" || count < 1) throw new GgufError(this.path, "a number of attention heads", kindOf(count));
    return count;
  }

  #inHalves(name: string, tensor: Tensor, heads: number): Tensor {
    const { shape } = tensor;
    const rows = shape[0] as number;
    const half = rows / heads / 2;
    if (!Number.isInteger(half)) throw new GgufError(this.path, `"${name}" with rows for ${heads} heads of an even size`, `${rows} rows`);
    const index = new Int32Array(rows);
    for (let head = 0, row = 0; head < heads; ++head)
      for (const second of [0, 1]) for (let i = 0; i < half; ++i) index[row++] = 2 * half * head + 2 * i + second;
    const at = Tensor.from(index, [rows], { device: tensor.device });
    const gathered = gatherRows(tensor.reshape([rows, -1]), at);
    return shape.length === 1 ? gathered.reshape(shape) : gathered;
  }

  close(): void {
    this.file.close();
  }
  [Symbol.dispose](): void {
    this.file[Symbol.dispose]();
  }
}

function kindOf(value: GgufValue | undefined): string {
  if (value === undefined) return "nothing";
  return typeof value === "object" ? "an array" : shown(value);
}
