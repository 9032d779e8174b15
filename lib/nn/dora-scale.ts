// What DoRA (arXiv 2402.09353) multiplies by: m / ‖W + ΔW‖, a number for each direction that has a length of its own. The divisor is what the lengths are now,
// and gets no gradient (section 4.3).
import { noGrad } from "../core/autograd.js";
import { built, keep, scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { activation, add, batchNormInference, cast, linear, mul, scaleAdd } from "../ops/index.js";
import type { LoraLinearOptions } from "./lora.js";
import { matching } from "./module.js";
import { type Weights, zeros } from "./weights.js";

/** As PEFT's files call the lengths. */
export const MAGNITUDE = "lora_magnitude_vector";
/** What keeps a row of zeros from being divided by nothing; less than any other row's square. */
const TINY = 1e-30;

/** What is measured, asked anew each time: layers and masters are exchanged. O: how many lengths there are. */
export interface Measured {
  /** (O) */
  magnitude(): Tensor;
  /** Those of the branch; while one of them trains, nothing is kept. */
  branch(): readonly Tensor[];
  /** Whose squares they are: another object has others. */
  weight(): { of: object; trains: boolean };
  /** ‖w‖², (O) f32. */
  squares(): Tensor;
  /** What the branch adds to them, (O) f32: ‖w + Δw‖² - ‖w‖². */
  more(): Tensor;
  /** (O): what is not multiplied. */
  bias?(): Tensor | undefined;
}

interface Scale {
  /** (O). In bf16 what it has beyond 1, most of which would be lost beside it. */
  factor: Tensor;
  /** What keeps the bias as it is, (O). */
  shift: Tensor | undefined;
}

export class DoraScale {
  /** ‖w‖², (O) f32, and of which weight. */
  #squares: { of: object; tensor: Tensor } | undefined;
  /** Made once while nothing of it trains. */
  #fixed: (Scale & { of: object; dtype: string }) | undefined;

  constructor(private readonly measured: Measured) {}

  /** y (…,O) times the scale, but for the bias in it. */
  scaled(y: Tensor): Tensor {
    const { factor, shift } = this.#scale(y.dtype as "f32" | "bf16");
    const scaled = y.dtype === "f32" ? mul(y, factor) : add(y, mul(y, factor));
    return shift ? add(scaled, shift) : scaled;
  }

  #scale(dtype: "f32" | "bf16"): Scale {
    const { measured } = this;
    if ([...measured.branch(), measured.magnitude(), measured.bias?.()].some((tensor) => tensor?.requiresGrad)) {
      this.settle();
      return this.#made(dtype);
    }
    const { of } = measured.weight();
    if (this.#fixed?.of === of && this.#fixed.dtype === dtype) return this.#fixed;
    this.settle();
    this.#fixed = built(() =>
      noGrad(() =>
        scope(() => {
          const { factor, shift } = this.#made(dtype);
          return { of, dtype, factor: keep(factor), shift: shift && keep(shift) };
        }),
      ),
    );
    return this.#fixed;
  }

  /** Its numbers are others than before: the next forward looks at them anew. */
  settle(): void {
    this.#fixed?.factor.dispose();
    this.#fixed?.shift?.dispose();
    this.#fixed = undefined;
  }

  #made(dtype: "f32" | "bf16"): Scale {
    const bias = this.measured.bias?.();
    const squares = noGrad(() => scope(() => this.#now()));
    const beyond = bias || dtype !== "f32" ? this.#over(squares, 1) : undefined;
    const factor = dtype === "f32" ? this.#over(squares, 0) : cast(beyond as Tensor, dtype);
    const shift = bias && mul(scaleAdd(beyond as Tensor, undefined, -1, 0), matching(bias, squares));
    return { factor, shift: shift && (dtype === "f32" ? shift : cast(shift, dtype)) };
  }

  /** m / √squares - less, (O) f32: exactly 1 - less where m is the root of the squares. */
  #over(squares: Tensor, less: number): Tensor {
    return overRoot(matching(this.measured.magnitude(), squares), squares, less);
  }

  /** ‖w + Δw‖², (O) f32. */
  #now(): Tensor {
    return activation(add(this.#squaresOf(), this.measured.more()), "relu"); // rounding may leave less than nothing
  }

  #squaresOf(): Tensor {
    const { of, trains } = this.measured.weight();
    if (this.#squares?.of === of && !trains) return this.#squares.tensor;
    this.#squares?.tensor.dispose();
    this.#squares = undefined;
    return this.#measure().squares;
  }
  /** The squares are those of lengths in f32, whose roots are these again: so the scale of what is fresh is exactly 1. */
  #measure(): { lengths: Tensor; squares: Tensor } {
    const lengths = noGrad(() => scope(() => rooted(this.measured.squares())));
    const squares = keep(noGrad(() => mul(lengths, lengths)));
    this.#squares = { of: this.measured.weight().of, tensor: squares };
    return { lengths, squares };
  }
  /** (O) f32: what the lengths are without a branch, for who begins with them. */
  lengths(): Tensor {
    return keep(this.#measure().lengths);
  }

  /** (O) f32: what a weight is multiplied by that holds the branch. Inside of noGrad() and a scope. */
  factor(): Tensor {
    return this.#over(this.#now(), 0);
  }

  dispose(): void {
    this.settle();
    this.#squares?.tensor.dispose();
    this.#squares = undefined;
  }
}

const rooted = (x: Tensor): Tensor => overRoot(x, x, 0);

/** x / √squares - less, each (O). */
function overRoot(x: Tensor, squares: Tensor, less: number): Tensor {
  const all = (value: number, shape: readonly number[] = x.shape) => Tensor.full(shape, value, { device: x.device });
  return batchNormInference(all(1, [1, x.size]), all(0), squares, x, all(-less), TINY).reshape(x.shape);
}

/** The O lengths of a file, or those that are there, which train as `like` does. Old files have the adapter's name in it, with or without what they called its only tensor. */
export function magnitudeOf(
  at: Weights,
  { adapterName }: Pick<LoraLinearOptions, "adapterName">,
  O: number,
  like: Tensor,
  scale: DoraScale,
): Tensor {
  if (at.checkpoint) {
    const [plain, named] = [MAGNITUDE, `${MAGNITUDE}.${adapterName}`];
    const names = adapterName === undefined ? [plain, `${plain}.weight`] : [`${named}.weight`, named, plain];
    return at.parameter(names.find((name) => at.has(name)) ?? plain, [O], zeros);
  }
  const magnitude = at.owns(scale.lengths());
  magnitude.requiresGrad = like.requiresGrad;
  return magnitude;
}

/** What s·b·A adds to the squares of w, (O) f32, of each 2s·b·(A w) + s²·b·(A Aᵀ) b: a (r,I), b (O,r), and `products` A w, (O,r). */
export function branchSquares(a: Tensor, b: Tensor, products: Tensor, scaling: number): Tensor {
  const inside = scaleAdd(linear(b, linear(a, a)), products, scaling * scaling, 2 * scaling);
  return linear(mul(b, inside), Tensor.full([1, a.shape[0] as number], 1, { device: a.device })).reshape([-1]);
}
