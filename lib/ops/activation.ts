// Activations, gated ones (SwiGLU, GeGLU), and Flamingo's tanh gate.
import { record, save } from "../core/autograd.js";
import { native } from "../core/native.js";
import type { Tensor } from "../core/tensor.js";
import { type ActivationKind, activationCode } from "./activation-kinds.js";
import { made, only } from "./result.js";

export type { ActivationKind } from "./activation-kinds.js";

const code = (kind: ActivationKind) => activationCode("activation", kind);

/** Elementwise, x of any shape, f32 or bf16. Throws E_VALUE on a kind that is not there. */
export function activation(x: Tensor, kind: ActivationKind): Tensor {
  const k = code(kind);
  return record(made(native().activation(x.handle, k), x), [x], () => {
    const sx = save(x);
    return (g) => [made(native().activation_backward(only(g).handle, sx.handle, k), only(g))];
  });
}

/** act(gate) · up, elementwise; "silu" makes SwiGLU (arXiv 2002.05202), "gelu" GeGLU. */
export function gatedActivation(gate: Tensor, up: Tensor, kind: ActivationKind): Tensor {
  const k = code(kind);
  return record(made(native().gated_activation(gate.handle, up.handle, k), gate), [gate, up], () => {
    const [sg, su] = [save(gate), save(up)];
    return (g) =>
      native()
        .gated_activation_backward(only(g).handle, sg.handle, su.handle, k)
        .map((h) => made(h, only(g)));
  });
}

/** residual + tanh(g) · x (Flamingo, arXiv 2204.14198, 2.2). g is (1), or (G) for x (...,G,W). */
export function tanhGate(x: Tensor, residual: Tensor | undefined, g: Tensor): Tensor {
  return record(made(native().tanh_gate(x.handle, residual?.handle, g.handle), x), [x, residual, g], () => {
    const [sx, sg] = [save(x), save(g)];
    return (grads, into) => {
      const dy = only(grads);
      return [made(native().tanh_gate_backward(into(2)?.handle, dy.handle, sx.handle, sg.handle), dy), dy];
    };
  });
}
