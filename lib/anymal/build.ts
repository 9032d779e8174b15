// The one place where a model comes into being. Where each part comes from is the plan's; in which order they are made, that one which cannot be made
// takes all others with it, and that the weights have arrived, is said here.
import type { Adapter } from "../adapters/adapter.js";
import { type AdapterOptions, adapterFrom, createAdapter, loadAdapter } from "../adapters/load-adapter.js";
import { expected } from "../core/errors.js";
import { owning } from "../core/owning.js";
import { settled } from "../core/settled.js";
import { Turns } from "../core/turns.js";
import type { WeightSource } from "../io/checkpoint.js";
import type { MediaPart, MediaProcessor, Modality } from "../media/part.js";
import type { Bridge } from "../models/bridges/kind.js";
import type { CausalDecoder } from "../models/causal-decoder.js";
import type { Encoder } from "../models/encoder.js";
import type { Module } from "../nn/module.js";
import { CheckpointError, MANIFEST } from "./checkpoint-error.js";
import { MediaEncoder } from "./media-encoder.js";
import type { ModalitySetup } from "./options.js";
import type { AdapterPlace, AnyMALParts, Attached } from "./parts.js";
import type { QuestionReader } from "./question.js";
import type { Source } from "./source.js";

export interface MediaPlan {
  modality: Modality;
  /** Plans of one key share one encoder: pictures and videos through one CLIP. */
  key: string;
  source: Source;
  open(): Promise<Encoder>;
  /** Known once the encoder's sizes are. */
  setup(encoder: Encoder): ModalitySetup;
  processor(setup: ModalitySetup): MediaProcessor<MediaPart>;
  projector(setup: ModalitySetup, llm: CausalDecoder): Bridge;
  calibrated: boolean;
  /** Of a bridge that reads the question; undefined where nobody named its tokenizer. */
  question?: (() => Promise<QuestionReader>) | undefined;
}

export interface AdapterPlan {
  name: string;
  kind: string;
  on: AdapterPlace;
  /** Where PEFT's two files are, what a published folder holds, or what a fresh one is to be. */
  from:
    | { folder: string }
    | { source: WeightSource; config: object }
    | { config: (encoders: ReadonlyMap<Modality, MediaEncoder>) => object; seed: number };
}

export interface Plan
  extends Pick<
    AnyMALParts,
    "system" | "layout" | "tokenizer" | "addedTokens" | "llmSource" | "quantization" | "prompt" | "kinds" | "trained"
  > {
  openLlm(): Promise<CausalDecoder>;
  media: readonly MediaPlan[];
  adapters: readonly AdapterPlan[];
  signal: AbortSignal | undefined;
  /** Of files that the parts are read from. */
  close?(): void;
}

/** Rejects with what kept a part from being made, weights that could not be read included; nothing stays on the device then. */
export function build({ openLlm, media, adapters: wanted, signal, close, ...rest }: Plan): Promise<AnyMALParts> {
  const made = owning(async (own) => {
    const turns = new Turns();
    const opened = new Map<string, Encoder>();
    const encoders = new Map<Modality, MediaEncoder>();
    for (const { modality, key, source, open, setup: setupFor, processor } of media) {
      const encoder = opened.get(key) ?? own(await open());
      opened.set(key, encoder);
      const setup = setupFor(encoder);
      encoders.set(modality, new MediaEncoder(modality, encoder, processor(setup), setup, source));
      await turns.next();
    }
    signal?.throwIfAborted();
    const llm = own(await openLlm());
    const projectors = new Map<Modality, Bridge>();
    const questions = new Map<Modality, QuestionReader>();
    for (const { modality, projector, question } of media) {
      const bridge = own(projector((encoders.get(modality) as MediaEncoder).setup, llm));
      projectors.set(modality, bridge);
      const reader = await readerFor(modality, bridge, question);
      if (reader) questions.set(modality, reader);
    }
    const adapters: Attached[] = [];
    for (const { from, ...named } of wanted)
      adapters.push({ ...named, adapter: await adapterOn(carrier(named.on, llm, encoders), named, from, encoders) });
    // What fails while the weights are read fails here, not in the first forward.
    await settled([llm, ...projectors.values(), ...opened.values()].map((part) => part.arrived()));
    signal?.throwIfAborted();
    const calibrated = media.flatMap((one) => (one.calibrated ? [one.modality] : []));
    return { ...rest, llm, encoders, projectors, questions, adapters, calibrated };
  });
  return made.finally(close);
}

/** Throws E_MODALITY where a bridge that reads the question has no tokenizer: told nothing, it would be another model. */
async function readerFor(modality: Modality, bridge: Bridge, open: MediaPlan["question"]): Promise<QuestionReader | undefined> {
  const at = `modalities.${modality}.question`;
  if (!bridge.question) {
    if (!open) return undefined;
    throw expected(
      "E_MODALITY",
      at,
      "a bridge that reads the question",
      "one that reads the medium alone",
      "leave it out, or say projector.vocabulary",
    );
  }
  if (!open)
    throw expected(
      "E_MODALITY",
      at,
      "the tokenizer by which the bridge reads the question",
      "none",
      "name its folder, as that of a bert-base-uncased",
    );
  const reader = await open();
  reader.checkFor(modality, bridge);
  return reader;
}

async function adapterOn(
  module: Module,
  { name, kind }: Omit<AdapterPlan, "from">,
  from: AdapterPlan["from"],
  encoders: ReadonlyMap<Modality, MediaEncoder>,
): Promise<Adapter> {
  if ("source" in from) return adapterFrom(module, kind, from.source, from.config, name);
  if ("config" in from) {
    const { config, seed } = from;
    // A stage opens what it trains.
    return createAdapter(module, kind as keyof AdapterOptions, config(encoders), { name, seed }).train(false);
  }
  const adapter = await loadAdapter(module, from.folder, { name });
  if (adapter.kind.name !== kind)
    throw new CheckpointError(from.folder, `an adapter of kind ${kind}, as ${MANIFEST} says`, adapter.kind.name, "copy the folder whole");
  return adapter;
}

/** The module that an adapter is put on. */
export function carrier(on: AdapterPlace, llm: CausalDecoder, encoders: ReadonlyMap<Modality, MediaEncoder>): Module {
  if (on === "llm") return llm;
  const found = encoders.get(on);
  if (found) return found.encoder;
  const known = ["llm", ...encoders.keys()].join(", ");
  throw expected("E_MODALITY", "an adapter", `to stand on one of ${known}`, on, "assemble the model with an encoder for it");
}
