// Perceiver resamplers: learned latents attend to [features; latents] and come out as a fixed number of rows. Three forms that differ in
// norms, activation and names: Flamingo (arXiv 2204.14198), OpenFlamingo, Idefics.
import { checkOptions, optionNames } from "../../core/options.js";
import { scope } from "../../core/scope.js";
import { Tensor } from "../../core/tensor.js";
import { Linear } from "../../nn/linear.js";
import { addedTo, asMet, feedForwardThrough, isPlain } from "../../nn/linear-fused.js";
import { Module, matching } from "../../nn/module.js";
import { LayerNorm } from "../../nn/norm.js";
import type { Weights } from "../../nn/weights.js";
import {
  type ActivationKind,
  add,
  attentionTwoSource,
  gatherRows,
  linear,
  projectTwoSource,
  sliceCopy,
  transposeCopy,
} from "../../ops/index.js";

export type ResamplerForm = "flamingo" | "openflamingo" | "idefics";

export interface ResamplerConfig {
  form: ResamplerForm;
  dim: number;
  depth: number;
  heads: number;
  dimHead: number;
  latents: number;
  ffMult?: number;
  ffBias?: boolean;
  /** Idefics: LayerNorm on each head of q and k. */
  headNorm?: boolean;
  /** Rows of the table that tells frames apart. Flamingo always has one; OpenFlamingo may; 0 has none. */
  frames?: number;
  /** OpenFlamingo: rows of the table that tells media items apart. */
  media?: number;
  /** Standard deviation of fresh latents and tables. A table is added to features: it is drowned when it is far smaller than they are. */
  latentStd?: number;
  tableStd?: number;
  /** How Flamingo's table is stretched over more frames than it has: whether the first and last rows stay on the ends. */
  alignCorners?: boolean;
}
const CONFIG = optionNames<ResamplerConfig>({
  form: true,
  dim: true,
  depth: true,
  heads: true,
  dimHead: true,
  latents: true,
  ffMult: true,
  ffBias: true,
  headNorm: true,
  frames: true,
  media: true,
  latentStd: true,
  tableStd: true,
  alignCorners: true,
});

interface FormTraits {
  activation: ActivationKind;
  finalNorm: string | undefined;
  layers: string;
  frameTable: string;
  /** Checkpoint names within a layer. */
  names: Readonly<Record<string, string>>;
}

// biome-ignore format: a table
const FORMS: Record<ResamplerForm, FormTraits> = {
  flamingo: {
    activation: "squared_relu",
    finalNorm: undefined,
    layers: "layers",
    frameTable: "time_embeddings",
    names: { normMedia: "norm_media", normLatents: "norm_x", q: "q", k: "k", v: "v", out: "out", normFf: "norm_ffw", fc1: "fc1", fc2: "fc2" },
  },
  openflamingo: {
    activation: "gelu",
    finalNorm: "norm",
    layers: "layers",
    frameTable: "frame_embs",
    names: { normMedia: "0.norm_media", normLatents: "0.norm_latents", q: "0.to_q", kv: "0.to_kv", out: "0.to_out", normFf: "1.0", fc1: "1.1", fc2: "1.3" },
  },
  idefics: {
    activation: "relu",
    finalNorm: "layer_norm",
    layers: "blocks",
    frameTable: "",
    names: {
      normMedia: "0.context_layer_norm", normLatents: "0.latents_layer_norm", q: "0.q_proj", k: "0.k_proj", v: "0.v_proj", out: "0.output_proj",
      qNorm: "0.q_layer_norm", kNorm: "0.k_layer_norm", normFf: "1.ln", fc1: "1.fc", fc2: "1.c_proj",
    },
  },
};

class ResamplerLayer extends Module {
  normMedia: LayerNorm;
  normLatents: LayerNorm;
  q: Linear;
  k: Linear | undefined;
  v: Linear | undefined;
  kv: Linear | undefined; // rows: all of k, then all of v
  qNorm: LayerNorm | undefined;
  kNorm: LayerNorm | undefined;
  out: Linear;
  normFf: LayerNorm;
  fc1: Linear;
  fc2: Linear;
  readonly #config: ResamplerConfig;
  readonly #names: Readonly<Record<string, string>>;

