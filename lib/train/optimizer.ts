// AdamW over f32 masters, all parameters in one call with their norm and its clipping, without a word to the host.
import { AnymalError } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import { built, keep } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { type AdamWItem, adamwClipped, gradNorm } from "../ops/index.js";

export interface ParameterGroup {
  parameters: Iterable<readonly [string, Tensor]>;
  weightDecay?: number;
  /** Times the rate of the step. */
  lrScale?: number;
}

export interface AdamWOptions {
  betas?: readonly [number, number];
  eps?: number;
  weightDecay?: number;
  /** Clip the gradients of all groups together to this L2 norm. */
  maxGradNorm?: number | undefined;
  /** 8-bit moments in blocks of 256 (arXiv 2110.02861); tensors under 4096 elements keep f32, as in bitsandbytes. */
  moments?: "f32" | "8bit";
}

const OPTIONS = optionNames<AdamWOptions>({ betas: true, eps: true, weightDecay: true, maxGradNorm: true, moments: true });
const GROUP = optionNames<ParameterGroup>({ parameters: true, weightDecay: true, lrScale: true });

const MOMENT_BLOCK = 256;
const SMALL = 4096;

interface Moments {
  m: Tensor;
  v: Tensor;
  /** Block maxima of 8-bit moments. */
  mAbsmax: Tensor | undefined;
  vAbsmax: Tensor | undefined;
}
interface Group {
  parameters: ReadonlyMap<string, Tensor>;
  weightDecay: number;
  lrScale: number;
}

/**
 * AdamW (arXiv 1711.05101) as torch computes it: f32 masters, moments in f32 or 8 bits, groups with a rate and a decay of their own. Construct it
 * with the parameters that train, and call step() after each backward.
 */
export class AdamW {
  readonly #groups: Group[];
  readonly #moments = new Map<string, Moments>();
  readonly #options: Required<Pick<AdamWOptions, "betas" | "eps" | "moments">> & Pick<AdamWOptions, "maxGradNorm">;
  /** Of each parameter by itself, as in torch: one that had no gradient was not updated, and its moments are as young as before. */
  readonly #updates = new Map<string, number>();
  #steps = 0;

