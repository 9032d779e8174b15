// Tokens that train alone, such as those that were added, as PEFT has it (TRAINABLE_TOKENS): rows of the embedding, and of the head where it is asked for.
import type { Schema } from "../core/checks.js";
import { atOnce } from "../core/turns.js";
import { sameTensor } from "../io/checkpoint.js";
import { Embedding } from "../nn/embedding.js";
import { innermost, type MakeWrap, places } from "../nn/layer.js";
import { Linear } from "../nn/linear.js";
import type { Module } from "../nn/module.js";
import { TokenRows } from "../nn/token-rows.js";
import type { Weights } from "../nn/weights.js";
import { CONFIG } from "./adapter-files.js";
import { isTied } from "./exchange.js";
import { type AdapterKind, type AdapterPlan, adapterFault, completed, type Json } from "./kind.js";
import { ROOT } from "./overlays.js";

export interface TrainedTokensConfig {
  /** Ids, each once; the rows of the file have their order. */
  tokenIndices: readonly number[];
  /** Names of tables: the last part of a path, or more of it. Default: the embedding. */
  targetModules: readonly string[];
}

const DEFAULTS: TrainedTokensConfig = { tokenIndices: [], targetModules: ["embed_tokens"] };
const fail = adapterFault("trained tokens");
const NAME = "trainable_tokens_delta";
const HEAD = "lm_head";

const SCHEMA: Schema = {
  tokenIndices: { wanted: "a list of ids", fits: (v) => Array.isArray(v) && v.every((id) => Number.isInteger(id) && id >= 0) },
  targetModules: { wanted: "a list of names", fits: (v) => Array.isArray(v) && v.every((name) => typeof name === "string" && name !== "") },
};

export const TRAINED_TOKENS: AdapterKind<TrainedTokensConfig> = {
  name: "trained-tokens",
  schema: SCHEMA,
  files: { weights: "adapter_model.safetensors", config: CONFIG },
  complete(options) {
    const config = completed(this, options, DEFAULTS, { tokens: 'did you mean "tokenIndices"?' });
    if (!config.tokenIndices.length) throw fail("tokenIndices", "none");
    return config;
  },
  plan,
  read: (json) => {
    const given = { tokenIndices: json.token_indices, targetModules: json.target_modules ?? DEFAULTS.targetModules };
    const list = typeof given.targetModules === "string" ? [given.targetModules] : given.targetModules;
    return TRAINED_TOKENS.complete({ ...given, targetModules: list } as TrainedTokensConfig);
  },
  write: ({ tokenIndices, targetModules }): Json => ({
    peft_type: "TRAINABLE_TOKENS",
    token_indices: [...tokenIndices],
    target_modules: [...targetModules],
    init_weights: true,
    inference_mode: true,
    task_type: "CAUSAL_LM",
  }),
  key: (path) => `${ROOT}.${path}.${NAME}`,
  fail,
  /** PEFT has the rows of a tied pair under both names, and warns where one is missing. */
  *stored({ model, wraps }) {
    const [tied] = isTied(model) && wraps.size === 1 ? wraps.keys() : [];
    for (const [path, wrap] of wraps as ReadonlyMap<string, TokenRows>)
      yield {
        keys: [path, ...(path === tied && path !== HEAD ? [HEAD] : [])].map((at) => TRAINED_TOKENS.key(at, NAME)),
        tensor: wrap.rows,
      };
  },
  moved: ({ wraps }) => {
    for (const wrap of wraps.values()) (wrap as TokenRows).settle();
  },
  attached: (model, _, paths) => {
    for (const path of paths) if (model.child(path) instanceof TokenRows) (model.child(path) as TokenRows).settle();
  },
};

function plan(model: Module, config: TrainedTokensConfig, root: Weights, owner: string): AdapterPlan {
  const at = root.at(ROOT);
  const wraps: [string, MakeWrap][] = [];
  const named = (path: string) => config.targetModules.find((name) => path === name || path.endsWith(`.${name}`));
  const reached = new Set<string>();
  for (const [path, module] of places(model)) {
    const name = named(path);
    if (name === undefined) continue;
    const table = innermost(module);
    if (!(table instanceof Embedding || (table instanceof Linear && path === HEAD)))
      throw fail("targetModules to name the embedding or the head", `"${path}", a ${table.constructor.name}`);
    reached.add(name);
    const width = table.weight.shape[1] as number;
    const rows = at.checkpoint && at.at(path).parameter(NAME, [config.tokenIndices.length, width], { fill: 0 });
    wraps.push([path, (base) => new TokenRows(base as Embedding | Linear, owner, { ids: config.tokenIndices, rows })]);
  }
  if (isTied(model)) {
    tiedHead(at, wraps[0]?.[0]);
    for (const name of config.targetModules) if (HEAD === name && wraps.length) reached.add(name); // the head is the embedding
  }
  const missed = config.targetModules.find((name) => !reached.has(name));
  if (missed !== undefined) throw fail("targetModules to name tables of the model", `"${missed}", which names none`);
  return { wraps };
}

/** PEFT writes the rows of a tied pair twice. */
function tiedHead(at: Weights, path: string | undefined): void {
  const name = `${HEAD}.${NAME}`;
  if (!at.checkpoint || !path || !at.has(name)) return;
  const [one, two] = [at.take(name), at.at(path).take(NAME)];
  if (!atOnce(sameTensor(at.checkpoint, one, two)))
    throw fail("one set of rows for a head that is tied to the embedding", `two that differ in ${at.checkpoint.path}`);
}
