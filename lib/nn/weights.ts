// Where a model's parameters come from while it is built: fresh random numbers or a checkpoint. Building from the source means that a
// model larger than memory in full precision is never made in full precision: a layer asks what is stored and becomes that.
import type { Device } from "../core/device.js";
import { checkOptions, optionNames } from "../core/options.js";
import { built, keep } from "../core/scope.js";
import { type DType, Tensor } from "../core/tensor.js";
import type { Pieces } from "../core/turns.js";
import type { WeightSource } from "../io/checkpoint.js";
import { randomNormal, randomUniform } from "../ops/index.js";
import { describe, join, StateError } from "./module.js";

export type Init = { fill: number } | { normal: number } | { uniform: number };
export const zeros: Init = { fill: 0 };
export const ones: Init = { fill: 1 };
/** torch.nn.Linear's default: uniform in ±1/sqrt(fan in). */
export const fanIn = (features: number): Init => ({ uniform: 1 / Math.sqrt(features) });

/** How dense weights are to be stored: the numbers of bitsandbytes. */
export interface Quantization {
  format: "nf4" | "fp4" | "int8";
  block?: number;
  doubleQuant?: boolean;
  /** LLM.int8's outlier threshold. */
  threshold?: number;
}

interface Source {
  device: Device;
  dtype: "f32" | "bf16";
  trainable: boolean;
  checkpoint?: WeightSource;
  /** Shapes alone. */
  outline?: boolean;
  quantization?: Quantization | undefined;
  int8Threshold?: number | undefined;
  used: Set<string>;
  /** What was given out. A module that cannot be finished has no owner to dispose of what it got. */
  made: { dispose(): void; readonly disposed: boolean }[];
  seed: number;
  drawn: number;
}

export interface FreshOptions {
  device: Device;
  /** dtype of the activations. Trainable parameters are f32 whatever it says. */
  dtype?: "f32" | "bf16";
  trainable?: boolean;
  seed?: number;
  quantization?: Quantization | undefined;
}
export type OutlineOptions = Pick<FreshOptions, "device" | "dtype" | "trainable">;
export interface CheckpointOptions extends Omit<FreshOptions, "seed"> {
  /** LLM.int8's outlier threshold for layers stored in int8. */
  int8Threshold?: number | undefined;
}

const COMMON = { device: true, dtype: true, trainable: true, quantization: true } as const;
const FRESH_OPTIONS = optionNames<FreshOptions>({ ...COMMON, seed: true });
const OUTLINE_OPTIONS = optionNames<OutlineOptions>({ device: true, dtype: true, trainable: true });
const CHECKPOINT_OPTIONS = optionNames<CheckpointOptions>({ ...COMMON, int8Threshold: true });

/** What a layer's constructor asks for its parameters: fresh random numbers, a checkpoint's, or shapes alone. A child's are those of at.at(name). */
export class Weights {
  private constructor(
    private readonly source: Source,
    readonly prefix: string,
  ) {}

  static fresh(options: FreshOptions): Weights {
    checkOptions("Weights.fresh", options, FRESH_OPTIONS);
    const { device, dtype = "f32", trainable = true, seed = 0, quantization } = options;
    return new Weights({ device, dtype, trainable, used: new Set(), made: [], seed, drawn: 0, quantization }, "");
  }
  static from(checkpoint: WeightSource, options: CheckpointOptions): Weights {
    checkOptions("Weights.from", options, CHECKPOINT_OPTIONS);
    const { device, dtype = "f32", trainable = false, quantization, int8Threshold } = options;
    const state = { used: new Set<string>(), made: [], seed: 0, drawn: 0 };
    return new Weights({ device, dtype, trainable, checkpoint, ...state, quantization, int8Threshold }, "");
  }

  /** No numbers: what is built of it has names and shapes, holds no memory, and cannot run. For counting what a configuration would make. */
  static outline(options: OutlineOptions): Weights {
    checkOptions("Weights.outline", options, OUTLINE_OPTIONS);
    const { device, dtype = "f32", trainable = true } = options;
    return new Weights({ device, dtype, trainable, outline: true, used: new Set(), made: [], seed: 0, drawn: 0 }, "");
  }

  get device(): Device {
    return this.source.device;
  }
  get dtype(): "f32" | "bf16" {
    return this.source.dtype;
  }
  get checkpoint(): WeightSource | undefined {
    return this.source.checkpoint;
  }
  get quantization(): Quantization | undefined {
    return this.source.quantization;
  }

