// LoRA over a built model: which layers get a branch, their PEFT files, merging and taking it off again.
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { noGrad } from "../core/autograd.js";
import { onFile } from "../core/file-error.js";
import { parseJson } from "../core/json.js";
import { checkOptions } from "../core/options.js";
import { readPlain } from "../core/plain-file.js";
import { built, keep, scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { Checkpoint } from "../io/checkpoint.js";
import { saveSafetensors } from "../io/safetensors.js";
import { NO_PICKLES } from "../io/safetensors-header.js";
import { writeWhole } from "../io/whole-file.js";
import { LlamaForCausalLM } from "../models/llama.js";
import { Embedding } from "../nn/embedding.js";
import { dense } from "../nn/fold.js";
import { innermost, places, rebase, unwrap, wrapAll, wrapsOn } from "../nn/layer.js";
import { Linear, type LinearLayer } from "../nn/linear.js";
import { LoraLinear } from "../nn/lora.js";
import type { Module } from "../nn/module.js";
import { QuantizedLinear } from "../nn/quantized-linear.js";
import { QuantizedWeight } from "../nn/quantized-weight.js";
import { Weights } from "../nn/weights.js";
import { cast } from "../ops/index.js";
import { isTarget, type LoraConfig, LoraConfigError, loraConfig, parseLoraConfig, rankOf, writeLoraConfig } from "./lora-config.js";
import { checkNames, tellUnmatched } from "./lora-names.js";
import { heldBeside, isTied, lay, type Overlay, overlaysOf, ROOT, tablesOf } from "./overlays.js";

const WEIGHTS = "adapter_model.safetensors";
const CONFIG = "adapter_config.json";
/** Bytes of it. Patterns may name each layer of a model. */
const LARGEST = 16 * 2 ** 20;
const PICKLE = "adapter_model.bin";

export class LoraAdapter {
  private constructor(
    readonly model: Module,
    readonly config: LoraConfig,
    /** By path; none once the adapter is merged or taken off. */
    readonly layers: Map<string, LoraLinear>,
    private readonly overlays: Overlay[],
    private readonly wasTied: boolean,
  ) {}

  #state: "on" | "merged" | "off" = "on";
  /** Is it on the model, added into its weights, or taken off again? */
  get state(): "on" | "merged" | "off" {
    return this.#state;
  }

  /** Fresh branches that change nothing yet. What they do not train should be frozen by the caller. */
  static apply(model: Module, options: Partial<LoraConfig>, drawing: { seed?: number } = {}): LoraAdapter {
    checkOptions("LoraAdapter.apply", drawing, ["seed"]);
    const { seed = 0 } = drawing;
    const dtype = model.parameters().some((p) => p.dtype === "bf16") ? "bf16" : "f32";
    return LoraAdapter.#attach(model, loraConfig(options), Weights.fresh({ device: deviceOf(model), dtype, trainable: true, seed }));
  }

  /** From a folder that PEFT or save() wrote. */
  static async load(model: Module, folder: string, loading: { trainable?: boolean } = {}): Promise<LoraAdapter> {
    checkOptions("LoraAdapter.load", loading, ["trainable"], { others: { isTrainable: 'did you mean "trainable"?' } });
    const { trainable = false } = loading;
    const config = await readConfigOf(folder);
    using checkpoint = Checkpoint.openIn(folder, WEIGHTS);
    checkNames(checkpoint);
    const at = Weights.from(checkpoint, { device: deviceOf(model), dtype: "f32", trainable }).at(ROOT);
    const trained = tablesOf(model, config);
    const beside: Overlay[] = [];
    try {
      for await (const overlay of heldBeside(model, trained, at)) beside.push(overlay);
      return LoraAdapter.#attach(model, config, at, beside);
    } catch (error) {
      for (const { tensor } of beside) tensor.dispose();
      throw error;
    }
  }

  static #attach(model: Module, config: LoraConfig, at: Weights, beside: readonly Overlay[] = []): LoraAdapter {
    const modules = [...places(model)];
    const adapterName = [...(at.checkpoint?.names() ?? [])].some((name) => name.includes(".lora_A.default.")) ? "default" : undefined;
    const layers = new Map<string, LoraLinear>();
    const overlays: Overlay[] = [...beside];
    built(() => {
      if (isTied(model) && isTarget(config, "lm_head", false)) throw onTable("lm_head");
      for (const [path, module] of modules) {
        const layer = innermost(module);
        const linear = isLinear(layer);
        if (!isTarget(config, path, linear && !path.endsWith("lm_head"))) continue;
        if (path.endsWith("lm_head") || layer instanceof Embedding) throw onTable(path);
        if (!linear) throw new LoraConfigError(`targetModules to name linear layers`, `"${path}", a ${layer.constructor.name}`);
        const branch = { ...rankOf(config, path), dropout: config.dropout, adapterName, owner: freeOwner(module) };
        layers.set(path, new LoraLinear(at.at(path), module as LinearLayer, branch));
      }
      if (!layers.size)
        throw new LoraConfigError("targetModules to match a module", `${JSON.stringify(config.targetModules)}, which matches none`);
      for (const overlay of overlaysOf(model, config, layers, at)) overlays.push(overlay);
      at.finish();
    });
    // Nothing can fail any more: a model that an adapter does not fit stays as it was.
    const wasTied = isTied(model);
    lay(model, overlays);
    wrapAll(
      model,
      Array.from(layers, ([path, layer]) => [path, () => layer]),
    );
    tellUnmatched(
      config,
      [...layers.keys()],
      modules.map(([path]) => path),
    );
    return new LoraAdapter(model, config, layers, overlays, wasTied);
  }

  /** Would these names have put the branches on the layers that have them? */
  reachesAs(targetModules: LoraConfig["targetModules"]): boolean {
    const { config, layers } = this;
    if (JSON.stringify(targetModules) === JSON.stringify(config.targetModules)) return true;
    const asked = { ...config, targetModules };
    const named = [...places(this.model)].filter(([path, module]) =>
      isTarget(asked, path, isLinear(innermost(module)) && !path.endsWith("lm_head")),
    );
    return named.length === layers.size && named.every(([path]) => layers.has(path));
  }

  /** What the adapter trains, by its key in adapter_model.safetensors; a table that is tied has the first of its two. */
  *namedParameters(): Generator<[string, Tensor]> {
    for (const [path, { loraA, loraB }] of this.layers) {
      yield [`${ROOT}.${path}.lora_A.weight`, loraA];
      yield [`${ROOT}.${path}.lora_B.weight`, loraB];
    }
    for (const { keys, tensor, trains } of this.overlays) if (trains) yield [keys[0] as string, tensor];
  }

  *#stored(): Generator<[string, Tensor]> {
    yield* this.namedParameters();
    for (const { keys, tensor, trains } of this.overlays) for (const key of keys.slice(trains ? 1 : 0)) yield [key, tensor];
  }

  /** Throws E_LORA when the adapter was merged or taken off: there is nothing of it to train, to merge or to save. */
  checkAttached(): void {
    if (this.#state === "on") return;
    throw new LoraConfigError(
      "an adapter on its model",
      `one that was ${this.#state === "merged" ? "merged" : "taken off"}; save it before, or load it onto the model anew`,
    );
  }

  /** Rejects with E_LORA after merge() or unload(). */
  async save(folder: string): Promise<void> {
    this.checkAttached();
    await onFile("to be written", folder, () => mkdir(folder, { recursive: true }));
    await saveSafetensors(join(folder, WEIGHTS), this.#stored(), { format: "pt" });
    await writeWhole(join(folder, CONFIG), `${JSON.stringify(writeLoraConfig(this.config), null, 2)}\n`);
  }

  /**
   * Adds the branches into the weights and takes them off. A quantised weight is quantised anew, which moves it a little. Layer by layer, so that one
   * of them at a time is held in full precision; when one cannot be made, the model computes what it did, and merge() goes on from there.
   */
  merge(): void {
    this.checkAttached();
    for (const [path, layer] of this.layers) {
      rebase(this.model, path, mergedBase(layer));
      this.#detach(path, layer);
    }
    const held = new Set(this.model.parameters()); // a table of a tied pair is still the other's
    for (const original of new Set(this.overlays.splice(0).map(({ original }) => original))) {
      this.model.releaseBeside(original);
      if (!held.has(original)) original.dispose();
    }
    this.#state = "merged";
  }

  /** Takes the adapter off; the model is as it was before. */
  unload(): void {
    this.checkAttached();
    for (const { path, original, tensor } of this.overlays.splice(0)) {
      this.model.replace(path, original);
      this.model.releaseBeside(original);
      tensor.dispose();
    }
    if (this.wasTied && this.model instanceof LlamaForCausalLM) this.model.tie();
    for (const [path, layer] of this.layers) this.#detach(path, layer);
    this.#state = "off";
  }

  #detach(path: string, layer: LoraLinear): void {
    unwrap(this.model, path, layer.owner);
    this.layers.delete(path);
    layer.release();
  }
}

