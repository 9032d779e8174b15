// A prompt of 192 tokens through a random LLaMA in NF4, read to its first token, beside llama.cpp with Q4_0.

import { generateTokens } from "../../lib/generate/generate.js";
import { now } from "../clock.js";
import { contest, type Figures } from "../contest.js";
import { atEachLevel } from "../levels.js";
import { arithmeticLimit } from "../limits.js";
import { linearParameters, promptOf, randomConfig, randomLlama } from "../random-llama.js";
import type { SuiteOptions } from "../suite.js";

const TOKENS = 192;
const TURNS = 5;

export default function prefill(options: SuiteOptions): Promise<Figures[]> {
  const config = randomConfig(options.size);
  return atEachLevel(options, async ({ device, level, peaks }, report) => {
    const llm = randomLlama(device, config, "nf4", "bf16");
    const inputIds = [promptOf(TOKENS, config.vocabSize)];
    const sample = async () => {
      const start = now();
      for await (const _ of generateTokens(llm, { inputIds }, { maxNewTokens: 1, eosTokenId: [] }));
      return now() - start;
    };
    const attention = 2 * config.layers * TOKENS * TOKENS * config.heads * config.headDim;
    const flops = 2 * (linearParameters(config) * TOKENS + config.vocabSize * config.hiddenSize) + attention;
    const llama = (await options.rivals?.llama(options.size, { what: "prefill", tokens: TOKENS })) ?? [];
    const told = {
      case: `nf4, ${TOKENS} tokens to the first`,
      level,
      unit: "tokens/s",
      of: (seconds: number) => TOKENS / seconds,
      limit: arithmeticLimit(peaks, "bf16", flops),
      more: (seconds: number) => ({ ms: 1000 * seconds, "GFLOP/s": flops / seconds / 1e9 }),
    };
    report(await contest(told, sample, [llama], options.turns ?? TURNS));
    for (const side of llama) await side.drop();
    llm.dispose();
  });
}
