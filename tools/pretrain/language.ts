// The tiny LLaMA: a tokenizer and a language model from the world's texts. It may read of every combination; what it never sees is media.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Draw } from "../../lib/data/draw.js";
import { caption, description, dialogue, questions, repetition, type Utterance, WORLD_PROMPTS } from "../../lib/data/world/language.js";
import { drawScene, type Scene } from "../../lib/data/world/scenes.js";
import type { Device } from "../../lib/index.js";
import { argmax, LlamaForCausalLM, noGrad, scope, Weights } from "../../lib/index.js";
import { parseLlamaConfig } from "../../lib/models/llama-config.js";
import { trainBpe } from "../../lib/text/bpe-trainer.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import type { TextRow } from "../../lib/train/language.js";

/** LLaMA 2's conversation, without a system turn and without the blank before </s>. */
const CHAT_TEMPLATE =
  "{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}" +
  "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'].strip() + eos_token }}" +
  "{% else %}{{ raise_exception('expected the roles user and assistant, got ' + message['role']) }}{% endif %}{% endfor %}";

export const MODALITIES = ["image", "video", "audio", "imu"] as const;

/** A tokenizer whose merges cover every word of the world. */
export function makeTokenizer(folder: string): Tokenizer {
  const draw = new Draw(1, "tokenizer");
  const texts: string[] = ["[INST] repeat this. [/INST]\n", ...Object.values(WORLD_PROMPTS).flat()];
  for (let i = 0; i < 4000; ++i) {
    const scene = drawScene(MODALITIES[i % 4]!, draw, { things: 1 + (i % 2) });
    texts.push(
      caption(scene),
      description(scene, draw, 0),
      ...questions(scene, draw).flatMap(({ question, answer }) => [question, answer]),
    );
  }
  const files = trainBpe(texts, { vocabSize: 1024, chatTemplate: CHAT_TEMPLATE });
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), `${JSON.stringify(content, null, 1)}\n`);
  return Tokenizer.fromPretrained(folder);
}

export function llamaConfig(vocabSize: number): Record<string, unknown> {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: vocabSize,
    hidden_size: 128,
    intermediate_size: 384,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    num_key_value_heads: 4,
    hidden_act: "silu",
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    max_position_embeddings: 512,
    tie_word_embeddings: false,
    bos_token_id: 1,
    eos_token_id: 2,
    pad_token_id: 0,
    torch_dtype: "bfloat16",
  };
}

export const freshLlama = (device: Device, vocabSize: number, seed: number): LlamaForCausalLM =>
  new LlamaForCausalLM(Weights.fresh({ device, trainable: true, seed }), parseLlamaConfig(llamaConfig(vocabSize)));

/** Word by word, remembering words: the world's merges never cross a blank, so this is the tokenizer's own answer, found faster. */
export class WordEncoder {
  readonly #known = new Map<string, number[]>();
  constructor(private readonly tokenizer: Tokenizer) {}

  get size(): number {
    return this.tokenizer.vocabSize;
  }

  encode(text: string): number[] {
    return text.split(" ").flatMap((word) => {
      const ids = this.#known.get(word) ?? this.tokenizer.encode(word, { addSpecialTokens: false });
      this.#known.set(word, ids);
      return ids;
    });
  }
}

/** Scored: answers and their end; of a description without questions, everything. */
export function rowOf(turns: readonly Utterance[], encoder: WordEncoder, { bos = 1, eos = 2 } = {}): TextRow {
  const ids: number[] = [];
  const labels: number[] = [];
  for (const { role, content } of turns) {
    const part = role === "user" ? [bos, ...encoder.encode(`[INST] ${content} [/INST]`)] : [...encoder.encode(content), eos];
    ids.push(...part);
    labels.push(...(role === "user" ? part.map(() => -100) : part));
  }
  return { ids, labels };
}

/** How texts grow harder: share of documents about images, how many things these hold, and how free their form is. */
export interface Phase {
  until: number;
  image: number;
  things: readonly number[];
  plain: number;
  /** Share of documents that repeat a text. */
  repeat: number;
}

