// LoRA over a built model: which layers get a branch, and its PEFT files.

import { DoraLinear } from "../nn/dora.js";
import { Embedding } from "../nn/embedding.js";
import { innermost, type MakeWrap, places, type Wrap } from "../nn/layer.js";
import { Linear, type LinearLayer } from "../nn/linear.js";
import { LoraLinear } from "../nn/lora.js";
import { LoraEmbedding } from "../nn/lora-embedding.js";
import type { Module } from "../nn/module.js";
import { QuantizedLinear } from "../nn/quantized-linear.js";
import { TokenRows } from "../nn/token-rows.js";
import type { Weights } from "../nn/weights.js";
import { Adapter, adaptersOn } from "./adapter.js";
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
import { checkNoTiedHead, checkTable, embeddingBranch, headOf, TOKENS, tokenWraps } from "./lora-tables.js";
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
    return new Map([...this.wraps].filter((one): one is [string, LoraLinear] => one[1] instanceof LoraLinear));
  }

  override merge(): void {
    for (const [path, wrap] of this.wraps)
      if (wrap instanceof LoraEmbedding && isTied(this.model))
        throw fail(
          "a head of its own where an embedding is merged, since a tied one would change too",
          `"${path}"; exportMerged() writes a model whose head is apart`,
        );
    super.merge();
  }

  /** Would these names have put the branches on the layers that have them? */
  reachesAs(targetModules: LoraConfig["targetModules"]): boolean {
    const { config, layers } = this;
    if (JSON.stringify(targetModules) === JSON.stringify(config.targetModules)) return true;
    const asked = { ...config, targetModules };
    const named = [...places(this.model)].filter(([path, module]) => isTarget(asked, path, isBelowHead(path, innermost(module))));
    const branches = layers.size + [...this.wraps.values()].filter((wrap) => wrap instanceof LoraEmbedding).length;
    return named.length === branches && named.every(([path]) => this.wraps.has(path));
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
  key: (path, name) => `${ROOT}.${path}.${name === "rows" ? TOKENS : name}`,
  fail,
  checkNames,
  beside: (model, config, at) => heldBeside(model, { ...config, fail }, at.at(ROOT)),
  attached: (model, config, paths) => {
    for (const { wraps } of adaptersOn(model).values()) settle(wraps.values());
    tellUnmatched(
      config,
      paths,
      Array.from(places(model), ([path]) => path),
    );
  },
  moved: ({ wraps }) => settle(wraps.values()),
  make: (on) => new LoraAdapter(on),
};

function settle(wraps: Iterable<Wrap>): void {
  for (const wrap of wraps) if (wrap instanceof DoraLinear || wrap instanceof LoraEmbedding || wrap instanceof TokenRows) wrap.settle();
}

function plan(model: Module, config: LoraConfig, root: Weights, owner: string): AdapterPlan {
  const at = root.at(ROOT);
  const named = /\.lora_(embedding_)?A\.default(\.|$)/;
  const adapterName = [...(at.checkpoint?.names() ?? [])].some((name) => named.test(name)) ? "default" : undefined;
  const layers = new Map<string, LoraLinear | LoraEmbedding>();
  const Branch = config.dora ? DoraLinear : LoraLinear;
  checkNoTiedHead(model, (path) => isTarget(config, path, false));
  const head = headOf(model);
  for (const [path, module] of places(model)) {
    const layer = innermost(module);
    if (!isTarget(config, path, isBelowHead(path, layer))) continue;
    if (layer instanceof Embedding || path.endsWith(head)) checkTable(model, config, path);
    const branch = { ...rankOf(config, path), dropout: config.dropout, adapterName, owner };
    if (layer instanceof Embedding) layers.set(path, embeddingBranch(at.at(path), module, branch, config.dora));
    else if (isLinear(layer)) layers.set(path, new Branch(at.at(path), module as LinearLayer, branch));
    else throw new LoraConfigError("targetModules to name linear layers", `"${path}", a ${layer.constructor.name}`);
  }
  if (!layers.size)
    throw new LoraConfigError("targetModules to match a module", `${JSON.stringify(config.targetModules)}, which matches none`);
  const rows = [...tokenWraps(model, config, at, owner, layers)];
  const overlays = [...overlaysOf(model, { ...config, fail }, layers, at)];
  return { wraps: [...Array.from(layers, ([path, layer]): [string, MakeWrap] => [path, () => layer]), ...rows], overlays };
}

const isLinear = (module: Module): boolean => module instanceof Linear || module instanceof QuantizedLinear;
const isBelowHead = (path: string, layer: Module): boolean => isLinear(layer) && !path.endsWith("lm_head");
