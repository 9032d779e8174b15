// LoRA over a built model: which layers get a branch, and its PEFT files.

import { DoraLinear } from "../nn/dora.js";
import { Embedding } from "../nn/embedding.js";
import { innermost, places } from "../nn/layer.js";
import { Linear, type LinearLayer } from "../nn/linear.js";
import { LoraLinear } from "../nn/lora.js";
import type { Module } from "../nn/module.js";
import { QuantizedLinear } from "../nn/quantized-linear.js";
import type { Weights } from "../nn/weights.js";
import { Adapter } from "./adapter.js";
import { type AdapterDrawing, type AdapterLoading, CONFIG, fresh, loaded } from "./adapter-files.js";
import { isTied } from "./exchange.js";
import type { AdapterKind, AdapterPlan } from "./kind.js";
import {
  isTarget,
  LORA_SCHEMA,
  type LoraConfig,
  LoraConfigError,
  loraConfig,
  parseLoraConfig,
  rankOf,
  writeLoraConfig,
} from "./lora-config.js";
import { checkNames, tellUnmatched } from "./lora-names.js";
import { heldBeside, overlaysOf, ROOT } from "./overlays.js";

/** LoRA (arXiv 2106.09685) in PEFT's files: apply() puts fresh branches on a model, load() trained ones. */
export class LoraAdapter extends Adapter<LoraConfig> {
  /** Fresh branches that change nothing yet. What they do not train should be frozen by the caller. */
  static override apply(model: Module, options: Partial<LoraConfig>, drawing: AdapterDrawing = {}): LoraAdapter {
    return fresh(LORA, "LoraAdapter.apply", model, options, drawing) as LoraAdapter;
  }

  /** From a folder that PEFT or save() wrote. */
  static async load(model: Module, folder: string, loading: AdapterLoading = {}): Promise<LoraAdapter> {
    return (await loaded(LORA, "LoraAdapter.load", model, folder, loading)) as LoraAdapter;
  }

  /** Its branches by path; none once the adapter is merged or taken off. */
  get layers(): ReadonlyMap<string, LoraLinear> {
    return this.wraps as ReadonlyMap<string, LoraLinear>;
  }

  /** Would these names have put the branches on the layers that have them? */
  reachesAs(targetModules: LoraConfig["targetModules"]): boolean {
    const { config, layers } = this;
    if (JSON.stringify(targetModules) === JSON.stringify(config.targetModules)) return true;
    const asked = { ...config, targetModules };
    const named = [...places(this.model)].filter(([path, module]) => isTarget(asked, path, isBelowHead(path, innermost(module))));
    return named.length === layers.size && named.every(([path]) => layers.has(path));
  }
}

const fail = (expected: string, got: string) => new LoraConfigError(expected, got);

export const LORA: AdapterKind<LoraConfig> = {
  name: "lora",
  schema: LORA_SCHEMA,
  files: { weights: "adapter_model.safetensors", config: CONFIG },
  complete: loraConfig,
  plan,
  read: parseLoraConfig,
  write: writeLoraConfig,
  key: (path, name) => `${ROOT}.${path}.${name}`,
  fail,
  checkNames,
  beside: (model, config, at) => heldBeside(model, { ...config, fail }, at.at(ROOT)),
  attached: (model, config, paths) =>
    tellUnmatched(
      config,
      paths,
      Array.from(places(model), ([path]) => path),
    ),
  moved: ({ wraps }) => {
    for (const wrap of wraps.values()) if (wrap instanceof DoraLinear) wrap.settle();
  },
  make: (on) => new LoraAdapter(on),
};

function plan(model: Module, config: LoraConfig, root: Weights, owner: string): AdapterPlan {
  const at = root.at(ROOT);
  const adapterName = [...(at.checkpoint?.names() ?? [])].some((name) => name.includes(".lora_A.default.")) ? "default" : undefined;
  const layers = new Map<string, LoraLinear>();
  const Branch = config.dora ? DoraLinear : LoraLinear;
  if (isTied(model) && isTarget(config, "lm_head", false)) throw onTable("lm_head");
  for (const [path, module] of places(model)) {
    const layer = innermost(module);
    if (!isTarget(config, path, isBelowHead(path, layer))) continue;
    if (path.endsWith("lm_head") || layer instanceof Embedding) throw onTable(path);
    if (!isLinear(layer)) throw new LoraConfigError("targetModules to name linear layers", `"${path}", a ${layer.constructor.name}`);
    const branch = { ...rankOf(config, path), dropout: config.dropout, adapterName, owner };
    layers.set(path, new Branch(at.at(path), module as LinearLayer, branch));
  }
  if (!layers.size)
    throw new LoraConfigError("targetModules to match a module", `${JSON.stringify(config.targetModules)}, which matches none`);
  const overlays = [...overlaysOf(model, { ...config, fail }, layers, at)];
  return { wraps: Array.from(layers, ([path, layer]) => [path, () => layer]), overlays };
}

const isLinear = (module: Module): boolean => module instanceof Linear || module instanceof QuantizedLinear;
const isBelowHead = (path: string, layer: Module): boolean => isLinear(layer) && !path.endsWith("lm_head");

/** LoRA on a table is another arithmetic: PEFT has lora_embedding_A and lora_embedding_B for it. */
const onTable = (path: string): LoraConfigError =>
  new LoraConfigError(
    "targetModules without the embedding and the head, on which LoRA is not supported",
    `"${path}"; train it whole: modulesToSave: ["${path.split(".").at(-1)}"]`,
  );
