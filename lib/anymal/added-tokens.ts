// Tokens that a model has beside those of its language model's folder: the tokenizer grows, the tables make room, and their rows train alone.
import type { TrainedTokensConfig } from "../adapters/trained-tokens.js";
import type { CausalDecoder } from "../models/causal-decoder.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { AdapterPlan } from "./build.js";

/** The adapter that trains them is called so, and a stage opens them as "tokens.*". */
export const TOKENS = "tokens";

/** The rows of the embedding and the head that train; none where no token was added. Those that the folder has already train too. */
export function tokenRows(tokenizer: Tokenizer, words: readonly string[], seed: number): AdapterPlan[] {
  if (!words.length) return [];
  const tokenIndices = words.map((word) => tokenizer.tokenToId(word) as number);
  const config: TrainedTokensConfig = { tokenIndices: [...new Set(tokenIndices)], targetModules: ["embed_tokens", "lm_head"] };
  return [{ name: TOKENS, kind: "trained-tokens", on: "llm", from: { config: () => config, seed } }];
}

/** Tables with a row for each of the tokenizer's ids; those that are padded may have one already. When it throws, the model is disposed. */
export function withRoom(llm: CausalDecoder, tokenizer: Tokenizer): CausalDecoder {
  let most = -1;
  for (const id of tokenizer.addedTokens.values()) most = Math.max(most, id);
  try {
    if (most >= llm.config.vocabSize) llm.resizeTokenEmbeddings(most + 1);
  } catch (error) {
    llm.dispose();
    throw error;
  }
  return llm;
}
