// An adapter from a folder, whatever its kind: adapter_config.json says which.
import { nearest, shown } from "../core/checks.js";
import { expected } from "../core/errors.js";
import type { Module } from "../nn/module.js";
import type { Adapter } from "./adapter.js";
import { type AdapterLoading, CONFIG, configOf, loaded } from "./adapter-files.js";
import type { AdapterKind, Json } from "./kind.js";
import { LORA } from "./lora.js";
import { TRAINED_TOKENS } from "./trained-tokens.js";

/** By the peft_type of adapter_config.json; those that PEFT has not, by its "kind". */
export const ADAPTER_KINDS = {
  LORA,
  TRAINABLE_TOKENS: TRAINED_TOKENS,
} as const;

/** The kind that an adapter_config.json is of. Throws E_ADAPTER on one that nobody knows. */
export function adapterKindOf(json: Json, where: string): AdapterKind {
  const said = json.peft_type ?? json.kind;
  const known = Object.keys(ADAPTER_KINDS);
  if (typeof said === "string" && Object.hasOwn(ADAPTER_KINDS, said))
    return ADAPTER_KINDS[said as keyof typeof ADAPTER_KINDS] as unknown as AdapterKind;
  const near = typeof said === "string" ? nearest(said, known) : undefined;
  throw expected(
    "E_ADAPTER",
    where,
    `a peft_type of ${known.join(", ")}`,
    said === undefined ? "none" : shown(said),
    near && `did you mean "${near}"?`,
  );
}

/** From a folder that PEFT or save() wrote. Rejects with E_ADAPTER, or the kind's own code, where the folder holds none that fits the model. */
export async function loadAdapter(model: Module, folder: string, loading: AdapterLoading = {}): Promise<Adapter> {
  const json = await configOf(folder, CONFIG);
  return loaded(adapterKindOf(json, folder), "loadAdapter", model, folder, loading);
}
