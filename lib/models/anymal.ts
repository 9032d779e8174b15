// AnyMAL (arXiv 2309.16058): features of frozen encoders → a projection per modality → rows spliced between text embeddings → the language
// model, scored on text alone. Encoder features come in ready made: they depend on the file only, so they are computed once and kept.
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import { scope, scopeInPieces } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { atOnce, type Pieces } from "../core/turns.js";
import { Module } from "../nn/module.js";
import { cast, concat, gatherRows, spliceRows } from "../ops/index.js";
import { type MediaPart, type Part, SPLICE_OPTIONS, type Spliced, type SpliceOptions, splice, type TextPart } from "../text/splice.js";
import type { Bridge } from "./bridges/kind.js";
import type { LlamaForCausalLM, LlamaOptions, LlamaOutput } from "./llama.js";

/** The item'th entry of a modality's features stands here. */
export interface MediaReference {
  modality: string;
  item: number;
}

export interface AnyMALBatch {
  rows: readonly (readonly (TextPart | MediaReference)[])[];
  /** Per modality: encoder features of all its items, the leading size counting items. */
  features: Readonly<Record<string, Tensor>>;
}

export interface AnyMALNetworkOptions extends Omit<LlamaOptions, "labels">, SpliceOptions {
  /** Score the labels of the text parts. */
  loss?: boolean;
}

export interface Embedded {
  /** (B,T,C) in the compute dtype. */
  inputsEmbeds: Tensor;
  spliced: Spliced;
}

export class AnyMALNetwork extends Module {
  llm: LlamaForCausalLM;
  projectors: Map<string, Bridge>;

  constructor(llm: LlamaForCausalLM, projectors: Readonly<Record<string, Bridge>>) {
    super();
    this.llm = llm;
    this.projectors = new Map(Object.entries(projectors));
  }

  /** The sequence as the language model is to see it. */
  embed({ rows, features }: AnyMALBatch, options: SpliceOptions = {}): Embedded {
    checkOptions("AnyMALNetwork.embed", options, SPLICE_OPTIONS);
    return scope(() => {
      const media = Object.entries(features).map(([modality, x]) => ({
        modality,
        rows: this.#projector(modality).forward(this.#compute(x)),
      }));
      const starts = new Map<string, { start: number; tokens: number; items: number }>();
      let start = 0;
      for (const { modality, rows: projected } of media) {
        const [items, tokens] = projected.shape as [number, number];
        starts.set(modality, { start, tokens, items });
        start += items * tokens;
      }
      const spliced = splice(
        rows.map((row) => row.map((part) => placed(part, starts))),
        options,
      );
      const { textIds, index, batch, length } = spliced;
      const text = this.llm.embed(Tensor.from(textIds, [textIds.length], { device: this.llm.device }));
      const where = Tensor.from(index, [batch, length], { device: this.llm.device });
      const flat = media.map(({ rows: x }) => x.reshape([-1, x.shape.at(-1) as number]));
      const [first] = flat;
      const buffer = flat.length > 1 ? concat(flat, 0) : first;
      return { inputsEmbeds: buffer ? spliceRows(text, buffer, where) : gatherRows(text, where), spliced };
    });
  }

  forward(batch: AnyMALBatch, options: AnyMALNetworkOptions = {}): LlamaOutput {
    return atOnce(this.forwardInPieces(batch, options));
  }

  forwardInPieces(batch: AnyMALBatch, options: AnyMALNetworkOptions = {}): Pieces<LlamaOutput> {
    return scopeInPieces(this.#forward(batch, options));
  }

  *#forward(batch: AnyMALBatch, { loss = true, side, maxLength, ...options }: AnyMALNetworkOptions): Pieces<LlamaOutput> {
    const { inputsEmbeds, spliced } = this.embed(batch, { ...(side && { side }), ...(maxLength && { maxLength }) });
    yield;
    return yield* this.llm.forwardInPieces(
      { inputsEmbeds, attentionMask: spliced.attentionMask, media: batch.rows.map((row) => row.some((part) => "modality" in part)) },
      { ...(loss && { labels: spliced.labels, logits: false }), ...options },
    );
  }

  // Kept features may be in another precision than this model computes in.
  #compute(x: Tensor): Tensor {
    return x.dtype === this.llm.dtype ? x : cast(x, this.llm.dtype);
  }

  #projector(modality: string): Bridge {
    const projector = this.projectors.get(modality);
    if (!projector)
      throw new RangeError(
        `AnyMAL: expected features of ${[...this.projectors.keys()].join(", ") || "no modality"}, got "${modality}"; give the model a projector for it`,
      );
    if (projector.gives === "beside")
      throw expected(
        "E_MODALITY",
        `AnyMAL: projector of ${modality}`,
        "rows to stand between the text's",
        "one that gives them beside the text, which no layer of this language model asks for",
        "leave `gives` out",
      );
    return projector;
  }
}

function placed(part: TextPart | MediaReference, starts: ReadonlyMap<string, { start: number; tokens: number; items: number }>): Part {
  if (!("modality" in part)) return part;
  const of = starts.get(part.modality);
  if (!of || part.item >= of.items)
    throw new RangeError(`AnyMAL: expected features for item ${part.item} of "${part.modality}", got ${of?.items ?? 0} items`);
  return { start: of.start + part.item * of.tokens, length: of.tokens } satisfies MediaPart;
}
