// A LLaMA of random weights on the emulated card, and by itself a process that trains it by a step, or reads a prompt and some tokens one by one: how many
// layers it has, and what is done with it, is its argument.
import { pathToFileURL } from "node:url";
import { backward, type Device, device, noGrad, scope } from "../../lib/index.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { parseLlamaConfig } from "../../lib/models/llama-config.js";
import { Weights } from "../../lib/nn/weights.js";

export interface Asked {
  layers: number;
  dtype: "f32" | "bf16";
  /** Tokens behind the prompt; without them a step of training. */
  tokens?: number;
  cache?: "f32" | "bf16" | "int8";
}

const IDS = [[1, 5, 7, 9, 11, 3]];

export function llama(d: Device, { layers, dtype }: Pick<Asked, "layers" | "dtype">): LlamaForCausalLM {
  const config = parseLlamaConfig({
    ...{ model_type: "llama", hidden_size: 64, intermediate_size: 96, num_hidden_layers: layers, num_attention_heads: 4 },
    ...{ num_key_value_heads: 2, vocab_size: 40, max_position_embeddings: 32, rms_norm_eps: 1e-5, rope_theta: 10000 },
  });
  return new LlamaForCausalLM(Weights.fresh({ device: d, dtype, seed: 1, trainable: true }), config);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const asked: Asked = JSON.parse(process.argv[2] as string);
  const d = device("emulated");
  const model = llama(d, asked);
  if (asked.tokens === undefined) {
    const { loss } = model.forward({ inputIds: IDS }, { labels: IDS, logits: false });
    backward(loss!);
  } else {
    const cache = model.createCache(1, 16, asked.cache);
    const read = (ids: number[][]) =>
      scope(() => noGrad(() => model.forward({ inputIds: ids }, { cache, logits: "last" }).logits!)).dispose();
    read(IDS);
    for (let t = 0; t < asked.tokens; ++t) read([[t]]);
  }
  await d.synchronize();
}
