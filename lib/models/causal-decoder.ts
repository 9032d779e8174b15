// What all families of language models do alike: the forward with cache, padding, leads and media beside, the head and the loss, generation. A family adds
// its body and how its files are read.
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import { built, keep, scope, scopeInPieces } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { atOnce, type Pieces } from "../core/turns.js";
import type { CausalLM, Prompt } from "../generate/causal-lm.js";
import { type GenerationOptions, generate } from "../generate/generate.js";
import { nextLogProbs, type ScoreOptions, scoreContinuations } from "../generate/score.js";
import type { CacheType } from "../nn/key-values.js";
import { KVCache } from "../nn/kv-cache.js";
import { type Plain, wrapsOn } from "../nn/layer.js";
import { Linear } from "../nn/linear.js";
import { Module, matching } from "../nn/module.js";
import { checkPacked, labelsApart, packedLayout, type SampleLengths } from "../nn/packed.js";
import type { QuantizedWeight } from "../nn/quantized-weight.js";
import { recomputed } from "../nn/recomputed.js";
import {
  begun,
  type Ids,
  type Lead,
  type LeadSource,
  layoutOf,
  type MediaBeside,
  rowsBehind,
  type Sees,
  type Sequence,
  type Span,
} from "../nn/sequence.js";
import { branchedHead, checkNoRows, grownTable, tableOf, trainedRows } from "../nn/token-rows.js";
import type { Weights } from "../nn/weights.js";
import type { DecoderBody } from "./decoder-body.js";
import type { DecoderConfig } from "./decoder-config.js";
import { logitsOf, roundedHead } from "./head.js";
import { LOSS_KEYS, type LossOptions, languageLoss } from "./language-loss.js";
import {
  checkBeside,
  checkMask,
  checkPositions,
  checkRows,
  idsOf,
  LONGEST_TABLE,
  positionLimit,
  spansFor,
  toldBeside,
} from "./llama-input.js";
import { lastRows, seenLast } from "./llama-last.js";
import { ledBy } from "./llama-lead.js";
import { HEAD } from "./llama-ties.js";

export type { Ids } from "../nn/sequence.js";

/** What a forward reads, and what it is to give back. */
export interface LlamaInput extends LlamaOptions {
  inputIds?: Ids;
  /** (B,T,C) in the compute dtype, in place of ids: text and media rows spliced. */
  inputsEmbeds?: Tensor;
  /** Ones where tokens are; each row one run of ones. The host must know it, so it is never a Tensor. */
  attentionMask?: readonly ArrayLike<number>[];
  /** Positions when they are not those of the mask; a family that has none takes none. */
  positionIds?: Ids;
  /** Media that do not stand between the tokens, for layers that ask for them. With a cache they stay until others are given. */
  beside?: MediaBeside | undefined;
  /**
   * Several samples in a row, one behind the other: the lengths of each row's. Places are counted from each one's first token and no sample sees another, so
   * that logits, loss and gradients are those of a row for each. Not with a mask, positions, a cache, media beside or what an adapter puts before rows.
   */
  packed?: SampleLengths | undefined;
  /** Which rows have media: for what an adapter puts before them. */
  media?: readonly boolean[] | undefined;
}

export interface LlamaOptions extends LossOptions {
  /** One label per position, -100 where none; position t is scored against the label of t + 1. Never a Tensor: the host counts them. */
  labels?: readonly ArrayLike<number>[];
  /** "last": of each row's last token only. false: none, which with labels spares the memory of (B,T,V): training wants it. Default "all". */
  logits?: "all" | "last" | false;
  outputHiddenStates?: boolean;
  cache?: KVCache;
}

export interface LlamaOutput {
  /** (B,T,V), or (B,V) for "last". */
  logits?: Tensor;
  /** (1) f32: mean over the scored positions; 0 where there are none. */
  loss?: Tensor;
  /** Embedding, each layer's output, and in the last place the output of the final norm. (B,T,C) each. */
  hiddenStates?: Tensor[];
}

const FORWARD_KEYS: readonly string[] = [
  ...[
    "inputIds",
    "inputsEmbeds",
    "attentionMask",
    "positionIds",
    "positions",
    "beside",
    "packed",
    "media",
    "labels",
    "logits",
    "outputHiddenStates",
    "cache",
  ],
  ...LOSS_KEYS,
];
/** What families call a layer's attention. */
const ATTENTION: readonly string[] = ["self_attn", "attn"];
const OTHER_FORWARD: Readonly<Record<string, string>> = {
  pastKeyValues: 'did you mean "cache"?',
  useCache: "a cache is used where one is passed: cache: model.createCache(rows, length)",
  returnDict: "the result is an object always",
  logitsToKeep: 'did you mean logits: "last"?',
};

