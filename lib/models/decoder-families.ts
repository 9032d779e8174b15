// The families of language models, by the model_type of their config.json.
import type { CausalDecoder } from "./causal-decoder.js";
import { ConfigError, type Json, readConfig } from "./config.js";
import type { DecoderConfig } from "./decoder-config.js";
import type { DecoderFamily } from "./decoder-family.js";
import { LLAMA } from "./llama.js";
import { generationEnds, LLAMA_FAMILIES } from "./llama-config.js";
import { DECODER_TYPES } from "./model-types.js";
import { MPT } from "./mpt.js";
import { OPT } from "./opt.js";
import { refused } from "./refused-types.js";

export type AnyFamily = DecoderFamily<DecoderConfig, CausalDecoder>;

export const DECODER_FAMILIES: Readonly<Record<string, AnyFamily>> = {
  ...Object.fromEntries(LLAMA_FAMILIES.map((name) => [name, LLAMA as AnyFamily])),
  opt: OPT as AnyFamily,
  mpt: MPT as AnyFamily,
};

/** Throws E_CONFIG on a model_type that is none of a language model that is here. */
export function familyOf(json: Json): AnyFamily {
  const name = json.model_type ?? "llama";
  const family = typeof name === "string" && Object.hasOwn(DECODER_FAMILIES, name) ? DECODER_FAMILIES[name] : undefined;
  if (!family)
    throw (
      refused(json) ??
      new ConfigError("model_type", `one of ${DECODER_TYPES.join(", ")}`, name, "models of other families are not supported")
    );
  return family;
}

/** config.json of a folder, and what generation_config.json says in its place: after which tokens generation ends. */
export function readDecoderConfig(folder: string): DecoderConfig {
  const json = readConfig(folder);
  const config = familyOf(json).parse(json);
  const ends = generationEnds(folder);
  return ends.length ? { ...config, eosTokenIds: ends } : config;
}