  get int8Threshold(): number | undefined {
    return this.source.quantization?.threshold ?? this.source.int8Threshold;
  }

  at(part: string | number): Weights {
    return new Weights(this.source, join(this.prefix, String(part)));
  }
  /** The full name of `name` here, marked as taken. */
  take(name: string): string {
    const full = join(this.prefix, name);
    this.source.used.add(full);
    return full;
  }
  has(name: string): boolean {
    return this.checkpoint?.has(join(this.prefix, name)) ?? false;
  }

  /** Makes the parameters below this point ready, where that is work on this thread. */
  *prepare(): Pieces<void> {
    const { checkpoint, device, dtype, trainable } = this.source;
    if (checkpoint?.prepare) yield* checkpoint.prepare(`${this.prefix}.`, device, trainable ? "f32" : dtype);
  }

  /** One parameter: read from the checkpoint, or drawn. Trainable ones are f32 masters, frozen ones are in the compute dtype. */
  parameter(name: string, shape: readonly number[], init: Init): Tensor {
    const { checkpoint, device, trainable } = this.source;
    const dtype = trainable ? "f32" : this.source.dtype;
    const tensor = this.#given(() => (checkpoint ? this.#read(checkpoint, name, shape, dtype) : this.#draw(shape, init, device, dtype)));
    tensor.requiresGrad = trainable;
    return tensor;
  }

  /** What is about to be quantised. Stored in bf16 it stays so: f32 would be the same numbers in twice the memory. */
  dense(name: string, shape: readonly number[], init: Init): Tensor {
    const { checkpoint } = this.source;
    const narrow = checkpoint && this.has(name) && checkpoint.entry(join(this.prefix, name)).dtype === "BF16";
    const tensor = narrow ? this.#given(() => this.#read(checkpoint, name, shape, "bf16")) : this.parameter(name, shape, init);
    tensor.requiresGrad = false;
    return tensor;
  }

  /** Part of the state that never trains, such as running statistics: f32 whatever the compute dtype. */
  buffer(name: string, shape: readonly number[], init: Init): Tensor {
    const { checkpoint, device } = this.source;
    return this.#given(() => (checkpoint ? this.#read(checkpoint, name, shape, "f32") : this.#draw(shape, init, device, "f32")));
  }

  /** When one cannot be made, all that were made before for the same model go too. */
  #given(make: () => Tensor): Tensor {
    const { made } = this.source;
    try {
      const tensor = keep(make());
      made.push(tensor);
      return tensor;
    } catch (error) {
      for (const one of made.splice(0)) if (!one.disposed) one.dispose();
      throw error;
    }
  }

  /** What a layer made of a weight, in its place: it goes with the others. */
  owns<T extends { dispose(): void; readonly disposed: boolean }>(made: T): T {
    this.source.made.push(made);
    return made;
  }

  #read(checkpoint: WeightSource, name: string, shape: readonly number[], dtype: DType): Tensor {
    const full = this.take(name);
    const stored = checkpoint.entry(full);
    if (String(stored.shape) !== String(shape))
      throw new StateError(`"${full}" of shape [${shape}]`, `[${stored.shape}] in ${checkpoint.path}`);
    return checkpoint.load(full, this.device, { dtype });
  }

  #draw(shape: readonly number[], init: Init, device: Device, dtype: DType): Tensor {
    if (this.source.outline) return Tensor.outline(shape, { device, dtype });
    if ("fill" in init) return Tensor.full(shape, init.fill, { device, dtype });
    const { seed, drawn } = this.source;
    const tensor = built(() => {
      const drawing = Tensor.empty(shape, { device, dtype });
      if ("normal" in init) randomNormal(drawing, 0, init.normal, seed, drawn);
      else randomUniform(drawing, -init.uniform, init.uniform, seed, drawn);
      return drawing;
    });
    this.source.drawn += tensor.size;
    return tensor;
  }

  /** Throws when the checkpoint holds weights below this point that nothing asked for. */
  finish(ignore: (name: string) => boolean = () => false): void {
    if (!this.checkpoint) return;
    const here = (name: string) => !this.prefix || name.startsWith(`${this.prefix}.`);
    const left = [...this.checkpoint.names()].filter((name) => here(name) && !this.source.used.has(name) && !ignore(name));
    if (left.length) throw new StateError(`every weight of ${this.checkpoint.path} to have a place`, describe([], left));
  }
}