  constructor(at: Weights, config: ResamplerConfig) {
    super();
    const { dim, heads, dimHead, ffMult = 4, ffBias = false, headNorm = false } = config;
    const inner = heads * dimHead;
    this.#config = config;
    this.#names = FORMS[config.form].names;
    const place = (field: string) => at.at(this.stateName(field));
    const project = (field: string, to: number) => new Linear(place(field), dim, to, { bias: false });
    this.normMedia = new LayerNorm(place("normMedia"), dim);
    this.normLatents = new LayerNorm(place("normLatents"), dim);
    this.q = project("q", inner);
    this.k = this.#names.kv ? undefined : project("k", inner);
    this.v = this.#names.kv ? undefined : project("v", inner);
    this.kv = this.#names.kv ? project("kv", 2 * inner) : undefined;
    this.qNorm = headNorm ? new LayerNorm(place("qNorm"), dimHead) : undefined;
    this.kNorm = headNorm ? new LayerNorm(place("kNorm"), dimHead) : undefined;
    this.out = new Linear(place("out"), inner, dim, { bias: false });
    this.normFf = new LayerNorm(place("normFf"), dim);
    this.fc1 = new Linear(place("fc1"), dim, ffMult * dim, { bias: ffBias });
    this.fc2 = new Linear(place("fc2"), ffMult * dim, dim, { bias: ffBias });
  }

  protected override stateName(field: string): string {
    return this.#names[field] ?? super.stateName(field);
  }

  /** media (B,S,d), latents (B,R,d) → (B,R,d). */
  forward(media: Tensor, latents: Tensor): Tensor {
    return scope(() => {
      const x = addedTo(latents, this.out, this.#attend(this.normMedia.forward(media), this.normLatents.forward(latents)));
      return feedForwardThrough(this.fc1, this.fc2, FORMS[this.#config.form].activation, this.normFf.forward(x), x);
    });
  }

  /** What each head reads, heads side by side. */
  #attend(media: Tensor, latents: Tensor): Tensor {
    const { heads, dimHead } = this.#config;
    const split = (x: Tensor) => x.reshape([x.shape[0] as number, x.shape[1] as number, heads, dimHead]);
    const [q, k1, v1, k2, v2] = this.#project(media, latents).map(split) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const key = (x: Tensor) => normed(this.kNorm, x);
    const y = attentionTwoSource(normed(this.qNorm, q), key(k1), v1, key(k2), v2, { scale: 1 / Math.sqrt(dimHead) });
    const [B, R] = y.shape as [number, number];
    return y.reshape([B, R, heads * dimHead]);
  }

  /** Queries of the latents, keys and values of both. */
  #project(media: Tensor, latents: Tensor): Tensor[] {
    const { q, k, v, kv } = this;
    const inner = this.#config.heads * this.#config.dimHead;
    if (isPlain(q) && isPlain(kv)) {
      const weight = asMet(kv.weight, latents);
      const rows = (start: number) => ({ weight, start, length: inner });
      return projectTwoSource(media, latents, asMet(q.weight, latents), rows(0), rows(inner));
    }
    if (isPlain(q) && isPlain(k) && isPlain(v)) {
      const [wq, wk, wv] = [q, k, v].map((layer) => asMet(layer.weight, latents)) as [Tensor, Tensor, Tensor];
      return projectTwoSource(media, latents, wq, wk, wv);
    }
    const both = (x: Tensor) => {
      if (!kv) return [k, v].map((layer) => (layer as Linear).forward(x));
      const rows = kv.forward(x);
      return [0, inner].map((start) => sliceCopy(rows, -1, start, inner));
    };
    return [q.forward(latents), ...both(media), ...both(latents)];
  }
}

const normed = (norm: LayerNorm | undefined, x: Tensor): Tensor => (norm ? norm.forward(x) : x);

/** Latents that attend to features: (B,S,d) → (B,R,d) whatever S is, in the forms of Flamingo (arXiv 2204.14198), OpenFlamingo and IDEFICS. */
export class Resampler extends Module {
  latents: Tensor; // (R,d)
  frameTable: Tensor | undefined; // (frames,d) or (frames,1,d)
  mediaTimeEmbs: Tensor | undefined; // (media,1,d)
  layers: ResamplerLayer[];
  norm: LayerNorm | undefined;
  readonly config: ResamplerConfig;

