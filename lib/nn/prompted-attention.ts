// LLaMA-Adapter (arXiv 2303.16199): learned prompts that a layer's queries attend to beside the text, with a softmax of their own. Their keys are not
// turned by a position, and what they give enters through a gate that starts at 0, so that nothing changes at first. With a picture, its one row is added
// to every prompt, or (V2, as released) a row of its own to each.
import { expected } from "../core/errors.js";
import { Tensor } from "../core/tensor.js";
import { add, attention, cast, gatherRows, mul, tanhGate } from "../ops/index.js";
import type { CausalSelfAttention } from "./attention.js";
import { BetweenSteps } from "./between.js";
import { innermost, type Layer } from "./layer.js";
import type { Linear, LinearLayer } from "./linear.js";
import { matching } from "./module.js";
import type { QuantizedLinear } from "./quantized-linear.js";
import type { Heads, LayerCache, Sees, Sequence } from "./sequence.js";

/** Attention whose steps can be taken one by one: the layer itself, or prompts around it. */
export interface Attending extends Layer, Pick<CausalSelfAttention, "heads" | "attend" | "out" | "keysOf"> {
  readonly oProj?: LinearLayer;
}
export const isAttending = (layer: object): layer is Attending => "attend" in layer && "heads" in layer;

export interface PromptedOptions {
  owner: string;
  /** (…,K,C) and (1) or (…,H,…), with sizes of 1 as the file has them. */
  prompt: Tensor;
  gate: Tensor;
  /** What the file calls them. */
  names: { prompt: string; gate: string };
  /** Published: a gate per head, through tanh. PEFT: one, as it is; and the branch has an output projection to itself, whose bias counts once more. */
  form: "tanh" | "plain";
  /** Is the row of a picture that stands beside added to the prompts? */
  picture?: boolean;
}

export class PromptedAttention extends BetweenSteps {
  prompt: Tensor;
  gate: Tensor;
  readonly form: "tanh" | "plain";
  readonly picture: boolean;
  readonly #names: Readonly<Record<string, string>>;

  constructor(base: Attending, { owner, prompt, gate, names, form, picture = false }: PromptedOptions) {
    super(base, owner);
    this.prompt = prompt;
    this.gate = gate;
    this.form = form;
    this.picture = picture;
    this.#names = names;
  }

  /** A picture steers all of the text. */
  get sees(): Sees | undefined {
    return this.picture ? "all" : undefined;
  }

  protected override ownName(field: string): string {
    return this.#names[field] ?? super.ownName(field);
  }

  attend(heads: Heads, s: Sequence): Tensor {
    const y = this.inner.attend(heads, s);
    const found = this.#find(heads.q, ...this.#prompts(heads.q, s));
    const { gate } = this;
    if (this.form === "tanh") return tanhGate(found, y, gate.reshape([gate.size]));
    const times = mul(found.dtype === "f32" ? found.reshape([-1, 1]) : cast(found, "f32").reshape([-1, 1]), gate.reshape([1]));
    return add(y, matching(times, y).reshape(y.shape));
  }

  override out(y: Tensor): Tensor {
    const out = this.inner.out(y);
    if (this.form === "tanh") return out;
    const { oProj } = innermost(this) as CausalSelfAttention;
    const { bias } = innermost(oProj) as Linear | QuantizedLinear;
    return bias ? add(out, matching(bias, out)) : out;
  }

  /** What q (B,T,H,D) finds in the prompts' keys and values (1|B,K,·,D): those of all rows are read by all queries as one row's. */
  #find(q: Tensor, k: Tensor, v: Tensor): Tensor {
    const [B, T, H, D] = q.shape as [number, number, number, number];
    if (k.shape[0] === B) return attention(q, k, v);
    return attention(q.reshape([1, B * T, H, D]), k, v).reshape([B, T, H, D]);
  }

  /** Made with the first token, and with a new picture; the cache keeps them for the others. */
  #prompts(like: Tensor, { cache, beside, step }: Sequence): [k: Tensor, v: Tensor] {
    const rows = this.picture ? beside?.rows : undefined;
    const [k, v] = !rows && cache && step !== "first" ? this.#kept(cache) : [];
    if (k && v) return [k, v];
    const [K, C] = this.prompt.shape.slice(-2) as [number, number];
    const prompt = matching(this.prompt, like).reshape([1, K, C]);
    const made = this.inner.keysOf(rows ? pictured(prompt, matching(rows, like), like.shape[0] as number) : prompt);
    const own = [made.k, made.v];
    if (rows) cache?.keep(this, own);
    else cache?.keep(this, [], own);
    return [made.k, made.v];
  }

  /** What went when the cache was shortened is made anew, unless a picture was part of it. */
  #kept(cache: LayerCache): readonly Tensor[] {
    try {
      return cache.kept(this);
    } catch (error) {
      if (this.picture) throw error;
      return [];
    }
  }
}

/** prompt (1,K,C) and for each sequence one row (B,1,C), or one for each of its prompts (B,K,C) → (B,K,C). */
function pictured(prompt: Tensor, rows: Tensor, B: number): Tensor {
  const [, K, C] = prompt.shape as [number, number, number];
  if (String(rows.shape) === String([B, K, C])) return add(rows, prompt.reshape([K, C]));
  if (String(rows.shape) !== String([B, 1, C]))
    throw expected(
      "E_SHAPE",
      "LLaMA-Adapter",
      `one row of a picture for each sequence, [${B},1,${C}], or one for each prompt, [${B},${K},${C}]`,
      `[${rows.shape}]`,
    );
  const index = Int32Array.from({ length: B * K }, (_, i) => Math.floor(i / K));
  const each = gatherRows(rows.reshape([B, C]), Tensor.from(index, [B * K], { device: rows.device }));
  return add(each.reshape([B, K, C]), prompt.reshape([K, C]));
}
