// The part of a decoder's config.json that says how positions are rotated, in both spellings: `rope_parameters` (transformers 5), or `rope_theta`
// and `rope_scaling` (the hub's older files, the oldest of which say `type` for `rope_type`).
import { type RopeScaling, yarnAttentionFactor } from "../nn/rope-frequencies.js";
import { ConfigError, flag, type Json, number, size } from "./config.js";

export interface RopeConfig {
  ropeTheta: number;
  ropeScaling: RopeScaling;
  /** Positions that the model is good for: max_position_embeddings, or what a scaling stretches it to. */
  maxPositions: number;
}

const KINDS = "default, linear, dynamic, llama3 or yarn";

export function parseRope(json: Json, defaultMaxPositions: number): RopeConfig {
  const parameters = parametersOf(json);
  const trained = size(json, "max_position_embeddings", defaultMaxPositions);
  const ropeTheta = number(parameters, "rope_theta", number(json, "rope_theta", 10000));
  if (ropeTheta < 1) throw new ConfigError("rope_theta", "at least 1", ropeTheta);
  refusePartial(json, parameters);
  const { rope_type: named, type: oldName } = parameters;
  const type: unknown = named ?? oldName ?? "default";
  const original = () => originalPositions(json, parameters, trained);
  switch (type) {
    case "default":
      return { ropeTheta, ropeScaling: { type }, maxPositions: trained };
    case "linear": {
      const factor = positive(parameters, "factor");
      return { ropeTheta, ropeScaling: { type, factor }, maxPositions: stretched(trained, factor) };
    }
    case "dynamic": {
      const factor = positive(parameters, "factor");
      return { ropeTheta, ropeScaling: { type, factor, maxPositions: trained }, maxPositions: stretched(trained, factor) };
    }
    case "llama3": {
      const factor = positive(parameters, "factor");
      const [lowFreqFactor, highFreqFactor] = [positive(parameters, "low_freq_factor"), positive(parameters, "high_freq_factor")];
      return {
        ropeTheta,
        ropeScaling: { type, factor, lowFreqFactor, highFreqFactor, originalMaxPositions: original() },
        maxPositions: trained,
      };
    }
    case "yarn": {
      const scaling = yarn(parameters, trained, original());
      if (ropeTheta === 1) throw new ConfigError("rope_theta", "a number above 1 for yarn", ropeTheta);
      return { ropeTheta, ropeScaling: scaling, maxPositions: Math.max(trained, stretched(scaling.originalMaxPositions, scaling.factor)) };
    }
    case "longrope":
    case "su":
      throw new ConfigError(
        "rope_type",
        KINDS,
        type,
        "LongRoPE, Phi-3's two tables of factors, is not supported: take a checkpoint without it",
      );
    default:
      throw new ConfigError("rope_type", KINDS, type);
  }
}

function parametersOf(json: Json): Json {
  // An empty object counts as none, as in transformers.
  const given = [json.rope_scaling, json.rope_parameters].find(
    (value) => value !== null && value !== undefined && (typeof value !== "object" || Object.keys(value).length > 0),
  );
  const key = given === json.rope_parameters ? "rope_parameters" : "rope_scaling";
  if (given === undefined) return {};
  if (typeof given !== "object" || given === null || Array.isArray(given)) throw new ConfigError(key, "an object or null", given);
  for (const [name, value] of Object.entries(given))
    if (name.endsWith("_attention") && typeof value === "object")
      throw new ConfigError(
        key,
        "one set of parameters for all layers",
        { [name]: value },
        "parameters by kind of layer are not supported",
      );
  return given as Json;
}

// Phi and GPT-NeoX turn only a part of each head. Classes of LLaMA's family do not: transformers ignores the key for some kinds of scaling and
// fails with it for others.
function refusePartial(json: Json, parameters: Json): void {
  const share = parameters.partial_rotary_factor ?? json.partial_rotary_factor ?? 1;
  if (share !== 1)
    throw new ConfigError("partial_rotary_factor", "1 (whole heads are rotated)", share, "the checkpoint is of another family");
}

function yarn(parameters: Json, trained: number, originalMaxPositions: number): Extract<RopeScaling, { type: "yarn" }> {
  // null stands for the ratio of the two contexts; only an absent factor is a mistake.
  const factor = parameters.factor === null ? trained / originalMaxPositions : positive(parameters, "factor");
  const or = (key: string, fallback: number) => number(parameters, key, fallback) || fallback; // 0 counts as absent, as in transformers
  const inferred = yarnAttentionFactor(factor, or("mscale", 0), or("mscale_all_dim", 0));
  return {
    type: "yarn",
    factor,
    originalMaxPositions,
    betaFast: positive({ beta_fast: or("beta_fast", 32) }, "beta_fast"),
    betaSlow: positive({ beta_slow: or("beta_slow", 1) }, "beta_slow"),
    truncate: flag(parameters, "truncate", true),
    attentionFactor: positive(parameters, "attention_factor", inferred),
  };
}

function originalPositions(json: Json, parameters: Json, trained: number): number {
  const key = "original_max_position_embeddings";
  return size(json[key] == null ? parameters : json, key, trained);
}

function positive(json: Json, key: string, fallback?: number): number {
  const value = number(json, key, fallback);
  if (value <= 0) throw new ConfigError(key, "a number above 0", value);
  return value;
}

const stretched = (positions: number, factor: number): number => Math.max(positions, Math.floor(positions * factor));
