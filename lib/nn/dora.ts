// DoRA (arXiv 2402.09353): LoRA whose rows have lengths of their own, y = m / ‖W + s·B·A‖ ⊙ (W + s·B·A) x + bias. The divisor is what the rows are now, and gets
// no gradient (section 4.3). It needs no dense W + s·B·A: of a row w with b of B, its square is ‖w‖² + 2s·b·(A w) + s²·b·(A Aᵀ) b.
import { noGrad } from "../core/autograd.js";
import { built, keep, scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { activation, add, batchNormInference, cast, linear, mul, scaleAdd, transposeCopy } from "../ops/index.js";
import { rowProducts, rowSquares } from "./dense-rows.js";
import type { Dense } from "./fold.js";
import { innermost } from "./layer.js";
import type { Linear, LinearLayer } from "./linear.js";
import { LoraLinear, type LoraLinearOptions } from "./lora.js";
import { matching } from "./module.js";
import { QuantizedLinear } from "./quantized-linear.js";
import { type Weights, zeros } from "./weights.js";

const NAME = "lora_magnitude_vector";
/** What keeps a row of zeros from being divided by nothing; less than any other row's square. */
const TINY = 1e-30;

interface Scale {
  /** (O). In bf16 what it has beyond 1, most of which would be lost beside it. */
  factor: Tensor;
  /** What keeps the bias as it is, (O). */
  shift: Tensor | undefined;
}

export class DoraLinear extends LoraLinear {
  override readonly commutes: boolean = false;
  /** Its divisor is of the layer's own weight, so nothing below may become part of that. */
  readonly measuresBase = true;
  magnitude: Tensor; // (O)
  /** ‖w‖² of each row, (O) f32, and of which weight. */
  #squares: { of: object; tensor: Tensor } | undefined;
  /** Made once while nothing of it trains. */
  #fixed: (Scale & { of: object; dtype: string }) | undefined;

  constructor(at: Weights, base: LinearLayer, options: LoraLinearOptions) {
    super(at, base, options);
    this.magnitude = at.checkpoint ? at.parameter(storedName(at, options), [base.outFeatures], zeros) : this.#lengths(at);
  }

  protected override ownName(field: string): string {
    return field === "magnitude" ? NAME : super.ownName(field);
  }
  get #layer(): Linear | QuantizedLinear {
    return innermost(this.base) as Linear | QuantizedLinear;
  }

  override forward(x: Tensor): Tensor {
    const y = super.forward(x);
    if (!this.enabled) return y;
    const { factor, shift } = this.#scale(y.dtype as "f32" | "bf16");
    const scaled = y.dtype === "f32" ? mul(y, factor) : add(y, mul(y, factor));
    return shift ? add(scaled, shift) : scaled;
  }

  #scale(dtype: "f32" | "bf16"): Scale {
    const { loraA, loraB, magnitude } = this;
    const { bias } = this.#layer;
    if ([loraA, loraB, magnitude, bias].some((tensor) => tensor?.requiresGrad)) {
      this.settle();
      return this.#made(dtype);
    }
    const of = weightOf(this.#layer);
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
    const { bias } = this.#layer;
    const squares = noGrad(() => scope(() => this.#now()));
    const beyond = bias || dtype !== "f32" ? this.#over(squares, 1) : undefined;
    const factor = dtype === "f32" ? this.#over(squares, 0) : cast(beyond as Tensor, dtype);
    const shift = bias && mul(scaleAdd(beyond as Tensor, undefined, -1, 0), matching(bias, squares));
    return { factor, shift: shift && (dtype === "f32" ? shift : cast(shift, dtype)) };
  }

  /** m / √squares - less, (O) f32: exactly 1 - less where m is the root of the squares. */
  #over(squares: Tensor, less: number): Tensor {
    return overRoot(matching(this.magnitude, squares), squares, less);
  }

  /** ‖w + s·Aᵀb‖² of each row, (O) f32. */
  #now(): Tensor {
    const layer = this.#layer;
    const [a, b] = [this.loraA, this.loraB].map((tensor) => (tensor.dtype === "f32" ? tensor : cast(tensor, "f32"))) as [Tensor, Tensor];
    const { scaling } = this;
    const inside = scaleAdd(linear(b, linear(a, a)), rowProducts(layer, a), scaling * scaling, 2 * scaling); // (O,r)
    const more = linear(mul(b, inside), Tensor.full([1, a.shape[0] as number], 1, { device: a.device })).reshape([-1]);
    return activation(add(this.#squaresOf(layer), more), "relu"); // rounding may leave less than nothing
  }

  #squaresOf(layer: Linear | QuantizedLinear): Tensor {
    const of = weightOf(layer);
    const trains = !(layer instanceof QuantizedLinear) && layer.weight.requiresGrad;
    if (this.#squares?.of === of && !trains) return this.#squares.tensor;
    this.#squares?.tensor.dispose();
    this.#squares = undefined;
    return this.#measure(layer).squares;
  }
  /** The squares are those of lengths in f32, whose roots are these again: so the scale of what is fresh is exactly 1. */
  #measure(layer: Linear | QuantizedLinear): { lengths: Tensor; squares: Tensor } {
    const lengths = noGrad(() => scope(() => rooted(rowSquares(layer))));
    const squares = keep(noGrad(() => mul(lengths, lengths)));
    this.#squares = { of: weightOf(layer), tensor: squares };
    return { lengths, squares };
  }
  #lengths(at: Weights): Tensor {
    const magnitude = at.owns(keep(this.#measure(this.#layer).lengths));
    magnitude.requiresGrad = this.loraA.requiresGrad;
    return magnitude;
  }

  override fold(inside: Dense): Dense {
    const { weight, bias } = super.fold(inside);
    const rows = mul(transposeCopy(weight, 0, 1), matching(this.#over(this.#now(), 0), weight));
    return { weight: transposeCopy(rows, 0, 1), bias };
  }

  override release(): void {
    super.release();
    this.#free();
  }
  override dispose(): void {
    super.dispose();
    this.#free();
  }
  #free(): void {
    this.settle();
    this.#squares?.tensor.dispose();
    this.#squares = undefined;
  }
}

const weightOf = (layer: Linear | QuantizedLinear): object => layer.weight;
const rooted = (x: Tensor): Tensor => overRoot(x, x, 0);

/** x / √squares - less, each (O). */
function overRoot(x: Tensor, squares: Tensor, less: number): Tensor {
  const all = (value: number, shape: readonly number[] = x.shape) => Tensor.full(shape, value, { device: x.device });
  return batchNormInference(all(1, [1, x.size]), all(0), squares, x, all(-less), TINY).reshape(x.shape);
}

/** Old files have the adapter's name in it, with or without what they called its only tensor. */
function storedName(at: Weights, { adapterName }: LoraLinearOptions): string {
  const names = adapterName === undefined ? [NAME, `${NAME}.weight`] : [`${NAME}.${adapterName}.weight`, `${NAME}.${adapterName}`, NAME];
  return names.find((name) => at.has(name)) ?? NAME;
}
