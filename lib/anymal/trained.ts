// The checkpoint folder of a trained model, read: into a new model, or into one that a run goes on with. Both see the same files under the same checks.

import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { adapterFilesOf } from "../adapters/load-adapter.js";
import type { Device } from "../core/device.js";
import { expected } from "../core/errors.js";
import { onFile } from "../core/file-error.js";
import type { Tensor } from "../core/tensor.js";
import { Turns } from "../core/turns.js";
import { Checkpoint } from "../io/checkpoint.js";
import { type Kinds, kindsWith, listed, type OwnKinds } from "../media/kinds/index.js";
import type { Modality } from "../media/part.js";
import { openCausalLM } from "../models/auto-causal-lm.js";
import { readsQuestion, storedBridge } from "../models/bridges/index.js";
import type { CausalDecoder } from "../models/causal-decoder.js";
import { quantizationOf } from "../models/loading.js";
import { overwriting, type Stored } from "../nn/overwriting.js";
import { DEFAULT_SYSTEM } from "../systems/index.js";
import { Tokenizer } from "../text/tokenizer.js";
import { withRoom } from "./added-tokens.js";
import type { MediaPlan, Plan } from "./build.js";
import { ADAPTER_FILES, ADAPTERS, foldersIn, PROJECTORS, QUESTIONS, TRAINED, templateOf } from "./checkpoint.js";
import { CheckpointError } from "./checkpoint-error.js";
import { storedEncoders } from "./encoders.js";
import { checkpointFolder, type Manifest, readManifest } from "./manifest.js";
import type { FromPretrainedOptions } from "./options.js";
import { type AnyMALParts, adapterFolder, namedWeightsOf, weightsOf } from "./parts.js";
import { type QuestionReader, questionIn } from "./question.js";
import { locate, type Source } from "./source.js";

export class Trained {
  private constructor(
    readonly folder: string,
    readonly manifest: Manifest,
  ) {}

  /** A folder that save() wrote, or a run's. Rejects with E_CHECKPOINT where a file is missing or one too many: half a checkpoint answers, but not as the trained model. */
  static async open(given: string): Promise<Trained> {
    const folder = checkpointFolder(given);
    const trained = new Trained(folder, await readManifest(folder));
    await trained.#checkFiles();
    return trained;
  }

