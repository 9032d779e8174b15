// One sense's encoder from nothing: trained beside a tower of captions, judged by the nearest caption, and handed to AnyMAL as an encoder of one's own.
import {
  ClipTextModel,
  contrastive,
  type Device,
  Draw,
  folderFingerprint,
  nearestTexts,
  noGrad,
  type OwnEncoder,
  ops,
  parseClipTextConfig,
  scope,
  Tensor,
  Tokenizer,
  Weights,
} from "../../lib/index.js";
import { Convolutions } from "./convolutions.js";
import type { Example, Split } from "./data.js";
import { gridSize, type Sense } from "./sense.js";
import { described } from "./sentences.js";

const EMBED = 64;
const BATCH = 64;
/** It stays: one that falls in training ends in learning a small set by heart. */
const TEMPERATURE = 0.1;
/** Media at a time where nothing is trained. */
const TOGETHER = 100;

export interface EncoderOptions {
  /** The language model's folder, whose tokenizer reads the captions. */
  llm: string;
  device: Device;
  seed: number;
  /** Times the steps. */
  effort: number;
  /** Where the encoder is written. */
  folder: string;
}

/** Trains an encoder, writes it, and returns how often the nearest of all captions is the true one of what was kept aside. */
export async function trainEncoder(sense: Sense, { train, test }: Split, options: EncoderOptions): Promise<number> {
  const { llm, device, seed, effort, folder } = options;
  const { widths, stride, learningRate } = sense;
  const [channels] = sense.shape;
  const tokenizer = Tokenizer.fromPretrained(llm);
  const end = tokenizer.vocabSize;
  const captionOf = (word: string) => [...tokenizer.encode(described({ sense: sense.name, word }), { addSpecialTokens: false }), end];
  const weights = Weights.fresh({ device, dtype: dtypeOn(device), seed });
  const encoder = new Convolutions(weights, { channels, widths, stride, embedDim: EMBED });
  const text = captionsTower(end, device, seed + 1);
  const logitScale = Tensor.from([Math.log(1 / TEMPERATURE)], [1], { device });
  const steps = Math.ceil(sense.steps * effort);
  const batch = batches(sense, train, await gridsOf(sense, train), captionOf, seed);
  for await (const { step, loss } of contrastive({ encoder, text, logitScale, steps, learningRate, weightDecay: 0.05, batch }))
    if (step % 100 === 0) console.error(`encoder of ${sense.name} ${step}/${steps}: loss ${loss.toFixed(3)}`);
  await encoder.save(folder);

  const words = [...new Set(train.map(({ word }) => word))];
  const grids = await gridsOf(sense, test);
  let right = 0;
  for (let at = 0; at < test.length; at += TOGETHER) {
    const found = await nearestTexts({ encoder, text }, inputOf(sense, grids.slice(at, at + TOGETHER)), words.map(captionOf));
    right += found.filter((place, i) => words[place] === test[at + i]?.word).length;
  }
  for (const one of [encoder, text, logitScale]) one.dispose();
  return right / test.length;
}

/** Half the bytes where the CPU multiplies them; elsewhere f32 is as fast. */
export const dtypeOn = (device: Device): "f32" | "bf16" => (/^cpu: (avx512_bf16|amx)\b/.test(device.describe()) ? "bf16" : "f32");

/** Every example once in random order, then in another; each time it looks or sounds another way. */
function batches(
  sense: Sense,
  examples: readonly Example[],
  grids: readonly Float32Array[],
  captionOf: (word: string) => number[],
  seed: number,
) {
  const draw = new Draw(seed, sense.name);
  const size = gridSize(sense);
  let order: number[] = [];
  return () => {
    const data = new Float32Array(BATCH * size);
    const captions = Array.from({ length: BATCH }, (_, i) => {
      if (!order.length) order = draw.shuffled([...examples.keys()]);
      const one = order.pop() as number;
      sense.vary(grids[one] as Float32Array, data.subarray(i * size, (i + 1) * size), draw);
      return captionOf((examples[one] as Example).word);
    });
    return { media: { data, shape: [BATCH, ...sense.shape] }, captions };
  };
}

/** The end of a text is an id of its own, the highest, as CLIP has it. */
function captionsTower(end: number, device: Device, seed: number): ClipTextModel {
  const config = {
    model_type: "clip_text_model",
    vocab_size: end + 1,
    eos_token_id: end,
    max_position_embeddings: 16,
    hidden_size: EMBED,
    intermediate_size: 2 * EMBED,
    num_hidden_layers: 1,
    num_attention_heads: 4,
    projection_dim: EMBED,
  };
  return new ClipTextModel(Weights.fresh({ device, seed }), parseClipTextConfig(config));
}

async function gridsOf(sense: Sense, examples: readonly Example[]): Promise<Float32Array[]> {
  const grids: Float32Array[] = [];
  for (const { part } of examples) grids.push(await sense.see(await sense.load(part)));
  return grids;
}

function inputOf(sense: Sense, grids: readonly Float32Array[]) {
  const data = new Float32Array(grids.length * gridSize(sense));
  for (const [i, grid] of grids.entries()) data.set(grid, i * grid.length);
  return { data, shape: [grids.length, ...sense.shape] };
}

/** For AnyMAL, from the folder of one that was trained: a medium's embedding, of length √e so that its values are of the size of 1. */
export async function openEncoder<Loaded>(sense: Sense<Loaded>, folder: string, device: Device): Promise<OwnEncoder<Loaded>> {
  const encoder = Convolutions.open(folder, device, dtypeOn(device));
  return {
    key: `convolutions ${await folderFingerprint(folder)}`,
    shape: [1, EMBED],
    encode: async (media) => {
      const { data, shape } = inputOf(sense, await Promise.all(media.map((one) => sense.see(one))));
      const rows = noGrad(() =>
        scope(() => {
          const { embeds } = encoder.forward(Tensor.from(data, shape, { device, dtype: encoder.dtype }));
          return ops.scale(ops.l2Normalize(ops.cast(embeds, "f32")), Math.sqrt(EMBED));
        }),
      );
      const all = await rows.data();
      rows.dispose();
      return media.map((_, i) => Float32Array.from(all.slice(i * EMBED, (i + 1) * EMBED)));
    },
  };
}
