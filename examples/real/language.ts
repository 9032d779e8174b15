// A tokenizer and a small LLaMA, from nothing, on simple texts: it can read what is heard and seen once it is told in words. It never hears or sees.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Device,
  Draw,
  LlamaForCausalLM,
  language,
  parseLlamaConfig,
  saveModel,
  type TextRow,
  Tokenizer,
  trainBpe,
  Weights,
} from "../../lib/index.js";
import { type Dialogue, dialogue, type Words } from "./sentences.js";

/** One turn each: [INST] request [/INST] answer. */
const CHAT_TEMPLATE =
  "{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}" +
  "{% else %}{{ ' ' + message['content'].strip() + eos_token }}{% endif %}{% endfor %}";
const [BOS, EOS] = [1, 2];
const STEPS = 200;
const BATCH = 32;

/** Trains both, and writes them as a folder in Hugging Face layout. */
export async function trainLanguage(folder: string, words: Words, device: Device, seed: number, effort: number): Promise<void> {
  const draw = new Draw(seed, "language");
  const tokenizer = writeTokenizer(
    folder,
    Array.from({ length: 4000 }, () => dialogue(words, draw)),
  );
  const config = llamaConfig(tokenizer.vocabSize);
  const model = new LlamaForCausalLM(Weights.fresh({ device, trainable: true, seed }), parseLlamaConfig(config));
  const rows = () => Array.from({ length: BATCH }, () => rowOf(dialogue(words, draw), tokenizer));
  const training = language(model, { steps: Math.ceil(STEPS * effort), learningRate: 2e-3, batch: rows });
  for await (const { step, steps, loss } of training)
    if (step % 100 === 0) console.error(`language model ${step}/${steps}: loss ${loss.toFixed(4)}`);
  await saveModel(folder, model, config, { dtype: "bf16" });
  model.dispose();
}

function writeTokenizer(folder: string, dialogues: readonly Dialogue[]): Tokenizer {
  const texts = dialogues.flatMap(({ request, answer }) => [`[INST] ${request} [/INST]`, answer]);
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(trainBpe(texts, { vocabSize: 640, chatTemplate: CHAT_TEMPLATE })))
    writeFileSync(join(folder, name), JSON.stringify(content));
  return Tokenizer.fromPretrained(folder);
}

/** Scored: the answer and its end. */
function rowOf({ request, answer }: Dialogue, tokenizer: Tokenizer): TextRow {
  const encoded = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  const prompt = [BOS, ...encoded(`[INST] ${request} [/INST]`)];
  const scored = [...encoded(answer), EOS];
  return { ids: [...prompt, ...scored], labels: [...prompt.map(() => -100), ...scored] };
}

const llamaConfig = (vocabSize: number) => ({
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: vocabSize,
  hidden_size: 128,
  intermediate_size: 384,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  max_position_embeddings: 256,
  tie_word_embeddings: false,
  bos_token_id: BOS,
  eos_token_id: EOS,
});