export function languageRow(draw: Draw, encoder: WordEncoder, { image, things, plain, repeat }: Phase): TextRow {
  const one = (): Scene => {
    const modality = draw.chance(image) ? "image" : draw.pick(["video", "audio", "imu"] as const);
    return drawScene(modality, draw, { things: draw.pick(things) });
  };
  if (draw.chance(0.05)) {
    const ids = [1, ...encoder.encode(description(one(), draw, plain)), 2];
    return { ids, labels: ids };
  }
  if (draw.chance(repeat)) return rowOf(repetition(draw.chance(0.5) ? [one(), one()] : [one()], draw), encoder);
  const scenes = [one()];
  // Two scenes in one text, of kinds whose questions cannot be confused.
  if (draw.chance(0.12)) {
    const seen = scenes[0]!.modality === "image" || scenes[0]!.modality === "video";
    const other = drawScene(seen ? draw.pick(["audio", "imu"] as const) : scenes[0]!.modality === "audio" ? "imu" : "audio", draw);
    draw.chance(0.5) ? scenes.push(other) : scenes.unshift(other);
  }
  return rowOf(dialogue(scenes, draw, { turns: 6, plain }), encoder);
}

/** Rows of steps [from, from + group), batched by length so that little is padding; the batches come in random order. */
export function languageBatches(seed: number, group: number, batch: number, encoder: WordEncoder, phase: Phase): TextRow[][] {
  const draw = new Draw(seed, `language ${group}`);
  const rows = Array.from({ length: GROUP * batch }, () => languageRow(draw, encoder, phase)).sort((a, b) => a.ids.length - b.ids.length);
  return draw.shuffled(Array.from({ length: GROUP }, (_, i) => rows.slice(i * batch, (i + 1) * batch)));
}
export const GROUP = 8;

/** Exact answers, per kind of question, of one question behind one description: what a frozen model must do before it can read soft tokens. */
export async function readingAccuracy(
  model: LlamaForCausalLM,
  encoder: WordEncoder,
  draw: Draw,
  rowsPerKind: number,
  things: readonly number[] = [1, 2, 2],
): Promise<Map<string, number>> {
  const byKind = new Map<string, TextRow[]>();
  const full = () => [...byKind.values()].filter((rows) => rows.length >= rowsPerKind).length;
  while (full() < KINDS) {
    const modality = draw.pick(MODALITIES);
    const scene = drawScene(modality, draw, { things: draw.pick(things) });
    const asked = [...questions(scene, draw), { kind: "caption", question: draw.pick(WORLD_PROMPTS[modality]), answer: caption(scene) }];
    for (const { kind, question, answer } of asked) {
      const name = `${modality} ${kind}`;
      const rows = byKind.get(name) ?? [];
      byKind.set(name, rows);
      if (rows.length >= rowsPerKind) continue;
      const context = description(scene, draw);
      const content = draw.chance(0.6) ? `${question} ${context}` : `${context} ${question}`;
      rows.push(
        rowOf(
          [
            { role: "user", content },
            { role: "assistant", content: answer },
          ],
          encoder,
        ),
      );
    }
  }
  const accuracy = new Map<string, number>();
  for (const [name, rows] of byKind) accuracy.set(name, await exactShare(model, rows));
  return accuracy;
}
/** image 7, video, audio and imu 5 each. */
const KINDS = 22;

/** The share of rows whose scored tokens are all the model's first choice: what greedy generation would answer exactly. */
async function exactShare(model: LlamaForCausalLM, rows: readonly TextRow[]): Promise<number> {
  const length = Math.max(...rows.map(({ ids }) => ids.length));
  const chosen = scope(() => {
    const { logits } = noGrad(() =>
      model.forward({
        inputIds: rows.map(({ ids }) => [...ids, ...new Array<number>(length - ids.length).fill(0)]),
        attentionMask: rows.map(({ ids }) => new Uint8Array(length).fill(1, 0, ids.length)),
      }),
    );
    return argmax(logits!);
  });
  const best = await chosen.data();
  chosen.dispose();
  const right = rows.filter(({ labels }, b) => labels!.every((label, t) => label < 0 || best[b * length + t - 1] === label));
  return right.length / rows.length;
}