  constructor(at: Weights, config: ResamplerConfig) {
    super();
    checkOptions("Resampler", config, CONFIG);
    this.config = config;
    const { dim, frames = 0, media = 0, latentStd = 0.02, tableStd = 0.02 } = config;
    const { layers, finalNorm } = FORMS[config.form];
    const table = (name: string, shape: number[]) => (shape[0] ? at.parameter(name, shape, { normal: tableStd }) : undefined);
    this.latents = at.parameter("latents", [config.latents, dim], { normal: latentStd });
    this.frameTable = table(this.stateName("frameTable"), config.form === "flamingo" ? [frames, 1, dim] : [frames, dim]);
    this.mediaTimeEmbs = table("media_time_embs", [media, 1, dim]);
    this.layers = Array.from({ length: config.depth }, (_, i) => new ResamplerLayer(at.at(layers).at(i), config));
    this.norm = finalNorm === undefined ? undefined : new LayerNorm(at.at(finalNorm), dim);
  }

  protected override stateName(field: string): string {
    const form = FORMS[this.config.form];
    const names: Record<string, string> = { frameTable: form.frameTable, layers: form.layers, norm: form.finalNorm ?? "norm" };
    return names[field] ?? super.stateName(field);
  }

  /** (B,cells,d), (B,frames,cells,d) → (B,R,d); (B,media,frames,cells,d) → (B,media,R,d). */
  forward(features: Tensor): Tensor {
    return scope(() => {
      const d = this.config.dim;
      const shape = features.shape;
      const [frames, cells] = [shape.length > 3 ? shape.at(-3) : 1, shape.at(-2)] as [number, number];
      const items = shape.slice(0, shape.length > 3 ? -3 : -2); // (B) or (B,media)
      const N = items.reduce((a, b) => a * b, 1);
      let media = features.reshape([N, frames * cells, d]);
      if (this.frameTable) media = add(media, repeated(this.#frameRows(frames, media), frames, cells));
      if (this.mediaTimeEmbs) media = this.#addMediaTimes(media, items[1] ?? 1);
      let x = add(
        Tensor.zeros([N, this.config.latents, d], { device: features.device, dtype: features.dtype }),
        matching(this.latents, features),
      );
      for (const layer of this.layers) x = layer.forward(media, x);
      return normed(this.norm, x).reshape([...items, this.config.latents, d]);
    });
  }

  /** (frames,d): the table's first rows, or the table stretched by linear interpolation when the clip is longer. */
  #frameRows(frames: number, like: Tensor): Tensor {
    const rows = this.frameTable?.shape[0] as number;
    const table = matching((this.frameTable as Tensor).reshape([rows, this.config.dim]), like);
    if (frames <= rows) return table.slice(0, frames);
    return interpolated(table, frames, this.config.alignCorners ?? false);
  }

  #addMediaTimes(media: Tensor, count: number): Tensor {
    const [N, S, d] = media.shape as [number, number, number];
    const rows = this.mediaTimeEmbs?.shape[0] as number;
    if (count > rows)
      throw new RangeError(
        `Resampler: expected at most ${rows} media items per row, got ${count}; the table of this checkpoint has no more`,
      );
    const table = matching((this.mediaTimeEmbs as Tensor).reshape([rows, d]), media);
    return add(media.reshape([N / count, count * S, d]), repeated(table, count, S)).reshape([N, S, d]);
  }
}

/** (rows·times,d): each of the first `rows` rows `times` in a row. */
function repeated(table: Tensor, rows: number, times: number): Tensor {
  const index = Int32Array.from({ length: rows * times }, (_, i) => Math.floor(i / times));
  return gatherRows(table, Tensor.from(index, [rows * times], { device: table.device }));
}

/** (length,d) from (rows,d) by linear interpolation, as a product with a matrix of weights so that gradients need nothing of their own. */
function interpolated(table: Tensor, length: number, alignCorners: boolean): Tensor {
  const rows = table.shape[0] as number;
  const weights = Tensor.from(interpolationWeights(rows, length, alignCorners), [length, rows], {
    device: table.device,
    dtype: table.dtype,
  });
  return linear(weights, transposeCopy(table, 0, 1));
}

export function interpolationWeights(rows: number, length: number, alignCorners: boolean): Float32Array {
  const weights = new Float32Array(length * rows);
  for (let i = 0; i < length; ++i) {
    const place = alignCorners ? (length > 1 ? (i * (rows - 1)) / (length - 1) : 0) : Math.max(0, ((i + 0.5) * rows) / length - 0.5);
    const low = Math.min(rows - 1, Math.floor(place));
    const high = Math.min(rows - 1, low + 1);
    weights[i * rows + low] = (weights[i * rows + low] as number) + 1 - (place - low);
    weights[i * rows + high] = (weights[i * rows + high] as number) + (place - low);
  }
  return weights;
}
