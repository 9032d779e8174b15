// AnyMAL as the loop trains it. All that a training switches on a model is switched here, and put back in one place.
import type { Adapter } from "../adapters/adapter.js";
import type { AnyMAL } from "../anymal/anymal.js";
import { batchOf } from "../anymal/prompt.js";
import type { Tensor } from "../core/tensor.js";
import type { Pieces } from "../core/turns.js";
import type { Modality } from "../media/part.js";
import type { Module } from "../nn/module.js";
import { openOnEncoders } from "./adapters-in-training.js";
import { keyOf, nameOf, openables, prefixOf, speaksOf } from "./opens.js";
import type { ReadyRow } from "./prompt-rows.js";
import type { MicroLoss, Trainee } from "./trainee.js";
import type { Window } from "./training-rows.js";

export interface Opening {
  /** Patterns over names: see opens.ts. */
  opens: readonly string[];
  /** Patterns over what rows with media train by themselves; none: all rows train all. */
  disjoint: readonly string[];
  /** By name: adapters on encoders that train too. Whatever else is open in an encoder is frozen meanwhile. */
  onEncoders: readonly string[];
  /** Are layers run again in backward? */
  recompute: boolean;
  /** Rows that go through the model together. */
  microBatch: number;
  /** Do they lie behind each other in one, in place of being padded? */
  packing?: boolean | undefined;
}

export class ModelInTraining implements Trainee<Window>, Disposable {
  readonly parameters: readonly (readonly [string, Tensor])[];
  /** Whose projections train. */
  readonly modalities: ReadonlySet<Modality>;
  readonly #undo: (() => void)[] = [];
  /** Whose dropout is on while the training runs. */
  readonly #layers: readonly Module[];

