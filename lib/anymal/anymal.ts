// AnyMAL as one uses it: a frozen language model with its tokenizer, frozen encoders with their processors, and a trained projection for each.
import type { Adapter } from "../adapters/adapter.js";
import { type AdapterOptions, createAdapter } from "../adapters/load-adapter.js";
import { LoraAdapter } from "../adapters/lora.js";
import type { LoraConfig } from "../adapters/lora-config.js";
import { shown } from "../core/checks.js";
import type { Device } from "../core/device.js";
import { expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import { settled } from "../core/settled.js";
import { checkGeneration, GENERATION_KEYS, type Prompt } from "../generate/generate.js";
import { type Answer, generateTexts, severalTexts, streamText, type TextOptions } from "../generate/text.js";
import { kindsWith, type OwnKinds } from "../media/kinds/index.js";
import type { MediaPart, Modality } from "../media/part.js";
import type { Loading } from "../media/source.js";
import { AnyMALNetwork } from "../models/anymal.js";
import type { Bridge } from "../models/bridges/kind.js";
import type { CausalDecoder } from "../models/causal-decoder.js";
import { deviceOf, OTHER_LOADING } from "../models/loading.js";
import type { Quantization } from "../nn/weights.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { assembly } from "./assembly.js";
import { build, carrier } from "./build.js";
import { writeCheckpoint } from "./checkpoint.js";
import type { ConversationMemory } from "./conversation-memory.js";
import { endTokens, never } from "./end-tokens.js";
import { ENCODER_BATCH, type Features, type MediaEncoder } from "./media-encoder.js";
import { type AssembleOptions, FROM_PRETRAINED_KEYS, type FromPretrainedOptions, type PromptFormat } from "./options.js";
import { type AdapterPlace, type AnyMALParts, type Attached, DEFAULT_ADAPTER, isAdapterName } from "./parts.js";
import { encodedPrompts, prepared, release } from "./prepare.js";
import type { PromptInput } from "./prompt.js";
import { isPublished, published } from "./published.js";
import type { QuestionReader } from "./question.js";
import { checkSafety, Guard, guarded, type Safety } from "./safety.js";
import { type AnswerScore, type AnswerScoreOptions, type NextTokenOptions, nextTokens, scoreAnswers } from "./score.js";
import type { Source } from "./source.js";
import { Trained } from "./trained.js";

export type { FromPretrainedOptions } from "./options.js";

export interface AnswerOptions extends TextOptions {
  /** generateAll: how many prompts run together. Default 32. */
  batch?: number;
  /** Passed from turn to turn of a conversation, spares reading its beginning again. */
  memory?: ConversationMemory | undefined;
  /** Text that spells a control token is letters. Default: as the model's prompt says. */
  splitSpecialTokens?: boolean | undefined;
  /** Judges of prompts and answers. */
  safety?: Safety | undefined;
}

const ANSWER_KEYS: readonly string[] = [...GENERATION_KEYS, "stop", "memory", "splitSpecialTokens"];

function checkOneAnswer(name: string, { numReturnSequences = 1 }: TextOptions): void {
  const got = `numReturnSequences: ${numReturnSequences}`;
  if (numReturnSequences !== 1) throw expected("E_GENERATION", name, "one answer to each prompt", got, "ask answers() for several");
}

/** Of features(). */
export interface FeatureOptions extends Loading {
  memory?: ConversationMemory | undefined;
  splitSpecialTokens?: boolean | undefined;
}

const READING = optionNames<FeatureOptions>({ signal: true, memory: true, splitSpecialTokens: true });

/** Of addAdapter(): beside the configuration. */
export interface AddAdapterOptions {
  seed?: number;
  name?: string;
  on?: AdapterPlace;
}

/**
 * A language model that reads pictures, videos, sounds and motion beside text. Assembled or loaded; align() and instruct() train it, generate()
 * answers. dispose() frees all of it.
 */
export class AnyMAL {
  readonly network: AnyMALNetwork;
  /** Of a published folder: under which of the known sets of names its tensors are stored, such as "llava-hf". */
  readonly layout: string | undefined;
  readonly tokenizer: Tokenizer;
  readonly encoders: ReadonlyMap<Modality, MediaEncoder>;
  /** Of projections that read the question: their tokenizers. */
  readonly questions: ReadonlyMap<Modality, QuestionReader>;
  /** What it was put together as: "anymal", "llava-1.5". */
  readonly system: string;
  /** Control tokens beside those of the language model's folder. */
  readonly addedTokens: readonly string[];
  readonly llmSource: Source;
  readonly quantization: Quantization | undefined;
  readonly prompt: PromptFormat;
  /** Of media, the user's own beside those that are here. */
  readonly kinds: OwnKinds;
  /** Projections whose feature statistics and output scale were measured on data. */
  readonly calibrated: Set<Modality>;
  /** Weights of the language model that a stage opened and trained: a checkpoint holds them. */
  readonly trained: Set<string>;
  /** Those that were taken off too. */
  #adapters: readonly Attached[];

  constructor(parts: AnyMALParts) {
    this.network = new AnyMALNetwork(parts.llm, Object.fromEntries(parts.projectors));
    this.layout = parts.layout;
    this.tokenizer = parts.tokenizer;
    this.encoders = parts.encoders;
    this.questions = parts.questions;
    this.system = parts.system;
    this.addedTokens = parts.addedTokens;
    this.llmSource = parts.llmSource;
    this.quantization = parts.quantization;
    this.prompt = parts.prompt;
    this.kinds = parts.kinds;
    this.calibrated = new Set(parts.calibrated);
    this.trained = new Set(parts.trained);
    this.#adapters = parts.adapters;
  }

  /** A language model and encoders with fresh projections between them: where training begins. */
  static async assemble(options: AssembleOptions): Promise<AnyMAL> {
    return new AnyMAL(await build(await assembly(options)));
  }

  /** From a folder that save(), align() or instruct() wrote, or of a published model: a LLaVA 1 or 1.5 in any of its layouts, an IDEFICS-1, an Otter, a Qwen2-Audio. */
  static async fromPretrained(folder: string, options: FromPretrainedOptions = {}): Promise<AnyMAL> {
    checkOptions("AnyMAL.fromPretrained", options, FROM_PRETRAINED_KEYS, { others: OTHER_LOADING });
    checkOptions("AnyMAL.fromPretrained encoders", options.encoders, [...kindsWith(options.kinds).keys()]);
    const loading = { ...options, device: await deviceOf(options.device) };
    if (await isPublished(folder)) return new AnyMAL(await build(await published(folder, loading)));
    return new AnyMAL(await build(await (await Trained.open(folder)).plan(loading)));
  }

  /** What the model consists of now. */
  get parts(): AnyMALParts {
    const { system, llm, tokenizer, addedTokens, encoders, questions, llmSource, quantization, prompt, kinds, calibrated, trained } = this;
    const projectors = new Map(this.modalities.map((modality) => [modality, this.projector(modality)]));
    const adapters = this.#adapters.filter(({ adapter }) => adapter.state !== "off");
    return {
      system,
      llm,
      tokenizer,
      addedTokens,
      encoders,
      projectors,
      questions,
      adapters,
      llmSource,
      quantization,
      prompt,
      kinds,
      calibrated,
      trained,
    };
  }

  /** By name, in the order in which they were put on; those that were merged or taken off are the model's no longer. */
  get adapters(): ReadonlyMap<string, Adapter> {
    return new Map(this.#adapters.filter(({ adapter }) => adapter.state === "on").map(({ name, adapter }) => [name, adapter]));
  }
  /** The default one, which stage 2 puts on the language model; undefined once it was merged or taken off. */
  get adapter(): LoraAdapter | undefined {
    const adapter = this.adapters.get(DEFAULT_ADAPTER);
    return adapter instanceof LoraAdapter ? adapter : undefined;
  }
  set adapter(adapter: LoraAdapter | undefined) {
    this.#adapters = this.#adapters.filter((one) => one.name !== DEFAULT_ADAPTER || one.adapter.state === "merged");
    if (adapter) this.#attach(DEFAULT_ADAPTER, adapter);
  }
  /** Was an adapter added into the weights of what it stood on? They are then no longer those of the folder that save() refers to. */
  get merged(): boolean {
    return this.#adapters.some(({ adapter }) => adapter.state === "merged");
  }

  /**
   * Projections, adapter, those weights of the language model that were trained, and anymal.json. What is as in its folder stays there. Rejects with E_CHECKPOINT where the adapter was merged
   * into the language model, which no file would hold then.
   */
  save(folder: string): Promise<void> {
    return writeCheckpoint(folder, this.parts);
  }

  get llm(): CausalDecoder {
    return this.network.llm;
  }
  get device(): Device {
    return this.llm.device;
  }
  get modalities(): Modality[] {
    return [...this.encoders.keys()];
  }
  projector(modality: Modality): Bridge {
    return this.network.projectors.get(this.encoder(modality).modality) as Bridge;
  }
  encoder(modality: Modality): MediaEncoder {
    const encoder = this.encoders.get(modality);
    if (!encoder)
      throw expected(
        "E_MODALITY",
        "AnyMAL",
        `media of ${this.modalities.join(", ")}`,
        modality,
        "assemble the model with an encoder for it",
      );
    return encoder;
  }

  /**
   * Puts a fresh adapter on the language model, or on the encoder of a modality (`on`), whose name it has then unless it is given one: LoRA branches, or
   * what `kind` names. Throws E_ARGUMENT where the name is no folder's or another adapter's, E_LORA or E_ADAPTER where the configuration fits no layer.
   */
  addAdapter(config: Partial<LoraConfig>, options?: AddAdapterOptions & { kind?: "lora" }): LoraAdapter;
  addAdapter<K extends keyof AdapterOptions>(config: Partial<AdapterOptions[K]>, options: AddAdapterOptions & { kind: K }): Adapter;
  addAdapter(config: object, options: AddAdapterOptions & { kind?: keyof AdapterOptions } = {}): Adapter {
    const { on = "llm", kind = "lora", name = on === "llm" ? DEFAULT_ADAPTER : on, ...drawing } = options;
    this.#checkName(name);
    if (on !== "llm" && name === DEFAULT_ADAPTER)
      throw expected("E_ARGUMENT", "addAdapter", "a name of its own for an adapter on an encoder", `"${name}"`, `leave it out for "${on}"`);
    const adapter = createAdapter(carrier(on, this.llm, this.encoders), kind, config, { ...drawing, name });
    this.#attach(name, adapter, on);
    return adapter;
  }

  #attach(name: string, adapter: Adapter, on: AdapterPlace = "llm"): void {
    this.#adapters = [...this.#adapters, { name, kind: adapter.kind.name, on, adapter }];
  }

  #checkName(name: string): void {
    if (typeof name !== "string" || !isAdapterName(name))
      throw expected("E_ARGUMENT", "addAdapter", "a name of letters, digits, _ and -, 64 at most", shown(name), "its folder is called so");
    const taken = [...this.adapters.keys()].find((one) => one.toLowerCase() === name.toLowerCase());
    if (taken !== undefined)
      throw expected(
        "E_ARGUMENT",
        "addAdapter",
        "a name of its own",
        `"${taken}" again`,
        "pass another name, or take that adapter off first",
      );
  }

  /** What the encoders make of media, in the order given. */
  async features(parts: readonly MediaPart[], reading: FeatureOptions = {}): Promise<Features[]> {
    checkOptions("AnyMAL.features", reading, READING);
    const { signal, memory } = reading;
    const result = new Array<Features>(parts.length);
    const kept = memory?.featuresOf(this);
    const places = new Map<MediaEncoder, number[]>();
    const keys = new Map<MediaEncoder, string | undefined>();
    for (const [i, part] of parts.entries()) {
      const encoder = this.encoder(part.modality);
      if (kept && !keys.has(encoder)) keys.set(encoder, await encoder.key());
      const known = kept?.get(part);
      if (known && known.key === keys.get(encoder)) result[i] = known.features;
      else places.set(encoder, [...(places.get(encoder) ?? []), i]);
    }
    for (const [encoder, all] of places) {
      for (let from = 0; from < all.length; from += ENCODER_BATCH) {
        signal?.throwIfAborted();
        const some = all.slice(from, from + ENCODER_BATCH);
        const made = await encoder.encode(
          some.map((i) => parts[i] as MediaPart),
          { signal },
        );
        for (const [k, i] of some.entries()) {
          result[i] = made[k] as Features;
          const key = keys.get(encoder);
          if (key !== undefined) kept?.set(parts[i] as MediaPart, { key, features: made[k] as Features });
        }
      }
    }
    return result;
  }

  /** The answer to one prompt while it is written. Aborting throws the signal's reason. */
  async *generate(prompt: PromptInput, { safety, ...options }: Omit<AnswerOptions, "batch"> = {}): AsyncGenerator<string> {
    checkGeneration(options, ANSWER_KEYS);
    checkSafety("generate", safety);
    if (!safety) return yield* this.#pieces(prompt, options);
    const guard = new Guard(prompt, safety, { model: this, signal: options.signal });
    const refusal = await guard.prompt();
    if (refusal === undefined) yield* guard.sentences(this.#pieces(prompt, options));
    else yield refusal;
  }

  async *#pieces(prompt: PromptInput, { memory, splitSpecialTokens, ...options }: Omit<AnswerOptions, "batch">): AsyncGenerator<string> {
    checkOneAnswer("generate", options);
    if (memory && options.past) throw expected("E_GENERATION", "generate", "memory or past", "both", "a memory has a past of its own");
    const ready = await this.#prepare([prompt], { signal: options.signal, memory, splitSpecialTokens });
    try {
      yield* streamText(this.llm, this.tokenizer, ready, {
        ...options,
        ...this.#ends(options),
        ...never(this, options),
        past: options.past ?? memory?.prefix,
      });
    } finally {
      release(ready);
    }
  }

  /** The answers to many prompts, `batch` of them together. */
  async generateAll(prompts: readonly PromptInput[], { safety, ...options }: AnswerOptions = {}): Promise<string[]> {
    checkGeneration(options, [...ANSWER_KEYS, "batch"]);
    checkSafety("generateAll", safety);
    if (!safety) return this.#answers(prompts, options);
    return guarded(prompts, safety, { model: this, signal: options.signal }, (some, numbers) => this.#answers(some, options, numbers));
  }

  async #answers(prompts: readonly PromptInput[], options: AnswerOptions, numbers?: readonly number[]): Promise<string[]> {
    checkOneAnswer("generateAll", options);
    return this.#together(prompts, options, (ready, asked) => generateTexts(this.llm, this.tokenizer, ready, asked), numbers);
  }

  /** Several answers to each prompt, numReturnSequences of them: the best of numBeams, best first and with their scores, or so many draws. */
  async answers(prompts: readonly PromptInput[], { safety, ...options }: AnswerOptions = {}): Promise<Answer[][]> {
    checkGeneration(options, [...ANSWER_KEYS, "batch"]);
    if (safety)
      throw expected("E_GENERATION", "answers", "no safety, which judges one answer to each prompt", "some", "take generateAll()");
    return this.#together(prompts, options, (ready, asked) => severalTexts(this.llm, this.tokenizer, ready, asked));
  }

  /** What `answer` makes of each prompt, `batch` of them at a time. `numbers`: of the prompts, for messages. */
  async #together<T>(
    prompts: readonly PromptInput[],
    { batch = 32, memory, splitSpecialTokens, ...options }: AnswerOptions,
    answer: (ready: Prompt, options: TextOptions) => Promise<T[]>,
    numbers?: readonly number[],
  ): Promise<T[]> {
    if (!(Number.isInteger(batch) && batch >= 1)) throw expected("E_VALUE", "generateAll", "a batch of at least 1", batch);
    const reading = { signal: options.signal, memory, splitSpecialTokens };
    const asked = { ...options, ...this.#ends(options), ...never(this, options) };
    const answers: T[] = [];
    for (let from = 0; from < prompts.length; from += batch) {
      const ready = await this.#prepare(prompts.slice(from, from + batch), reading, (i) => numbers?.[from + i] ?? from + i);
      try {
        answers.push(...(await answer(ready, asked)));
      } finally {
        release(ready);
      }
    }
    return answers;
  }

  /** The caller's own, or after which the model ends an answer. */
  #ends({ eosTokenId }: TextOptions): TextOptions {
    if (eosTokenId !== undefined) return { eosTokenId };
    return { eosTokenId: endTokens(this.llmSource.folder, this.llm.config.eosTokenIds, this.tokenizer, this.prompt.written?.end) };
  }

  /**
   * How probable the model holds answers that are given: for each prompt its own list, or one list for all of them. They are written as training writes them,
   * without the token that ends an answer unless `end` says so. A prompt is read once, whatever the number of its answers.
   *
   * ```ts
   * const [[yes, no]] = await model.scoreAnswers([[image("meme.png"), "Is it hateful?"]], ["Yes", "No"]);
   * const p = 1 / (1 + Math.exp(no.logProb - yes.logProb));
   * ```
   */
  scoreAnswers(
    prompts: readonly PromptInput[],
    answers: readonly string[] | readonly (readonly string[])[],
    options: AnswerScoreOptions = {},
  ): Promise<AnswerScore[][]> {
    return scoreAnswers(this, prompts, answers, options);
  }

  /**
   * For each prompt the logarithms of how probable each of `tokens` is to begin the answer: ids, or texts that are one token there. Rejects with
   * E_GENERATION on a text of several tokens, which scoreAnswers() takes.
   */
  nextLogProbs(prompts: readonly PromptInput[], tokens: readonly (string | number)[], options: NextTokenOptions = {}): Promise<number[][]> {
    return nextTokens(this, prompts, tokens, options);
  }

  async #prepare(prompts: readonly PromptInput[], reading: FeatureOptions, number?: (i: number) => number): Promise<Prompt> {
    return prepared(this, await encodedPrompts(this, prompts, reading, number), reading);
  }

  /** Resolves when all weights are on the device; rejects with what kept one of them from getting there. */
  async arrived(): Promise<void> {
    const encoders = Array.from(this.encoders.values(), ({ encoder }) => encoder);
    await settled([this.network, ...new Set(encoders)].map((part) => part.arrived()));
  }

  dispose(): void {
    this.network.dispose();
    for (const encoder of new Set(Array.from(this.encoders.values(), ({ encoder }) => encoder))) encoder.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
  /** Frees everything once what is enqueued has run. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { device: on } = this;
    this.dispose();
    await on.idle();
  }
}