  constructor(groups: readonly ParameterGroup[], options: AdamWOptions = {}) {
    checkOptions("AdamW", options, OPTIONS, {
      others: { lr: "step(lr) takes the rate" },
    });
    const { betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01, maxGradNorm, moments = "f32" } = options;
    this.#options = { betas, eps, maxGradNorm, moments };
    for (const group of groups)
      checkOptions("AdamW: a group", group, GROUP, { others: { lr: 'did you mean "lrScale"?', params: 'did you mean "parameters"?' } });
    this.#groups = groups.map((group) => ({
      parameters: new Map(group.parameters),
      weightDecay: group.weightDecay ?? weightDecay,
      lrScale: group.lrScale ?? 1,
    }));
    built(() => this.#begin());
  }

  #begin(): void {
    for (const { parameters } of this.#groups) {
      for (const [name, p] of parameters) {
        if (!p.requiresGrad || p.dtype !== "f32")
          throw new AnymalError(
            "E_VALUE",
            `AdamW: expected "${name}" to be a trainable f32 master, got ${p.dtype}${p.requiresGrad ? "" : ", frozen"}; requiresGrad(true) makes one`,
          );
        if (this.#moments.has(name)) throw new AnymalError("E_VALUE", `AdamW: expected every name once, got "${name}" twice; rename one`);
        this.#moments.set(name, freshMoments(p, this.#options.moments === "8bit" && p.size >= SMALL));
      }
    }
  }

  get steps(): number {
    return this.#steps;
  }
  /** Updates of each parameter, those that had as many as there were steps left out. */
  get fewerUpdates(): Record<string, number> {
    return Object.fromEntries(
      [...this.#moments.keys()].map((name) => [name, this.#updatesOf(name)] as const).filter(([, n]) => n !== this.#steps),
    );
  }
  #updatesOf(name: string): number {
    return this.#updates.get(name) ?? 0;
  }

  get hasGradients(): boolean {
    return this.#groups.some(({ parameters }) => [...parameters.values()].some(({ grad }) => grad));
  }

  /**
   * One update from the gradients that are there; what has none is left as it is, and so is its count of updates. Returns the global norm before clipping,
   * (1) f32 on the device. Throws E_ARGUMENT where there are no gradients at all: no step was made then.
   */
  step(lr: number): Tensor {
    const { betas, eps, maxGradNorm } = this.#options;
    const present: AdamWItem[] = [];
    const updates = new Map<string, number>();
    for (const { parameters, weightDecay, lrScale } of this.#groups) {
      for (const [name, p] of parameters) {
        if (!p.grad) continue;
        const step = this.#updatesOf(name) + 1;
        present.push({ p, grad: p.grad, ...(this.#moments.get(name) as Moments), lr: lr * lrScale, weightDecay, step });
        updates.set(name, step);
      }
    }
    const norm = adamwClipped(present, { beta1: betas[0], beta2: betas[1], eps, maxNorm: maxGradNorm });
    for (const [name, step] of updates) this.#updates.set(name, step);
    ++this.#steps;
    return norm;
  }

  /**
   * After a step that failed: parameters and moments whose update was not run hold what they held before it, and may be read and trained again.
   * What a failed op had begun to write stays failed. Steps that were enqueued stay counted.
   */
  recover(): void {
    const parameters = this.#groups.flatMap((group) => [...group.parameters.values()]);
    for (const tensor of [...parameters, ...this.state().values()]) if (!tensor.disposed) tensor.heal(); // a model may have been disposed meanwhile
  }

  /** The L2 norm of all gradients together, (1) f32 on the device. */
  gradNorm(): Tensor {
    return gradNorm(this.#groups.flatMap(({ parameters }) => [...parameters.values()].flatMap(({ grad }) => grad ?? [])));
  }

  zeroGrad(): void {
    for (const { parameters } of this.#groups) {
      for (const p of parameters.values()) {
        p.grad?.dispose();
        p.grad = undefined;
      }
    }
  }

  /** The moments by name, for a checkpoint that resumes; `steps` and `fewerUpdates` go with them. */
  state(): Map<string, Tensor> {
    const state = new Map<string, Tensor>();
    for (const [name, { m, v, mAbsmax, vAbsmax }] of this.#moments) {
      state.set(`${name}.exp_avg`, m).set(`${name}.exp_avg_sq`, v);
      if (mAbsmax && vAbsmax) state.set(`${name}.exp_avg.absmax`, mAbsmax).set(`${name}.exp_avg_sq.absmax`, vAbsmax);
    }
    return state;
  }

  /** Takes over copies of saved moments. All must be there and of the same form. */
  loadState(state: ReadonlyMap<string, Tensor>, steps: number, fewer: Readonly<Record<string, number>> = {}): void {
    const own = this.state();
    for (const [name, old] of own) {
      const saved = state.get(name);
      if (!saved || saved.dtype !== old.dtype || String(saved.shape) !== String(old.shape)) {
        throw new AnymalError(
          "E_STATE",
          `AdamW: expected "${name}" as ${old.dtype} [${old.shape}], got ${saved ? `${saved.dtype} [${saved.shape}]` : "nothing"}; resume with the optimiser that was saved`,
        );
      }
    }
    const take = (name: string) => keep((state.get(name) as Tensor).detach());
    const fresh = built(() =>
      Array.from(this.#moments, ([name, old]): [string, Moments] => {
        const coded = old.mAbsmax !== undefined;
        return [
          name,
          {
            m: take(`${name}.exp_avg`),
            v: take(`${name}.exp_avg_sq`),
            mAbsmax: coded ? take(`${name}.exp_avg.absmax`) : undefined,
            vAbsmax: coded ? take(`${name}.exp_avg_sq.absmax`) : undefined,
          },
        ];
      }),
    );
    for (const [name, moments] of fresh) this.#moments.set(name, moments);
    for (const tensor of own.values()) tensor.dispose();
    this.#steps = steps;
    for (const name of this.#moments.keys()) this.#updates.set(name, fewer[name] ?? steps);
  }

  dispose(): void {
    for (const tensor of this.state().values()) tensor.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

function freshMoments(p: Tensor, coded: boolean): Moments {
  const { device, size } = p;
  if (!coded) {
    const zeros = () => keep(Tensor.zeros(p.shape, { device }));
    return { m: zeros(), v: zeros(), mAbsmax: undefined, vAbsmax: undefined };
  }
  // Codes of zero bytes with block maxima of 0 decode to 0.
  const codes = () => keep(Tensor.zeros(p.shape, { device, dtype: "u8" }));
  const maxima = () => keep(Tensor.zeros([Math.ceil(size / MOMENT_BLOCK)], { device }));
  return { m: codes(), v: codes(), mAbsmax: maxima(), vAbsmax: maxima() };
}

/** The usual two groups, as in transformers' Trainer: matrices decay, latents and tables of positions among them; biases and norm weights do not. */
export function decayMatricesOnly(parameters: Iterable<readonly [string, Tensor]>, weightDecay: number): ParameterGroup[] {
  const all = [...parameters];
  return [
    { parameters: all.filter(([, p]) => p.rank >= 2), weightDecay },
    { parameters: all.filter(([, p]) => p.rank < 2), weightDecay: 0 },
  ];
}
