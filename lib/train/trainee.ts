// What the training loop is told: who is trained, on what, and what of a run goes on after a stop.
import type { Tensor } from "../core/tensor.js";
import type { Pieces } from "../core/turns.js";

/** One micro-batch's share of a step's loss, (1) f32 with its tape: a tensor, or the work of making it in pieces. */
export type MicroLoss = () => Tensor | Pieces<Tensor>;

/** Who is trained on windows of W: one optimiser step each. */
export interface Trainee<W> {
  /** What trains, by names that last: f32 masters that require gradients. */
  readonly parameters: Iterable<readonly [string, Tensor]>;
  /** The losses of one step, in order; their sum is its loss. Each is made, and walked back over, before the next one is asked for. */
  losses(window: W, step: number): Iterable<MicroLoss>;
  /** What the loss of a window is taken over, as speed is told: tokens, pairs. */
  items(window: W): number;
  /** What a window is made of, for messages. */
  names?(window: W): readonly string[];
  /** On around each piece of a step's work and off between two: dropout is no business of who asks the model meanwhile. */
  training(on: boolean): void;
}

/** Where the windows of the steps come from. */
export interface Windows<W> {
  /** Of step `step`, counted from 0. Aborting may end it with the signal's reason. */
  next(step: number, signal?: AbortSignal): W | Promise<W>;
  /** Resolves when nothing goes on in the background any more. */
  end?(): Promise<void>;
}

/** Numbers of a run that go on, beside tensors. */
export interface RunNumbers {
  step: number;
  /** Used so far: more than steps where all rows of some were bad. Runs of before have not noted it. */
  batches?: number;
  /** Gone through so far. Runs of before have not noted it. */
  tokens?: number;
  /** Of the optimiser. */
  updates: number;
  /** Of parameters that had fewer of them, by name. */
  fewerUpdates?: Record<string, number>;
}

/** A part of a run that is saved with it and goes on where it was: the optimiser, the order of the rows. */
export interface Stateful {
  /** Its tensors are kept under this name. */
  readonly name: string;
  tensors(): ReadonlyMap<string, Tensor>;
  numbers(): Partial<RunNumbers>;
  /** Takes over copies. */
  restore(tensors: ReadonlyMap<string, Tensor>, numbers: RunNumbers): void;
}

/** Where a training stands between two steps. */
export interface Standing {
  /** Steps made. */
  step: number;
  steps: number;
  secondsElapsed: number;
  secondsLeft: number;
}

/** Who looks at what is trained between two steps, when none is under way. The run is saved behind each look. */
export interface Observer {
  /** Asked before the first step of a sitting and after each. */
  due(standing: Pick<Standing, "step" | "steps">): boolean;
  look(standing: Standing): Promise<void>;
  /** Ends the training as its last step would. */
  readonly enough: boolean;
}

/** Where a run is kept between two sittings. */
export interface Keeper<R> {
  /** What earlier sittings took. */
  readonly secondsBefore: number;
  /** Fills the parts with what was saved. The step to go on from; 0 for a new run. */
  resume(parts: readonly Stateful[]): Promise<number>;
  save(step: number, parts: readonly Stateful[], secondsElapsed: number): Promise<void>;
  log(report: R): Promise<void>;
}
