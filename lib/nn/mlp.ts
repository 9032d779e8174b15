import type { Tensor } from "../core/tensor.js";
import { type ActivationKind, activation, gatedActivation, sliceCopy } from "../ops/index.js";
import { type LinearLayer, storedLinear } from "./linear.js";
import { Module } from "./module.js";
import { together } from "./together.js";
import type { MlpNames } from "./vit-names.js";
import type { Init, Weights } from "./weights.js";

/** LLaMA's feed-forward: down(act(gate(x)) · up(x)). */
export class GatedMlp extends Module {
  gateProj: LinearLayer;
  upProj: LinearLayer;
  downProj: LinearLayer;

  constructor(
    at: Weights,
    width: number,
    hidden: number,
    readonly kind: ActivationKind = "silu",
    bias = false,
  ) {
    super();
    this.gateProj = storedLinear(at.at("gate_proj"), width, hidden, { bias });
    this.upProj = storedLinear(at.at("up_proj"), width, hidden, { bias });
    this.downProj = storedLinear(at.at("down_proj"), hidden, width, { bias });
  }

  forward(x: Tensor): Tensor {
    const [gate, up] = together([this.gateProj, this.upProj], x);
    return this.downProj.forward(gatedActivation(gate, up, this.kind));
  }
}

export interface MlpOptions {
  bias?: boolean;
  /** silu(gate) · up in place of the activation: gate's rows, then up's, are in fc1, which is (2·hidden,C). */
  gated?: boolean;
  names?: MlpNames;
  /** Of fresh weights: of fc1 and of fc2. Default: torch.nn.Linear's. */
  init?: readonly [Init, Init];
}

/** Two linear layers around an activation, as vision encoders have them. */
export class Mlp extends Module {
  fc1: LinearLayer;
  fc2: LinearLayer;
  readonly #names: MlpNames | undefined;
  readonly #gated: boolean;

  constructor(
    at: Weights,
    width: number,
    readonly hidden: number,
    readonly kind: ActivationKind,
    { bias = true, gated = false, names, init }: MlpOptions = {},
  ) {
    super();
    this.#names = names;
    this.#gated = gated;
    const dense = (field: "fc1" | "fc2", from: number, to: number, start: Init | undefined) =>
      storedLinear(at.at(this.stateName(field)), from, to, { bias, ...(start && { init: start }) });
    this.fc1 = dense("fc1", width, gated ? 2 * hidden : hidden, init?.[0]);
    this.fc2 = dense("fc2", hidden, width, init?.[1]);
  }

  protected override stateName(field: string): string {
    return (field === "fc1" || field === "fc2") && this.#names ? this.#names[field] : super.stateName(field);
  }

  forward(x: Tensor): Tensor {
    return this.fc2.forward(this.#activate(this.fc1.forward(x)));
  }

  #activate(x: Tensor): Tensor {
    if (!this.#gated) return activation(x, this.kind);
    return gatedActivation(sliceCopy(x, -1, 0, this.hidden), sliceCopy(x, -1, this.hidden, this.hidden), "silu");
  }
}
