import type { Tensor } from "../core/tensor.js";
import { type ActivationKind, activation, gatedActivation } from "../ops/index.js";
import { type LinearLayer, storedLinear } from "./linear.js";
import { Module } from "./module.js";
import type { Weights } from "./weights.js";

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
    return this.downProj.forward(gatedActivation(this.gateProj.forward(x), this.upProj.forward(x), this.kind));
  }
}

/** Two linear layers around an activation, as vision encoders have them. */
export class Mlp extends Module {
  fc1: LinearLayer;
  fc2: LinearLayer;

  constructor(
    at: Weights,
    width: number,
    hidden: number,
    readonly kind: ActivationKind,
    bias = true,
  ) {
    super();
    this.fc1 = storedLinear(at.at("fc1"), width, hidden, { bias });
    this.fc2 = storedLinear(at.at("fc2"), hidden, width, { bias });
  }

  forward(x: Tensor): Tensor {
    return this.fc2.forward(activation(this.fc1.forward(x), this.kind));
  }
}