  async #checkFiles(): Promise<void> {
    const { folder, manifest } = this;
    const projectors = existsSync(join(folder, PROJECTORS))
      ? (await onFile("to be read", join(folder, PROJECTORS), () => readdir(join(folder, PROJECTORS)))).filter((name) =>
          name.endsWith(".safetensors"),
        )
      : [];
    const wanted = Object.keys(manifest.modalities).map((modality) => `${modality}.safetensors`);
    this.#same(`${PROJECTORS}/ with ${wanted.join(", ") || "nothing"}`, wanted, projectors);
    this.#same(
      manifest.trained ? TRAINED : `no ${TRAINED}`,
      manifest.trained ? [TRAINED] : [],
      existsSync(join(folder, TRAINED)) ? [TRAINED] : [],
    );
    const places = [".", ...(await foldersIn(join(folder, ADAPTERS))).map((name) => adapterFolder(name))];
    const there = places
      .flatMap((place) => ADAPTER_FILES.map((name) => join(place, name)))
      .filter((name) => existsSync(join(folder, name)));
    const files = manifest.adapters.flatMap((one) => adapterFilesOf(one.kind).map((name) => join(one.folder, name)));
    this.#same(files.join(" and ") || "no adapter", files, there);
  }

  #same(what: string, wanted: readonly string[], there: readonly string[]): void {
    if (wanted.every((name) => there.includes(name)) && there.every((name) => wanted.includes(name))) return;
    throw new CheckpointError(this.folder, what, there.join(", ") || "nothing", "copy the folder whole, or save the model again");
  }

  /** Those of the call, the model's among them. */
  #kinds(own: OwnKinds): Kinds {
    const kinds = kindsWith(own);
    const lacking = Object.keys(this.manifest.modalities).find((name) => !kinds.has(name));
    if (lacking === undefined) return kinds;
    const next = `pass yours again: fromPretrained(folder, { kinds: [${lacking}] }), or --kinds FILE on the command line`;
    throw expected(
      "E_MODALITY",
      this.folder,
      `the kind of media "${lacking}", which it was trained with`,
      listed(kinds.keys(), "and"),
      next,
    );
  }

  projections(modality: Modality): Checkpoint {
    return Checkpoint.openIn(this.folder, join(PROJECTORS, `${modality}.safetensors`));
  }

  /** Where all of it comes from, for build(). */
  async plan(options: FromPretrainedOptions & { device: Device }): Promise<Plan> {
    const { folder, manifest } = this;
    const { device, signal, kinds = [] } = options;
    const known = this.#kinds(kinds);
    const llmSource = await locate(folder, "the language model", manifest.llm, options.llm, { ...options, mayDiffer: true });
    const { addedTokens = [] } = manifest;
    const tokenizer = await Tokenizer.load(llmSource.folder, { signal, addedTokens });
    if (templateOf(tokenizer) !== manifest.prompt.template)
      throw new CheckpointError(
        folder,
        `a tokenizer with ${manifest.prompt.template === "chat" ? "a" : "no"} chat template, as in training`,
        llmSource.folder,
        "use the tokenizer it was trained with",
      );
    const quantization =
      options.quantization === undefined ? (manifest.llm.quantization ?? undefined) : quantizationOf(options.quantization);
    const held = { device, dtype: options.dtype ?? manifest.llm.dtype, ...(quantization && { quantization }) };
    const encoders = await storedEncoders(folder, manifest.modalities, known, options);
    const readers = await this.#readers(signal);
    const { template: _, ...prompt } = manifest.prompt;
    return {
      ...{ system: manifest.system ?? DEFAULT_SYSTEM, tokenizer, addedTokens, llmSource, quantization, prompt, kinds, signal },
      trained: this.trainedNames(),
      openLlm: async () => {
        const llm = withRoom(await openCausalLM(llmSource.folder, held, signal), tokenizer);
        try {
          await this.lay(llm, signal);
          return llm;
        } catch (error) {
          llm.dispose();
          throw error;
        }
      },
      media: encoders.map((encoder): MediaPlan => {
        const { modality } = encoder;
        return {
          ...encoder,
          calibrated: manifest.modalities[modality]?.calibrated ?? false,
          ...(readers.has(modality) && { question: async () => readers.get(modality) as QuestionReader }),
          projector: (setup, llm) => {
            using file = this.projections(modality);
            return storedBridge(file, setup.projector, device, llm.width);
          },
        };
      }),
      adapters: manifest.adapters.map(({ folder: own, ...one }) => ({ ...one, from: { folder: join(folder, own) } })),
    };
  }

  /** Of bridges that read the question. Rejects with E_CHECKPOINT where the tokenizer of one is gone: told nothing, it would be another model. */
  async #readers(signal: AbortSignal | undefined): Promise<Map<Modality, QuestionReader>> {
    const asked = Object.entries(this.manifest.modalities).filter(([, { projector }]) => readsQuestion(projector));
    const readers = new Map<Modality, QuestionReader>();
    for (const [modality] of asked) readers.set(modality, await questionIn(this.folder, join(QUESTIONS, modality), signal));
    return readers;
  }

  /** Rejects with E_CHECKPOINT where a run would go on with a projection that reads the question by another tokenizer. */
  async checkQuestions(model: AnyMALParts): Promise<void> {
    for (const [modality, stored] of await this.#readers(undefined)) {
      const own = model.questions.get(modality);
      if (own && !own.same(stored))
        throw new CheckpointError(
          this.folder,
          `the tokenizer of the question that the projection of ${modality} was trained with`,
          "another one",
          "go on with the model that the run began with, or begin another run in another folder",
        );
    }
  }

  /** Weights of the language model that lie here, by their names in weightsOf(). */
  trainedNames(): string[] {
    if (!this.manifest.trained) return [];
    using file = Checkpoint.openIn(this.folder, TRAINED);
    return [...file.names()];
  }

  /** The trained weights in the place of those of the folder, before adapters are put on. Rejects with E_CHECKPOINT where the model holds them quantised. */
  async lay(llm: CausalDecoder, signal: AbortSignal | undefined): Promise<void> {
    if (!this.manifest.trained) return;
    using file = Checkpoint.openIn(this.folder, TRAINED);
    const own = new Set(Array.from(weightsOf(llm), ([name]) => name));
    const missing = [...file.names()].find((name) => !own.has(name));
    if (missing !== undefined)
      throw new CheckpointError(
        file.path,
        "weights that the language model holds as they are",
        `"${missing}", which it has not, or holds quantised`,
        'load it with the quantization that it was trained with, "none" where all was trained',
      );
    const turns = new Turns();
    for (const name of file.names()) {
      signal?.throwIfAborted();
      using tensor = file.load(name, llm.device);
      llm.loadState(new Map([[name.slice("llm.".length), tensor]]), { strict: false });
      await turns.next();
    }
  }

  /**
   * Puts the weights into a model that has the same parts, as a run that goes on needs them: to the bit. Rejects with E_CHECKPOINT where its parts are
   * others, E_STATE where a weight is missing, left over, or of another shape or dtype; nothing of the model has changed then.
   */
  restore(model: AnyMALParts): Modality[] {
    this.#checkParts(model);
    const { folder, manifest } = this;
    const files: Checkpoint[] = [];
    try {
      const writes: (() => void)[] = [];
      const open = (file: Checkpoint): Checkpoint => {
        files.push(file);
        return file;
      };
      for (const [modality, projector] of model.projectors)
        writes.push(...overwriting(open(this.projections(modality)), plain(projector.namedParameters())));
      for (const { name, adapter } of model.adapters) {
        const file = open(Checkpoint.openIn(join(folder, adapterFolder(name)), adapter.kind.files.weights));
        writes.push(adapter.restoring(file));
      }
      if (manifest.trained) {
        const file = open(Checkpoint.openIn(folder, TRAINED));
        const own = namedWeightsOf(model.llm, new Set(file.names()));
        writes.push(...overwriting(file, plain(own), ["F32", "BF16"]));
      }
      for (const write of writes) write();
    } finally {
      for (const file of files) file.close();
    }
    return [...model.projectors.keys()].filter((modality) => manifest.modalities[modality]?.calibrated);
  }

  #checkParts(model: AnyMALParts): void {
    const { folder, manifest } = this;
    const remedy = "go on with the model that the run began with, or begin another run in another folder";
    const same = (what: string, stored: unknown, own: unknown) => {
      const [wanted, got] = [stored, own].map((one) => JSON.stringify(one)) as [string, string];
      if (wanted !== got) throw new CheckpointError(folder, `a model with ${what} ${wanted}`, got, remedy);
    };
    const sameSource = (what: string, { fingerprint, ...by }: Manifest["llm"] | { fingerprint: string }, source: Source) => {
      const commit = "id" in by && source.hub?.id === by.id && source.hub?.revision === (by as { revision?: string }).revision;
      if (fingerprint !== source.fingerprint && !commit)
        throw new CheckpointError(folder, `a model with ${what} of the run`, `one with other contents in ${source.folder}`, remedy);
    };
    const names = Object.keys(manifest.modalities);
    same("projections of", names.toSorted(), [...model.projectors.keys()].toSorted());
    sameSource("the language model", manifest.llm, model.llmSource);
    for (const [modality, { source, setup }] of model.encoders) {
      const entry = manifest.modalities[modality];
      if (!entry) continue;
      sameSource(`the encoder of ${modality}`, entry.encoder, source);
      const { projector, layer, select, frames, picks, pad } = entry;
      same(`${modality}`, sorted({ projector, layer, select, frames, picks, pad }), sorted(setup));
    }
    same("added tokens", manifest.addedTokens ?? [], model.addedTokens);
    const ours = model.adapters.map(({ name, kind, on }) => ({ name, kind, on }));
    same(
      "adapters",
      manifest.adapters.map(({ name, kind, on }) => ({ name, kind, on })),
      ours,
    );
  }
}

const sorted = (setup: object): unknown =>
  Object.fromEntries(
    Object.entries(setup)
      .filter(([, value]) => value !== undefined && value !== null)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => [key, typeof value === "object" && !Array.isArray(value) ? sorted(value as object) : value]),
  );

const plain = (tensors: Iterable<readonly [string, Tensor]>): Stored[] =>
  Array.from(tensors, ([name, tensor]) => ({ keys: [name], tensor }));
