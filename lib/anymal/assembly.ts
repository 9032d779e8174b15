// A language model and encoders with fresh projections between them: where training begins.
import { adapterKindNames } from "../adapters/load-adapter.js";
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import type { Modality } from "../media/part.js";
import { openCausalLM } from "../models/auto-causal-lm.js";
import { makeBridge } from "../models/bridges/index.js";
import { openBridge } from "../models/bridges/kind.js";
import { deviceOf, quantizationOf } from "../models/loading.js";
import { Weights } from "../nn/weights.js";
import { DEFAULT_SYSTEM, systemOf } from "../systems/index.js";
import type { System, SystemAdapter } from "../systems/system.js";
import { Tokenizer } from "../text/tokenizer.js";
import { tokenRows, withRoom } from "./added-tokens.js";
import { blocksRead } from "./blocks-read.js";
import type { AdapterPlan, MediaPlan, Plan } from "./build.js";
import { freshEncoders } from "./encoders.js";
import type { MediaEncoder } from "./media-encoder.js";
import { type AssembleOptions, checkAssembly, type PromptFormat } from "./options.js";
import { QuestionReader } from "./question.js";
import { type Fetching, openSource, tokenizerFolder } from "./source.js";
import { openStored, withStored } from "./stored-bridge.js";

/** Between the seeds of one model's projections. */
const SEEDS_APART = 1_000_003;

export async function assembly(given: AssembleOptions): Promise<Plan> {
  const known = checkAssembly(given);
  const { modalities, stored } = withStored(given);
  const { modalities: _m, kinds = [], system: name = DEFAULT_SYSTEM, seed = 0, quantization: _, prompt: __, ...options } = given;
  const system = systemOf(name);
  const { quantization, prompt } = completedBy(system, given);
  const adapters = adaptersIn(system, given);
  const { dtype, signal } = options;
  const device = await deviceOf(options.device);
  const form = quantizationOf(quantization);
  const llmSource = await openSource(options.llm, options);
  const encoders = await freshEncoders(modalities, known, device, dtype, system, options);
  const words = [...new Set([...system.addedTokens, ...(given.addedTokens ?? [])])];
  const tokenizer = await Tokenizer.load(llmSource.folder, { signal, addedTokens: words });
  return {
    ...{ system: system.name, tokenizer, llmSource, quantization: form, prompt, kinds, signal, trained: [] },
    addedTokens: words,
    adapters: [...adapters, ...tokenRows(tokenizer, words, seed)],
    openLlm: async () => {
      const held = { device, ...(dtype && { dtype }), ...(form && { quantization: form }) };
      return withRoom(await openCausalLM(llmSource.folder, held, signal), tokenizer);
    },
    media: encoders.map(
      (encoder, i): MediaPlan => ({
        ...encoder,
        // One that has met no language model is brought to the size of its rows like a fresh one.
        calibrated: stored.get(encoder.modality)?.fresh === false,
        ...asked(given, encoder.modality, options),
        projector: (setup, llm) => {
          const own = stored.get(encoder.modality);
          const drawn = seed + i * SEEDS_APART;
          if (own) return openStored(own, setup.projector, device, llm.width, drawn);
          const at = Weights.fresh({ device, dtype: llm.dtype, trainable: true, seed: drawn });
          const projector = makeBridge(at, setup.projector, llm.width);
          openBridge(projector, false);
          return projector;
        },
      }),
    ),
  };
}

/** The tokenizer of a bridge that reads the question. */
function asked(
  { modalities }: AssembleOptions,
  modality: Modality,
  fetching: Fetching & { signal?: AbortSignal | undefined },
): Pick<MediaPlan, "question"> {
  const { question } = modalities[modality] ?? {};
  return question === undefined
    ? {}
    : { question: async () => QuestionReader.open(await tokenizerFolder(question, fetching), fetching.signal) };
}

/** Those that a system has from its beginning, as the options change them. */
function adaptersIn({ name: system, adapters }: System, { adapters: asked = {}, seed = 0 }: AssembleOptions): AdapterPlan[] {
  const at = "AnyMAL.assemble adapters";
  // Those that the system does not speak of are put on the language model, behind its own.
  const own = adapters.map(({ kind }) => kind);
  const known = adapterKindNames.filter((kind) => kind !== "lora" || own.includes(kind));
  checkOptions(at, asked, known, { others: { lora: "training puts it on: lora of stage 2, or addAdapter()" } });
  const more = Object.keys(asked).filter((kind) => !own.includes(kind));
  const all = [...adapters, ...more.map((kind): Omit<SystemAdapter, "section"> => ({ kind, on: "llm", config: {} }))];
  return all.map(({ kind, on, config, widths = {}, read }) => {
    if (!adapterKindNames.includes(kind))
      throw expected("E_VALUE", at, `a system whose parts are all here`, `${system}, which needs ${kind}`, "take another system");
    const options = (encoders: ReadonlyMap<Modality, MediaEncoder>) => {
      const wide = Object.entries(widths).map(([key, modality]) => [key, widthOf(encoders, modality as Modality)]);
      const layers = read === undefined ? undefined : blocksRead(encoders.get(on as Modality));
      const blocks = layers && { [read as string]: layers };
      return { ...config, ...blocks, ...Object.fromEntries(wide.filter(([, width]) => width !== undefined)), ...asked[kind] };
    };
    // A system may have one kind in several places.
    const name = on === "llm" ? kind : `${kind}-${on}`;
    return { name, kind, on: on as AdapterPlan["on"], from: { config: options, seed } };
  });
}

/** Of a kind of media, or of the one that the model takes where that is another: clips alone. */
function widthOf(encoders: ReadonlyMap<Modality, MediaEncoder>, modality: Modality): number | undefined {
  const [only, ...more] = encoders.values();
  return (encoders.get(modality) ?? (more.length ? undefined : only))?.width;
}

/** The prompt's format, and how the language model is held. */
function completedBy(
  system: System,
  { prompt = {}, quantization = system.quantization ?? "nf4" }: Pick<AssembleOptions, "prompt" | "quantization">,
): { prompt: PromptFormat; quantization: NonNullable<AssembleOptions["quantization"]> } {
  const { written } = system;
  const own: PromptFormat = {
    ...(system.prompt !== undefined && { system: system.prompt }),
    ...(Object.keys(written).length && { written }),
  };
  const given = Object.fromEntries(Object.entries(prompt).filter(([, value]) => value !== undefined));
  return { prompt: { ...own, ...given }, quantization };
}
