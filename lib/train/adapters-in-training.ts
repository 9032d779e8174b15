// Adapters on encoders that train with a stage. An encoder with one of them is part of the graph: it runs within the step, and the gradient of the
// language model's loss goes through the projection into it.
import type { AnyMAL } from "../anymal/anymal.js";
import { shown } from "../core/checks.js";
import { expected } from "../core/errors.js";
import type { Tensor } from "../core/tensor.js";
import { recomputeIn } from "../models/encoder.js";
import type { Module } from "../nn/module.js";

export interface OpenAdapters {
  /** f32 masters, by names that last. */
  parameters: readonly (readonly [string, Tensor])[];
  /** Where dropout is. */
  modules: readonly Module[];
}

/** Opens those of `names`, and freezes whatever else is open in an encoder. `undo` gets what puts each switch back. */
export function openOnEncoders(model: AnyMAL, names: readonly string[], recompute: boolean, undo: (() => void)[]): OpenAdapters {
  const attached = model.parts.adapters.filter(({ on, adapter }) => on !== "llm" && adapter.state === "on");
  const unknown = names.find((name) => !attached.some((one) => one.name === name));
  if (unknown !== undefined)
    throw expected(
      "E_ARGUMENT",
      "adapters",
      `names of adapters that stand on encoders${attached.length ? `: ${attached.map(({ name }) => name).join(", ")}` : ", of which there are none"}`,
      shown(unknown),
      'put one on first: model.addAdapter({ r: 8 }, { on: "image" })',
    );
  const chosen = attached.filter(({ name }) => names.includes(name));
  for (const { adapter } of chosen) undo.push(() => adapter.train(false)); // whatever it was before: it has been trained
  const encoders = new Set(Array.from(model.encoders.values(), ({ encoder }) => encoder));
  for (const encoder of encoders) {
    const open = encoder.trainable();
    undo.push(() => setGrad(open, true));
    setGrad(open, false);
  }
  for (const { adapter } of chosen) adapter.train(true);
  for (const encoder of encoders) if (encoder.trainable().length) undo.push(recomputeIn(encoder, recompute));
  const modules = chosen.flatMap(({ adapter }) => [...adapter.wraps.values(), ...(adapter.shared ? [adapter.shared] : [])].flatMap(own));
  for (const module of modules) module.training = false; // on for a step's work alone
  return { parameters: chosen.flatMap(({ name, adapter }) => prefixed(`adapters.${name}`, adapter.namedParameters())), modules };
}

const own = (part: Module): Module[] =>
  "ownModules" in part ? [part, ...(part as Module & { ownModules(): Module[] }).ownModules()] : part.modules();

function prefixed(prefix: string, parameters: Iterable<readonly [string, Tensor]>): (readonly [string, Tensor])[] {
  return Array.from(parameters, ([name, tensor]) => [`${prefix}.${name}`, tensor] as const);
}

function setGrad(tensors: readonly Tensor[], on: boolean): void {
  for (const tensor of tensors) if (!tensor.disposed) tensor.requiresGrad = on;
}