async function readConfigOf(folder: string): Promise<LoraConfig> {
  const missing = [CONFIG, WEIGHTS].find((name) => !existsSync(join(folder, name)));
  if (missing) {
    const pickle = existsSync(join(folder, PICKLE));
    const remedy = pickle ? `; ${NO_PICKLES}` : "";
    throw new LoraConfigError(`${missing} in ${folder}`, `${pickle ? `${PICKLE}, a pickle` : "no such file"}${remedy}`);
  }
  const text = (await readPlain(join(folder, CONFIG), { most: LARGEST, linksInside: true })).toString();
  let json: unknown;
  try {
    json = parseJson(text);
  } catch (error) {
    throw new LoraConfigError(`${join(folder, CONFIG)} in JSON`, (error as Error).message.slice(0, 80));
  }
  if (typeof json !== "object" || json === null) throw new LoraConfigError(`an object in ${join(folder, CONFIG)}`, typeof json);
  return parseLoraConfig(json as Record<string, unknown>);
}

const isLinear = (module: Module): module is Linear | QuantizedLinear => module instanceof Linear || module instanceof QuantizedLinear;

/** LoRA on a table is another arithmetic: PEFT has lora_embedding_A and lora_embedding_B for it. */
const onTable = (path: string): LoraConfigError =>
  new LoraConfigError(
    "targetModules without the embedding and the head, on which LoRA is not supported",
    `"${path}"; train it whole: modulesToSave: ["${path.split(".").at(-1)}"]`,
  );

