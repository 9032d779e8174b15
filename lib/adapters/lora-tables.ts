// LoRA on the tables of a language model, and rows of them that train alone beside its branches: what PEFT allows there, and what this cannot be.
import { CausalDecoder } from "../models/causal-decoder.js";
import { DoraEmbedding } from "../nn/dora-embedding.js";
import { Embedding } from "../nn/embedding.js";
import { innermost, type MakeWrap, type Plain, places } from "../nn/layer.js";
import { Linear } from "../nn/linear.js";
import { LoraEmbedding, type LoraEmbeddingOptions } from "../nn/lora-embedding.js";
import type { Module } from "../nn/module.js";
import { TokenRows } from "../nn/token-rows.js";
import type { Weights } from "../nn/weights.js";
import { isTied } from "./exchange.js";
import type { LoraConfig } from "./lora-config.js";
import { LoraConfigError } from "./lora-error.js";
import { endsWith } from "./targets.js";

/** What PEFT calls rows that train alone, below their table. */
export const TOKENS = "token_adapter.trainable_tokens_delta";

/** The path of a layer, by that of its weight. */
const layerAt = (weight: string): string => weight.slice(0, -".weight".length);
/** What the path of a model's head ends with. */
export const headOf = (model: Module): string => (model instanceof CausalDecoder ? layerAt(model.paths.head) : "lm_head");
const isHead = (model: Module, path: string): boolean => path.endsWith(headOf(model));

/** A table that gets branches must be one that all of the model goes through. Throws E_LORA where it is not. */
export function checkTable(model: Module, config: LoraConfig, path: string): void {
  const whole = `train it whole: modulesToSave: ["${path.split(".").at(-1)}"]`;
  const fail = (wanted: string, got: string) => new LoraConfigError(wanted, `${got}; ${whole}`);
  if (!(model instanceof CausalDecoder) || ![model.paths.embedding, model.paths.head].map(layerAt).includes(path))
    throw fail("targetModules without tables other than a language model's embedding and head", `"${path}"`);
  if (config.ensureWeightTying && isTied(model))
    throw fail("targetModules without a tied table under ensureWeightTying, which would share its branches", `"${path}"`);
}

/** A tied head has no place of its own. */
export function checkNoTiedHead(model: Module, isTarget: (path: string) => boolean): void {
  if (isTied(model) && isTarget("lm_head"))
    throw new LoraConfigError(
      "targetModules without a head that is the embedding",
      '"lm_head"; name the embedding, or train the head apart: modulesToSave: ["lm_head"]',
    );
}

export function embeddingBranch(
  at: Weights,
  module: Module,
  branch: Omit<LoraEmbeddingOptions, "shape" | "padding">,
  dora: boolean,
): LoraEmbedding {
  const { weight, padding } = innermost(module) as Embedding;
  const Branch = dora ? DoraEmbedding : LoraEmbedding;
  return new Branch(at, module as Plain, { ...branch, shape: weight.shape as [number, number], padding });
}

/** Wraps for the rows of trainableTokens, with those of the file where there is one. `taken`: paths that have branches. */
export function* tokenWraps(
  model: Module,
  { trainableTokens }: LoraConfig,
  at: Weights,
  owner: string,
  taken: { has(path: string): boolean },
): Generator<[string, MakeWrap]> {
  for (const [name, ids] of listed(model, trainableTokens)) {
    const tied = isTied(model) && name === "lm_head";
    const tables = [...places(model)].filter(([path]) => endsWith(path, [tied ? layerAt(model.paths.embedding) : name]));
    if (!tables.length) throw new LoraConfigError("trainableTokens to name tables of the model", `"${name}", which names none`);
    for (const [path, module] of tables) {
      const table = innermost(module);
      if (!(table instanceof Embedding || (table instanceof Linear && isHead(model, path))))
        throw new LoraConfigError("trainableTokens to name the embedding or the head", `"${path}", a ${table.constructor.name}`);
      if (taken.has(path))
        throw new LoraConfigError("a table with branches or with rows that train alone", `"${path}", which is to have both`);
      const width = table.weight.shape[1] as number;
      const rows = at.checkpoint && at.at(path).parameter(TOKENS, [ids.length, width], { fill: 0 });
      yield [path, (base) => new TokenRows(base as Embedding | Linear, owner, { ids, rows })];
    }
  }
}

/** By table. Of a tied pair, which is one table, both have to say the same. */
function listed(model: Module, tokens: LoraConfig["trainableTokens"]): [string, readonly number[]][] {
  if (Array.isArray(tokens))
    return tokens.length ? [[layerAt((model as CausalDecoder).paths?.embedding ?? "embed_tokens.weight"), tokens]] : [];
  const all = Object.entries(tokens as Readonly<Record<string, readonly number[]>>).filter(([, ids]) => ids.length);
  const head = all.find(([name]) => name === "lm_head");
  if (!isTied(model) || !head || all.length === 1) return all;
  const [[, embedded]] = all.filter((one) => one !== head) as [[string, readonly number[]]];
  if (String(embedded) === String(head[1])) return all.filter((one) => one !== head);
  throw new LoraConfigError("the same trainableTokens for a head that is the embedding", `[${head[1]}] beside [${embedded}]`);
}
