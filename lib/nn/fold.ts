// Wraps of a linear layer that can become part of the weight they stand around.
import { noGrad } from "../core/autograd.js";
import { expected } from "../core/errors.js";
import { built, keep, scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { cast } from "../ops/index.js";
import { innermost, rebase, Wrap, wrapsOn } from "./layer.js";
import type { Linear, LinearLayer } from "./linear.js";
import type { Module } from "./module.js";
import { QuantizedLinear } from "./quantized-linear.js";
import { QuantizedWeight } from "./quantized-weight.js";

/** A layer in full: y = x · weightᵀ + bias. */
export interface Dense {
  weight: Tensor; // (O,I)
  bias: Tensor | undefined; // (O)
}

export interface Foldable extends Wrap<LinearLayer> {
  /** Has the same been computed if another of its kind was folded in before, or after? */
  readonly commutes: boolean;
  /** Why a quantised weight cannot take it in; undefined where one is quantised anew. */
  readonly denseOnly?: string | undefined;
  /** The layer that computes what it makes of `inside`. Inside of noGrad() and a scope. */
  fold(inside: Dense): Dense;
}

/** A wrap whose base holds already what the two compute: of whatever kind the base is. */
export interface Absorbed extends Wrap {
  /** From here on it is the base's own, which keeps it when the wrap goes. */
  absorb(): void;
}
const isAbsorbed = (wrap: Wrap): wrap is Absorbed => "absorb" in wrap;

export const isFoldable = (wrap: Wrap): wrap is Foldable => "fold" in wrap;

/** Does what it does end up in the weights of its base? */
export const addsUp = (wrap: Wrap): boolean => isFoldable(wrap) || isAbsorbed(wrap);

/** What a layer computes with all around it that takes part. Inside of noGrad() and a scope. Throws E_ADAPTER where a wrap is no part of any weight. */
export function dense(layer: LinearLayer): Dense {
  if (layer instanceof QuantizedLinear) return { weight: layer.weight.dequantize("f32"), bias: layer.bias };
  if (!(layer instanceof Wrap)) return { weight: (layer as Linear).weight, bias: (layer as Linear).bias };
  const below = dense(layer.base as LinearLayer);
  if (!layer.enabled || isAbsorbed(layer)) return below;
  if (isFoldable(layer)) return layer.fold(below);
  throw expected(
    "E_ADAPTER",
    "merge",
    "adapters that add up to a weight",
    `"${layer.owner}", a ${layer.constructor.name}`,
    "take it off first",
  );
}

/** Throws E_ADAPTER where `wrap` cannot be folded into the layer at `path`. What stands around it goes on as it did; what stands below must commute. */
export function checkFolds(wrap: Wrap, path: string): asserts wrap is Foldable | Absorbed {
  const fail = (wanted: string, got: string, next: string) => expected("E_ADAPTER", `merge at "${path}"`, wanted, got, next);
  if (isAbsorbed(wrap)) return;
  if (!isFoldable(wrap))
    throw fail("an adapter that adds up to a weight", `a ${wrap.constructor.name}`, "keep it beside the model: save() writes it");
  const below = wrapsOn(wrap).slice(1);
  const other = below.find((one) => !(wrap.commutes && isFoldable(one) && one.commutes));
  if (other)
    throw fail(
      "nothing below that it would come under",
      `"${other.owner}", a ${other.constructor.name}`,
      `merge or take off "${other.owner}" first`,
    );
  if (wrap.denseOnly && innermost(wrap) instanceof QuantizedLinear)
    throw fail("a dense weight", `a quantised one: ${wrap.denseOnly}`, "load the model without quantization, merge, and quantise it then");
}

/** Makes `wrap` part of the layer that it stands around, which computes the same without it then. */
export function foldIn(model: Module, path: string, wrap: Foldable | Absorbed): void {
  if (isAbsorbed(wrap)) {
    wrap.absorb();
    return;
  }
  const base = innermost(wrap) as Linear | QuantizedLinear;
  if (base instanceof QuantizedLinear) rebase(model, path, requantised(base, wrap));
  else changeDense(base, wrap); // an embedding too
}

function changeDense(base: Linear, wrap: Foldable): void {
  const old = { weight: base.weight, bias: base.bias };
  const like = (value: Tensor, before: Tensor) => (value.dtype === before.dtype ? value : cast(value, before.dtype));
  const make = () => {
    const { weight, bias } = wrap.fold(old);
    return {
      weight: keep(like(weight, old.weight)),
      bias: bias && bias !== old.bias ? keep(like(bias, old.bias ?? old.weight)) : old.bias,
    };
  };
  const fresh = built(() => noGrad(() => scope(make)));
  for (const name of ["weight", "bias"] as const) {
    const [before, after] = [old[name], fresh[name]];
    if (before === after) continue;
    if (after && before) after.requiresGrad = before.requiresGrad;
    Object.assign(base, { [name]: after });
    before?.dispose();
  }
}

function requantised(base: QuantizedLinear, wrap: Foldable): QuantizedLinear {
  const { weight, bias } = base;
  const { format, block, threshold, nestedAbsmax } = weight;
  const made = noGrad(() =>
    scope(() =>
      QuantizedWeight.quantize(wrap.fold(dense(base)).weight, { format, block, threshold, doubleQuant: nestedAbsmax !== undefined }),
    ),
  );
  weight.dispose();
  return new QuantizedLinear(made, bias);
}
