// The tiny encoders, each trained with a text tower of its own on grouped batches of rendered scenes, and their acceptance test.
import { Draw } from "../../lib/data/draw.js";
import { renderAudio } from "../../lib/data/world/render-audio.js";
import { renderImage } from "../../lib/data/world/render-image.js";
import { renderImu } from "../../lib/data/world/render-imu.js";
import { drawScene, type Scene } from "../../lib/data/world/scenes.js";
import { noGrad, scope, Tensor } from "../../lib/index.js";
import { audio } from "../../lib/media/audio.js";
import { image } from "../../lib/media/image.js";
import { imu } from "../../lib/media/imu.js";
import type { EncoderInput, MediaPart, MediaProcessor } from "../../lib/media/part.js";
import type { Encoder } from "../../lib/models/encoder.js";
import type { ContrastiveBatch } from "../../lib/train/contrastive.js";
import type { TextEncoder } from "../../lib/train/towers.js";
import { attributesOf, choices, type Encodable, pairedScenes } from "./groups.js";
import type { WordEncoder } from "./language.js";

export function partOf(scene: Scene, draw: Draw): MediaPart {
  switch (scene.modality) {
    case "image":
      return image(renderImage(scene, draw));
    case "audio":
      return audio(renderAudio(scene, draw));
    case "imu":
      return imu(renderImu(scene, draw));
    case "video":
      throw new RangeError("partOf: expected a scene with an encoder of its own, got a video");
  }
}

type AnyProcessor = MediaProcessor<never>;

export const processed = (processor: AnyProcessor, parts: readonly MediaPart[]): Promise<EncoderInput> =>
  processor.process(parts as readonly never[]);

/** Captions as the text towers read them: the language model's words and an end of their own, the highest id, as CLIP has it. */
export const captionIds = (captions: readonly string[], words: WordEncoder): number[][] =>
  captions.map((text) => [...words.encode(text), words.size]);

export async function encoderBatch(
  modality: Encodable,
  size: number,
  draw: Draw,
  processor: AnyProcessor,
  words: WordEncoder,
  things?: readonly number[],
): Promise<ContrastiveBatch> {
  const { scenes, captions } = pairedScenes(modality, size, draw, things);
  const media = await processed(
    processor,
    scenes.map((scene) => partOf(scene, draw)),
  );
  return { media, captions: captionIds(captions, words) };
}

/** Made while the device works on the one before. */
export function prefetched(make: (step: number) => Promise<ContrastiveBatch>): (step: number) => Promise<ContrastiveBatch> {
  const next = new Map<number, Promise<ContrastiveBatch>>();
  return (step) => {
    const now = next.get(step) ?? make(step);
    next.clear();
    const following = make(step + 1);
    following.catch(() => undefined); // told when it is asked for
    next.set(step + 1, following);
    return now;
  };
}

/** Per attribute: how often the true caption is the nearest among those of all its values. */
export async function zeroShot(
  modality: Encodable,
  count: number,
  held: "only" | "never",
  towers: { encoder: Encoder; text: TextEncoder },
  processor: AnyProcessor,
  words: WordEncoder,
  seed = 4,
): Promise<Map<string, number>> {
  const draw = new Draw(seed, `zero-shot ${modality} ${held}`);
  const scenes = Array.from({ length: count }, () => drawScene(modality, draw, { held }));
  const input = await processed(
    processor,
    scenes.map((scene) => partOf(scene, draw)),
  );
  const media = await rowsOf(() => {
    const x = Tensor.from(input.data, input.shape, { device: towers.encoder.device, dtype: towers.encoder.dtype });
    return towers.encoder.forward(x, input.isLonger ? { isLonger: input.isLonger } : {}).embeds;
  });
  const accuracy = new Map<string, number>();
  for (const attribute of attributesOf(modality)) {
    const asked = scenes.map((scene) => choices(scene, attribute));
    const texts = await rowsOf(
      () =>
        towers.text.forward(
          captionIds(
            asked.flatMap(({ captions }) => captions),
            words,
          ),
        ).embeds,
    );
    let at = 0;
    const right = asked.filter(({ captions, right }, i) => {
      const scores = captions.map(() => cosine(media[i]!, texts[at++]!));
      return scores.indexOf(Math.max(...scores)) === right;
    });
    accuracy.set(attribute, right.length / count);
  }
  return accuracy;
}

async function rowsOf(embed: () => Tensor): Promise<Float32Array[]> {
  const tensor = noGrad(() => scope(embed));
  const [n, width] = tensor.shape as [number, number];
  const flat = (await tensor.data()) as Float32Array;
  tensor.dispose();
  return Array.from({ length: n }, (_, i) => flat.subarray(i * width, (i + 1) * width));
}

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((total, v, i) => total + v * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