/** Where the parts of a decoder stand: names of its checkpoint. */
export interface DecoderPaths {
  /** Of the table (V,e), and of the head where it is not the table. */
  embedding: string;
  head: string;
  /** What each layer's number follows on. */
  layers: string;
}

/**
 * A language model of any family: ids (B,T), or embeddings, → logits (B,T,V) and loss; generate() writes on. AutoModelForCausalLM opens one from a
 * folder, a file or the hub.
 */
export abstract class CausalDecoder<C extends DecoderConfig = DecoderConfig> extends Module implements CausalLM {
  model: DecoderBody;
  lmHead: Plain | undefined;
  #config: C;
  /** Recomputes each layer in backward instead of keeping its activations. */
  gradientCheckpointing = false;
  /** What an adapter has put before every row. */
  lead: LeadSource | undefined;
  /** Has an adapter its own of the embedding or the head? Tables of another size would come under it. */
  tablesExchanged = false;
  readonly #dtype: "f32" | "bf16";

  /** `body` makes the family's; `left` says of which weights that nothing asked for the file may be full. */
  constructor(at: Weights, config: C, body: () => DecoderBody, left: (name: string) => boolean = () => false) {
    super();
    this.#config = config;
    this.#dtype = at.dtype;
    this.model = body();
    const width = this.model.embedding.weight.shape[1] as number;
    this.lmHead = config.tieWordEmbeddings ? undefined : new Linear(at.at("lm_head"), width, config.vocabSize, { bias: false });
    try {
      at.finish((name) => left(name) || (config.tieWordEmbeddings && name === HEAD)); // a tied table may be stored twice
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  get config(): C {
    return this.#config;
  }
  get dtype(): "f32" | "bf16" {
    return this.#dtype;
  }
  get device() {
    return this.model.embedding.weight.device;
  }
  /** Of an embedding: what stands among the rows of text has it. */
  get width(): number {
    return this.model.embedding.weight.shape[1] as number;
  }
  get paths(): DecoderPaths {
    const body = this.stateName("model");
    const [embedding, layers] = [this.model.nameOf("embedTokens"), this.model.nameOf("layers")];
    return { embedding: `${body}.${embedding}.weight`, head: HEAD, layers: `${body}.${layers}` };
  }
  /** The head in 8 bit, the caller's to dispose, for a generation that rounds its inputs: a copy of now. undefined where an adapter stands on it. */
  headInEightBit(): QuantizedWeight | undefined {
    return roundedHead(this.headWeight, { layer: this.lmHead, embedding: this.model.embedTokens });
  }

  /** (V,C): the output head, which is the embedding when tied. */
  get headWeight(): Tensor {
    return tableOf(this.lmHead ?? this.model.embedTokens).weight;
  }

  /**
   * Makes room for tokens that are added: the embedding and the head get rows for ids up to `rows`, each the mean of those that are there, so that a new
   * word is as likely as a word is on average. Throws E_VALUE on fewer rows than there are, E_ADAPTER where rows of the tables train already.
   */
  resizeTokenEmbeddings(rows: number): void {
    const { vocabSize } = this.#config;
    if (!(Number.isInteger(rows) && rows >= vocabSize))
      throw expected(
        "E_VALUE",
        "resizeTokenEmbeddings",
        `at least the ${vocabSize} rows that there are`,
        rows,
        "rows are never taken away",
      );
    if (rows === vocabSize) return;
    checkNoRows(this.model.embedTokens, this.lmHead);
    if (this.tablesExchanged)
      throw expected(
        "E_ADAPTER",
        "resizeTokenEmbeddings",
        "tables that no adapter has its own of",
        "one that has",
        "make room before, or take it off first",
      );
    const tables = [this.model.embedTokens, ...(this.lmHead ? [this.lmHead] : [])].map(tableOf);
    const shared = this.lmHead && tables[0]?.weight === tables[1]?.weight;
    const grown = built(() => tables.slice(0, shared ? 1 : 2).map(({ weight }) => keep(grownTable(weight, rows))));
    for (const [i, table] of tables.entries()) {
      if (i === 0 || !shared) table.weight.dispose();
      table.weight = grown[shared ? 0 : i] as Tensor;
    }
    this.#config = { ...this.#config, vocabSize: rows };
  }

  /** A tied head becomes a layer of its own, over the embedding's very table: from here on either may be exchanged without the other. */
  untie(): void {
    this.lmHead ??= new Linear(this.model.embedding.weight, this.width, this.config.vocabSize, { bias: false });
  }
  /** The head is the embedding again. What it held of its own is the caller's. */
  tie(): void {
    this.lmHead = undefined;
  }

  /** Which media beside the text its layers look at; undefined where none looks. */
  get sees(): Sees | undefined {
    const around = (layer: Module) => [layer, ...ATTENTION.flatMap((name) => layer.child(name) ?? [])].flatMap(wrapsOn);
    const looks = this.model.layers.flatMap(around).find((wrap) => wrap.enabled && "sees" in wrap && wrap.sees);
    return (looks as { sees?: Sees } | undefined)?.sees;
  }

  /** (…,C) in the compute dtype. */
  embed(ids: Ids): Tensor {
    return scope(() => this.model.embedTokens.forward(this.#ids(ids)));
  }

  /** `type` is what keys and values are kept as; default: the model's dtype. */
  createCache(batch: number, length: number, type?: CacheType): KVCache {
    const { layers, kvHeads, headDim } = this.config;
    return new KVCache(this.device, { layers, batch, length, kvHeads, headDim, dtype: this.#dtype, type });
  }

  /**
   * New tokens of each row, one after the other; greedy unless an option says else. Neither the prompt nor the ending token is in them.
   * Options may stand beside the prompt, as in transformers. Aborting rejects with the signal's reason. Rejects with E_GENERATION on options
   * out of range or a prompt that fills the context.
   */
  generate(prompt: Prompt & GenerationOptions, options: GenerationOptions = {}): Promise<number[][]> {
    const { inputIds, inputsEmbeds, attentionMask, positions, media, beside, ...others } = prompt;
    const given: Prompt = {
      ...(inputIds && { inputIds }),
      ...(inputsEmbeds && { inputsEmbeds }),
      ...(attentionMask && { attentionMask }),
      ...(positions && { positions }),
      ...(media && { media }),
      ...(beside && { beside }),
    };
    return generate(this, given, { ...others, ...options });
  }

  /** Log-probabilities of continuations, several for each row of a prompt that is read once. As scoreContinuations says. */
  scoreContinuations(prompt: Prompt, continuations: readonly (readonly ArrayLike<number>[])[], options?: ScoreOptions) {
    return scoreContinuations(this, prompt, continuations, options);
  }
  /** Log-probabilities of `tokens` as the next one, for each row of a prompt. As nextLogProbs says. */
  nextLogProbs(prompt: Prompt, tokens: readonly number[], options?: Pick<ScoreOptions, "signal">): Promise<number[][]> {
    return nextLogProbs(this, prompt, tokens, options);
  }

  /**
   * The names and results of transformers' `forward` of a causal language model. What is to be given back may stand beside the input or in `options`,
   * which counts first.
   */
  forward(input: LlamaInput, options: LlamaOptions = {}): LlamaOutput {
    return atOnce(this.forwardInPieces(input, options));
  }

  /** The same, a layer at a time: a model of many layers takes longer to enqueue than an event loop should wait. */
  forwardInPieces(input: LlamaInput, options: LlamaOptions = {}): Pieces<LlamaOutput> {
    return scopeInPieces(this.#forward(input, options));
  }

  *#forward(input: LlamaInput, options: LlamaOptions): Pieces<LlamaOutput> {
    const all = { ...input, ...options };
    checkOptions(`${this.constructor.name}.forward`, all, FORWARD_KEYS, { others: OTHER_FORWARD });
    const { cache, outputHiddenStates = false, ...wanted } = all;
    const x = input.inputsEmbeds ?? this.embed(idsOf(input.inputIds));
    const [B, T] = x.shape as [number, number];
    if (input.attentionMask) checkMask(input.attentionMask, B);
    if (wanted.labels)
      checkRows("labels", wanted.labels, { limit: this.config.vocabSize, also: wanted.ignore ?? -100, rows: B, length: T });
    if (input.packed) {
      const { attentionMask, positionIds, beside } = input;
      checkPacked(input.packed, B, T, { attentionMask, positionIds, cache, beside, "rows of an adapter": this.lead });
    }
    const given = spansFor(input.attentionMask, B, T, cache);
    const lead = cache?.filled ? undefined : this.lead?.make({ rows: B, media: input.media });
    const led = lead && ledBy(lead, x, given);
    const spans = led?.spans ?? given;
    const { beside } = input;
    if (beside) checkBeside(beside, B, T);
    const seen = led && beside?.seen ? led.moved(beside.seen, { start: 0, end: 0 }) : beside?.seen;
    const sequence = {
      ...this.#sequence(input, spans, led?.x ?? x, cache, lead),
      ...(beside && { beside: toldBeside(beside, seen) }),
    };
    const rows = rowsBehind(cache?.filled ? cache.rows : begun(B, lead), spans);
    this.#checkLearned(input.packed?.flat() ?? rows.map(({ position }) => position));
    const told = this.model.begun(led?.x ?? x, sequence, cache);
    const states = yield* this.#states(told.x, told.sequence, outputHiddenStates);
    cache?.done(sequence, rows, beside && seenLast(beside, seen, spans));
    const { labels, weights, ignore = -100 } = wanted;
    const apart = input.packed && labels && { labels: labelsApart(labels, input.packed, ignore) };
    const moved = led && labels && { labels: led.moved(labels, ignore), ...(weights && { weights: led.moved(weights, 0) }) };
    const output = this.#output(states.at(-1) as Tensor, spans, { ...wanted, ...moved, ...apart }, led?.restored);
    return { ...output, ...(outputHiddenStates && { hiddenStates: led ? states.map(led.restored) : states }) };
  }

  #sequence(
    { positionIds, attentionMask, packed: samples }: LlamaInput,
    spans: Span[],
    x: Tensor,
    cache: KVCache | undefined,
    lead: Lead | undefined,
  ): Sequence {
    const { rope } = this.model;
    const [B, T] = x.shape as [number, number];
    if (samples) {
      const { layout, packed } = packedLayout(samples, T, this.device);
      return { ...rope.placed(layout), step: "first", packed };
    }
    if (positionIds) checkPositions(positionIds, B, T, { lead, takes: this.model.takesPositions });
    const positions = positionIds && this.#ids(positionIds, "positionIds"); // before a table of that many rows is made
    const placed = positionIds && positions && { table: rope.table(positionLimit(positionIds, this.config), cache?.length), positions };
    const masked = attentionMask !== undefined;
    if (cache) return cache.next(spans, T, rope, { masked, lead, ...(placed && { placed }) });
    const layout = layoutOf(begun(B, lead), spans, T);
    const range = masked || lead ? Tensor.from(layout.range, [B, 2], { device: this.device }) : undefined;
    return { ...(placed ?? rope.placed(layout)), range, step: "first", lead };
  }

  /** Throws E_SHAPE where a row would go on behind the last learned position. */
  #checkLearned(positions: readonly number[]): void {
    const most = this.model.learnedPositions;
    const furthest = positions.reduce((all, position) => Math.max(all, position), 0);
    if (most !== undefined && furthest > most)
      throw expected(
        "E_SHAPE",
        this.constructor.name,
        `at most ${most} positions, for which it has learned rows`,
        furthest,
        "cut the rows",
      );
  }

  /** The last entry is what the head reads; the ones before it are there when asked for. */
  *#states(x: Tensor, sequence: Sequence, all: boolean): Pieces<Tensor[]> {
    const states: Tensor[] = [];
    let h = x;
    for (const layer of this.model.layers) {
      if (all) states.push(h === x ? x.alias() : h);
      const out = this.gradientCheckpointing ? recomputed(layer, h, sequence) : layer.forward(h, sequence);
      const next = out === h ? h.alias() : out; // what stands there may hand back what it was given
      // Nobody outside sees these: let them go now, not when the whole forward ends. The tape holds what backward needs.
      if (!all && h !== x) h.dispose();
      h = next;
      yield;
    }
    return [...states, this.model.ended(h)];
  }

  #output(hidden: Tensor, spans: Span[], { labels, logits = "all", ...loss }: LlamaOptions, restored = (y: Tensor) => y): LlamaOutput {
    const head = matching(this.headWeight, hidden);
    const output: LlamaOutput = {};
    if (logits) {
      const x = logits === "last" ? lastRows(hidden, spans) : restored(hidden);
      output.logits = logitsOf(x, head, { layer: this.lmHead, embedding: this.model.embedTokens });
    }
    const rows = trainedRows(this.lmHead ?? this.model.embedTokens);
    if (labels) output.loss = languageLoss(hidden, branchedHead(this.lmHead) ?? head, labels, loss, rows?.trained());
    return output;
  }

  #ids(ids: Ids, what: "inputIds" | "positionIds" = "inputIds"): Tensor {
    if (ids instanceof Tensor) return ids;
    checkRows(what, ids, { limit: what === "inputIds" ? this.config.vocabSize : LONGEST_TABLE });
    const T = ids[0]?.length ?? 0;
    const flat = new Int32Array(ids.length * T);
    for (const [b, row] of ids.entries()) flat.set(row, b * T);
    return Tensor.from(flat, [ids.length, T], { device: this.device });
  }
}