  /** Opens what trains. An adapter that is to train is on the model. */
  constructor(
    private readonly model: AnyMAL,
    private readonly opening: Opening,
  ) {
    const fits = speaksOf(opening.opens);
    const names = Array.from(openables(model, opening.opens), ([name]) => name).filter(fits);
    const opened = new Set(names);
    this.modalities = new Set(model.modalities.filter((modality) => names.some((name) => name.startsWith(`projectors.${modality}.`))));
    const about = (prefix: string) => names.some((name) => name.startsWith(prefix));
    const adapters = model.parts.adapters.filter(({ adapter }) => adapter.state === "on");
    const chosen = adapters.filter(({ on, name }) => on !== "llm" && about(prefixOf(name))).map(({ name }) => name);
    const onLlm = adapters.filter(({ on }) => on === "llm");
    try {
      this.#recompute();
      for (const modality of this.modalities) this.#open(model.projector(modality), `projectors.${modality}.`, opened);
      const onEncoders = openOnEncoders(model, [...new Set([...opening.onEncoders, ...chosen])], opening.recompute, this.#undo);
      for (const { name, adapter } of onLlm) if (about(prefixOf(name))) this.#openAdapter(name, adapter, opened);
      if (about(LLM)) this.#open(model.llm, LLM, opened);
      const bridges = [...this.modalities].flatMap((modality) => model.projector(modality).modules());
      this.#layers = [...bridges, ...onLlm.flatMap(({ adapter }) => layersOf(adapter)), ...onEncoders.modules];
      this.training(false);
      const inEncoders = new Set(onEncoders.parameters.map(([, tensor]) => tensor));
      const own = [...openables(model, opening.opens)].filter(
        ([name, tensor]) => opened.has(name) && tensor.requiresGrad && !inEncoders.has(tensor),
      );
      const projections = own.filter(([name]) => name.startsWith("projectors."));
      const rest = own.filter(([name]) => !name.startsWith("projectors.")).map(([name, tensor]) => [keyOf(name), tensor] as const);
      this.parameters = [...projections, ...onEncoders.parameters, ...rest];
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #recompute(): void {
    const { llm } = this.model;
    const { gradientCheckpointing } = llm;
    this.#undo.push(() => (llm.gradientCheckpointing = gradientCheckpointing));
    llm.gradientCheckpointing = this.opening.recompute;
  }

  /** Parameters of bf16 are f32 masters while they train, and rounded afterwards, as a checkpoint that is loaded would hold them. */
  #open(module: Module, prefix: string, opened: ReadonlySet<string>): void {
    const own = [...module.namedParameters()].filter(([name, { requiresGrad }]) => opened.has(`${prefix}${name}`) && !requiresGrad);
    const all = new Set(own.map(([name]) => name));
    const narrow = new Set(own.filter(([, { dtype }]) => dtype === "bf16").map(([name]) => name));
    this.#undo.push(() => {
      module.requiresGrad(false, (name) => all.has(name));
      if (narrow.size) module.narrow((name) => narrow.has(name));
    });
    module.requiresGrad(true, (name) => all.has(name));
  }

  #openAdapter(name: string, adapter: Adapter, opened: ReadonlySet<string>): void {
    const parameters = [...adapter.namedParameters()];
    const wanted = parameters.filter(([key]) => opened.has(`${prefixOf(name)}${key}`));
    if (!wanted.length || adapter.trains) return;
    this.#undo.push(() => adapter.train(false));
    adapter.train(true);
    for (const [, tensor] of parameters) tensor.requiresGrad = false;
    for (const [, tensor] of wanted) tensor.requiresGrad = true;
  }

  /** From here on the weights are the run's: a checkpoint of the model holds those of the language model that train. */
  begin(): void {
    for (const [name] of this.parameters) if (name.startsWith(LLM)) this.model.trained.add(name);
  }

  items({ ready }: Window): number {
    return ready.reduce((n, { length }) => n + length, 0);
  }

  names({ ready }: Window): string[] {
    return ready.map(({ where }) => where);
  }

  /** Micro-batches differ in how many tokens they score: each is weighted by its count over that of the step, or of what of it trains the same. */
  *losses({ ready }: Window): Generator<MicroLoss> {
    for (const { own, shut } of this.#shares(ready)) {
      const windowTokens = own.reduce((n, { counted }) => n + counted, 0);
      for (const tensor of shut) tensor.requiresGrad = false;
      try {
        for (const rows of microBatches(own, this.opening.microBatch)) yield () => this.#loss(rows, windowTokens);
      } finally {
        for (const tensor of shut) tensor.requiresGrad = true;
      }
    }
  }

  /** Rows with media and those of text alone, where they train different things, and what stays shut for them. */
  #shares(ready: readonly ReadyRow[]): { own: readonly ReadyRow[]; shut: readonly Tensor[] }[] {
    if (!this.opening.disjoint.length) return [{ own: ready, shut: [] }];
    const fits = speaksOf(this.opening.disjoint);
    const shut = (media: boolean) => this.parameters.flatMap(([key, tensor]) => (fits(nameOf(key)) === media ? [] : [tensor]));
    const both = [true, false].map((media) => ({ own: ready.filter((row) => row.media.length > 0 === media), shut: shut(media) }));
    return both.filter(({ own }) => own.length);
  }

  *#loss(rows: readonly ReadyRow[], windowTokens: number): Pieces<Tensor> {
    const { network, device } = this.model;
    const batch = batchOf(
      rows,
      rows.map(({ features }) => features),
      device,
      (modality, input) => this.model.encoder(modality).forward(input),
    );
    yield;
    return (yield* network.forwardInPieces(batch, { windowTokens, packed: this.opening.packing ?? false })).loss as Tensor;
  }

  training(on: boolean): void {
    for (const layer of this.#layers) layer.training = on;
  }

  [Symbol.dispose](): void {
    for (const undo of this.#undo.splice(0).reverse()) undo();
  }
}

const LLM = "llm.";

const layersOf = ({ wraps, shared }: Adapter): Module[] => [
  ...[...wraps.values()].flatMap((wrap) => [wrap as Module, ...wrap.ownModules()]),
  ...(shared?.modules() ?? []),
];

/** Targets of all these rows. */
export const scoredOf = (rows: readonly Pick<ReadyRow, "scored">[]): number => rows.reduce((n, { scored }) => n + scored, 0);

/** Rows of like length together, for less padding. */
function microBatches(window: readonly ReadyRow[], size: number): ReadyRow[][] {
  const sorted = window.length > size ? window.toSorted((a, b) => a.length - b.length) : window;
  return Array.from({ length: Math.ceil(window.length / size) }, (_, i) => sorted.slice(i * size, (i + 1) * size));
}