/** The layer itself with the branch added in: the dense one is changed in place, a quantised one is made anew. */
function mergedBase(branch: LoraLinear): LinearLayer {
  const base = innermost(branch) as Linear | QuantizedLinear;
  const merged = () => branch.fold(dense(base)).weight;
  if (base instanceof Linear) {
    const old = base.weight;
    base.weight = keep(
      noGrad(() =>
        scope(() => {
          const weight = merged();
          return weight.dtype === old.dtype ? weight : cast(weight, old.dtype);
        }),
      ),
    );
    base.weight.requiresGrad = old.requiresGrad;
    old.dispose();
    return base;
  }
  const { weight, bias } = base;
  const { format, block, threshold, nestedAbsmax } = weight;
  const requantized = noGrad(() =>
    scope(() => QuantizedWeight.quantize(merged(), { format, block, threshold, doubleQuant: nestedAbsmax !== undefined })),
  );
  weight.dispose();
  return new QuantizedLinear(requantized, bias);
}

/** A name that no wrap around the layer has yet. */
function freeOwner(module: Module): string {
  const taken = wrapsOn(module).map(({ owner }) => owner);
  let owner = "default";
  for (let n = 1; taken.includes(owner); ++n) owner = `default_${n}`;
  return owner;
}

function deviceOf(model: Module) {
  const [first] = model.parameters();
  if (!first) throw new LoraConfigError("a model with parameters", "none");
  return first.device;
}
