// The activation functions by name, and their numbers in the native half.
import { expected } from "../core/errors.js";

/** In the order of `enum Activation` (native/backend.h). "gelu" is the erf form; "quick_gelu" is x·sigmoid(1.702x) of OpenAI's CLIP. */
const KINDS = ["relu", "squared_relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "tanh", "sigmoid", "identity"] as const;
export type ActivationKind = (typeof KINDS)[number];

/** Throws E_VALUE in the name of `op` on a kind that is not there. */
export function activationCode(op: string, kind: ActivationKind): number {
  const at = KINDS.indexOf(kind);
  if (at < 0) throw expected("E_VALUE", op, `one of ${KINDS.join(", ")}`, kind);
  return at;
}
