// AnyMAL (arXiv 2309.16058): features of frozen encoders → a projection per modality → rows spliced between text embeddings → the language
// model, scored on text alone. Encoder features come in ready made: they depend on the file only, so they are computed once and kept.
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import { scope, scopeInPieces } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { atOnce, type Pieces } from "../core/turns.js";
import { Module } from "../nn/module.js";
import type { MediaBeside, Span } from "../nn/sequence.js";
import { cast, concat, gatherRows, spliceRows } from "../ops/index.js";
import { type MediaRows, type Part, SPLICE_OPTIONS, type Spliced, type SpliceOptions, splice, type TextPart } from "../text/splice.js";
import type { Bridge, Told } from "./bridges/kind.js";
import type { CausalDecoder, LlamaOptions, LlamaOutput } from "./causal-decoder.js";

/** The item'th entry of a modality's features stands here. */
export interface MediaReference {
  modality: string;
  item: number;
}

export interface AnyMALBatch {
  rows: readonly (readonly (TextPart | MediaReference)[])[];
  /**
   * Per modality: encoder features of all its items, the leading size counting items. Where items differ in shape, a list of such tensors: items are
   * counted through all of them.
   */
  features: Readonly<Record<string, Tensor | readonly Tensor[]>>;
  /** Of modalities whose bridge reads the question: that of each item, in ids of the bridge's own. */
  questions?: Readonly<Record<string, Told["question"]>>;
}

export interface AnyMALNetworkOptions extends Omit<LlamaOptions, "labels">, SpliceOptions {
  /** Score the labels of the text parts. */
  loss?: boolean;
  /** Lays the rows behind each other into one, and keeps them apart: the same loss and gradients without padding (LlamaInput.packed). */
  packed?: boolean;
}

export interface Embedded {
  /** (B,T,C) in the compute dtype. */
  inputsEmbeds: Tensor;
  spliced: Spliced;
  /** Media that do not stand between the tokens; absent where no row has any. `of` says of each of the rows which medium's it is. */
  beside?: (Omit<MediaBeside, "of"> & { of: readonly MediaReference[][] }) | undefined;
}

interface Projected {
  modality: string;
  /** (items,R,C), beside: (items,R,d). */
  rows: Tensor;
}

/** The network alone, without tokenizer, processors and files: ids and features in, logits and loss out. */
export class AnyMALNetwork extends Module {
  llm: CausalDecoder;
  projectors: Map<string, Bridge>;

  constructor(llm: CausalDecoder, projectors: Readonly<Record<string, Bridge>>) {
    super();
    this.llm = llm;
    this.projectors = new Map(Object.entries(projectors));
  }

