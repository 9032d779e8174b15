// AnyMAL as the loop trains it. All that a training switches on a model is switched here, and put back in one place.
import type { AnyMAL } from "../anymal/anymal.js";
import { batchOf } from "../anymal/prompt.js";
import type { Tensor } from "../core/tensor.js";
import type { Pieces } from "../core/turns.js";
import type { Modality } from "../media/part.js";
import { openBridge } from "../models/bridges/kind.js";
import { openOnEncoders } from "./adapters-in-training.js";
import type { MicroLoss, Trainee } from "./trainee.js";
import type { ReadyRow, Window } from "./training-rows.js";

export interface Opening {
  /** Whose projections train. */
  modalities: readonly Modality[];
  /** Does the adapter train? */
  adapter: boolean;
  /** By name: adapters on encoders that train too. Whatever else is open in an encoder is frozen meanwhile. */
  onEncoders?: readonly string[];
  /** Are layers run again in backward? */
  recompute: boolean;
  /** Rows that go through the model together. */
  microBatch: number;
}

export class ModelInTraining implements Trainee<Window>, Disposable {
  readonly parameters: readonly (readonly [string, Tensor])[];
  readonly #undo: (() => void)[] = [];
  readonly #layers: { training: boolean }[];

  /** Opens what trains. The adapter that is to train is on the model. */
  constructor(
    private readonly model: AnyMAL,
    private readonly opening: Opening,
  ) {
    this.#layers = [...(model.adapter?.layers.values() ?? [])];
    try {
      this.parameters = this.#open();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #open(): readonly (readonly [string, Tensor])[] {
    const { model, opening } = this;
    const { llm } = model;
    const { gradientCheckpointing } = llm;
    this.#undo.push(() => (llm.gradientCheckpointing = gradientCheckpointing));
    llm.gradientCheckpointing = opening.recompute;
    for (const modality of opening.modalities) {
      const projector = model.projector(modality);
      this.#undo.push(() => openBridge(projector, false));
      openBridge(projector, true);
    }
    const { parameters: inEncoders, modules } = openOnEncoders(model, opening.onEncoders ?? [], opening.recompute, this.#undo);
    this.#layers.push(...modules);
    const branches = opening.adapter ? [...(model.adapter?.namedParameters() ?? [])] : [];
    this.#undo.push(() => setGrad(branches, false));
    setGrad(branches, true);
    return [
      ...opening.modalities.flatMap((modality) => [...model.projector(modality).namedParameters(`projectors.${modality}`)]),
      ...inEncoders,
      ...branches,
    ].filter(([, tensor]) => tensor.requiresGrad);
  }

  items({ ready }: Window): number {
    return ready.reduce((n, { length }) => n + length, 0);
  }

  /** Micro-batches differ in how many tokens they score: each is weighted by its count over that of the step. */
  *losses({ ready }: Window): Generator<MicroLoss> {
    const windowTokens = scoredOf(ready);
    for (const rows of microBatches(ready, this.opening.microBatch)) yield () => this.#loss(rows, windowTokens);
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
    return (yield* network.forwardInPieces(batch, { windowTokens })).loss as Tensor;
  }

  training(on: boolean): void {
    for (const layer of this.#layers) layer.training = on;
  }

  [Symbol.dispose](): void {
    for (const undo of this.#undo.splice(0).reverse()) undo();
  }
}

function setGrad(parameters: Iterable<readonly [string, Tensor]>, on: boolean): void {
  for (const [, tensor] of parameters) tensor.requiresGrad = on;
}

/** Targets of all these rows. */
export const scoredOf = (rows: readonly ReadyRow[]): number => rows.reduce((n, { scored }) => n + scored, 0);

/** Rows of like length together, for less padding. */
function microBatches(window: readonly ReadyRow[], size: number): ReadyRow[][] {
  const sorted = window.length > size ? window.toSorted((a, b) => a.length - b.length) : window;
  return Array.from({ length: Math.ceil(window.length / size) }, (_, i) => sorted.slice(i * size, (i + 1) * size));
}