  /** The sequence as the language model is to see it. */
  embed({ rows, features, questions = {} }: AnyMALBatch, options: SpliceOptions = {}): Embedded {
    checkOptions("AnyMALNetwork.embed", options, SPLICE_OPTIONS);
    return scope(() => {
      const media = Object.entries(features).flatMap(([modality, all]) => {
        let first = 0;
        return [all].flat().map((x) => {
          const behind = first + (x.shape[0] as number);
          const question = questions[modality]?.slice(first, behind);
          first = behind;
          return { modality, rows: this.#projector(modality).forward(this.#compute(x), question && { question }) };
        });
      });
      const between = media.filter(({ modality }) => this.#projector(modality).gives === "rows");
      const starts = startsOf(between);
      if (options.packed && between.length < media.length)
        throw expected(
          "E_ARGUMENT",
          "AnyMAL: packed",
          "media that stand between the text's rows",
          "some beside the text",
          "leave packed out",
        );
      const spliced = splice(
        rows.map((row) => row.flatMap((part) => placed(part, starts, features))),
        options,
      );
      const { textIds, index, batch, length } = spliced;
      const text = this.llm.embed(Tensor.from(textIds, [textIds.length], { device: this.llm.device }));
      const where = Tensor.from(index, [batch, length], { device: this.llm.device });
      const buffer = flattened(between);
      const beside = besideOf(
        rows,
        media.filter((one) => !between.includes(one)),
        starts,
        spliced,
        this.llm,
      );
      return { inputsEmbeds: buffer ? spliceRows(text, buffer, where) : gatherRows(text, where), spliced, ...(beside && { beside }) };
    });
  }

  forward(batch: AnyMALBatch, options: AnyMALNetworkOptions = {}): LlamaOutput {
    return atOnce(this.forwardInPieces(batch, options));
  }

  forwardInPieces(batch: AnyMALBatch, options: AnyMALNetworkOptions = {}): Pieces<LlamaOutput> {
    return scopeInPieces(this.#forward(batch, options));
  }

  *#forward(batch: AnyMALBatch, { loss = true, side, maxLength, packed = false, ...options }: AnyMALNetworkOptions): Pieces<LlamaOutput> {
    const { inputsEmbeds, spliced, beside } = this.embed(batch, { ...(side && { side }), ...(maxLength && { maxLength }), packed });
    const { attentionMask, samples } = spliced;
    yield;
    return yield* this.llm.forwardInPieces(
      {
        inputsEmbeds,
        ...(samples ? { packed: [samples] } : { attentionMask }),
        beside: beside && { rows: beside.rows, seen: beside.seen },
        media: batch.rows.map((row) => row.some((part) => "modality" in part)),
      },
      {
        ...(loss && { labels: spliced.labels, ...(spliced.weights && { weights: spliced.weights }), logits: false }),
        ...options,
      },
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
    if (projector.gives === "beside" && !this.llm.sees)
      throw expected(
        "E_MODALITY",
        `AnyMAL: projector of ${modality}`,
        "rows to stand between the text's",
        "one that gives them beside the text, which no layer of this language model asks for",
        "leave `gives` out, or put gated cross-attention on the language model",
      );
    return projector;
  }
}

type Starts = ReadonlyMap<string, readonly MediaRows[]>;

const rowsAt = (starts: Starts, { modality, item }: MediaReference): MediaRows | undefined => starts.get(modality)?.[item];

/** Where each item's rows are among all. */
function startsOf(media: readonly Projected[]): Starts {
  const starts = new Map<string, MediaRows[]>();
  let start = 0;
  for (const { modality, rows } of media) {
    const [items, length] = rows.shape as [number, number];
    const own = starts.get(modality) ?? [];
    starts.set(modality, own);
    for (let item = 0; item < items; ++item, start += length) own.push({ start, length });
  }
  return starts;
}

/** All rows, one after the other. */
function flattened(media: readonly Projected[]): Tensor | undefined {
  const flat = media.map(({ rows: x }) => x.reshape([-1, x.shape.at(-1) as number]));
  return flat.length > 1 ? concat(flat, 0) : flat[0];
}

/** What stands between the text's rows; a medium beside it takes no place there. */
function placed(part: TextPart | MediaReference, starts: Starts, features: AnyMALBatch["features"]): Part[] {
  if (!("modality" in part)) return [part];
  const items = [features[part.modality] ?? []].flat().reduce((n, { shape }) => n + (shape[0] as number), 0);
  if (part.item >= items) throw new RangeError(`AnyMAL: expected features for item ${part.item} of "${part.modality}", got ${items} items`);
  const rows = rowsAt(starts, part);
  return rows ? [rows] : [];
}

/** Media beside each row in the order in which they come, and which of them its tokens see: those before it, all or the latest, or all of the row. */
function besideOf(
  rows: AnyMALBatch["rows"],
  media: readonly Projected[],
  between: Starts,
  { attentionMask, length }: Spliced,
  llm: CausalDecoder,
): Embedded["beside"] {
  const flat = flattened(media);
  if (!flat) return undefined;
  const { sees } = llm;
  const starts = startsOf(media);
  const index: number[][] = [];
  const of: MediaReference[][] = [];
  const seen = rows.map((row, b) => {
    const [at, refs]: [number[], MediaReference[]] = [[], []];
    let now = { start: 0, end: 0 };
    const tokens: Span[] = [];
    for (const part of row) {
      if (!("modality" in part)) tokens.push(...new Array<Span>(part.ids.length).fill(now));
      else if (between.has(part.modality)) tokens.push(...new Array<Span>(rowsAt(between, part)?.length ?? 0).fill(now));
      else {
        const { start, length: R } = rowsAt(starts, part) as MediaRows;
        now = { start: sees === "all" ? 0 : at.length, end: at.length + R };
        for (let r = 0; r < R; ++r) at.push(start + r);
        refs.push(...new Array<MediaReference>(R).fill(part));
      }
    }
    index.push(at);
    of.push(refs);
    const mask = attentionMask[b] as Int32Array;
    const first = Math.max(0, mask.indexOf(1));
    const whole = { start: 0, end: at.length };
    return Array.from({ length }, (_, t) => (!mask[t] ? { start: 0, end: 0 } : sees === "row" ? whole : (tokens[t - first] as Span)));
  });
  const S = Math.max(...index.map((row) => row.length));
  if (!S) return undefined;
  const all = Int32Array.from(index.flatMap((row) => [...row, ...new Array<number>(S - row.length).fill(-1)]));
  const gathered = gatherRows(flat, Tensor.from(all, [all.length], { device: flat.device }));
  return { rows: gathered.reshape([rows.length, S, flat.shape[1] as number]), seen, of };
}
