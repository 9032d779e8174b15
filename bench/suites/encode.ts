// Encoders of random weights over what their processors give: CLIP ViT-L/14 at 336, CLAP's HTSAT and IMU2CLIP, in items per second, beside transformers' and
// torch's. Arithmetic that is counted is held against the register peak.

import { noGrad, Tensor } from "../../lib/index.js";
import { ClapAudioModel } from "../../lib/models/clap-audio.js";
import { parseClapAudioConfig } from "../../lib/models/clap-config.js";
import { parseClipVisionConfig } from "../../lib/models/clip-config.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import type { Json } from "../../lib/models/config.js";
import type { Encoder } from "../../lib/models/encoder.js";
import { Imu2ClipModel, parseImu2ClipConfig } from "../../lib/models/imu2clip.js";
import { Weights } from "../../lib/nn/weights.js";
import { randomNormal } from "../../lib/ops/index.js";
import { now } from "../clock.js";
import { contest, type Figures } from "../contest.js";
import { atEachLevel, type Place } from "../levels.js";
import type { SuiteOptions } from "../suite.js";

const TURNS = 5;

interface EncoderCase {
  name: string;
  model: "clip" | "clap" | "imu2clip";
  config: Json;
  input: readonly [items: number, ...number[]];
  dtypes: readonly ("f32" | "bf16")[];
  make: (at: Weights, config: Json) => Encoder;
  /** Of an item. */
  flops?: number;
}

export default function encode(options: SuiteOptions): Promise<Figures[]> {
  return atEachLevel(options, async (place, report) => {
    for (const c of casesOf(options.size === "tiny"))
      for (const dtype of c.dtypes) {
        const name = `${c.name}, ${dtype}, ${c.input[0]} at once`;
        if (name.includes(options.filter)) report(await measure(options, place, c, dtype, name));
      }
  });
}

async function measure(options: SuiteOptions, { device, level, peaks }: Place, c: EncoderCase, dtype: "f32" | "bf16", name: string) {
  const encoder = c.make(Weights.fresh({ device, dtype, trainable: false }), c.config);
  using x = Tensor.full([...c.input], 0, { device, dtype });
  randomNormal(x, 0, 1, 1, 0);
  const sample = async () => {
    const start = now();
    const outputs = noGrad(() => encoder.forward(x));
    await device.synchronize();
    const seconds = now() - start;
    for (const tensor of Object.values(outputs) as (Tensor | undefined)[]) tensor?.dispose();
    return seconds;
  };
  const [items] = c.input;
  const request = { what: "encoder", model: c.model, config: c.config, dtype, input: c.input };
  const torch = (await options.rivals?.torch([request, c.model === "imu2clip" ? "its layers" : "transformers"])) ?? [];
  const told = {
    case: name,
    level,
    unit: "items/s",
    of: (seconds: number) => items / seconds,
    limit: c.flops === undefined ? undefined : { name: `${dtype} register peak`, seconds: (items * c.flops) / peaks[dtype] },
    more: (seconds: number) => ({ "ms per item": (1000 * seconds) / items }),
  };
  const figures = await contest(told, sample, [torch], options.turns ?? TURNS);
  for (const side of torch) await side.drop();
  encoder.dispose();
  return figures;
}

function casesOf(tiny: boolean): EncoderCase[] {
  const clip = tiny
    ? { hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4, image_size: 56, patch_size: 14 }
    : { hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 24, num_attention_heads: 16, image_size: 336, patch_size: 14 };
  const width = tiny ? 16 : 96;
  const clap = {
    ...{
      spec_size: 256,
      num_mel_bins: 64,
      patch_embeds_hidden_size: width,
      hidden_size: 8 * width,
      depths: tiny ? [1, 1, 1, 1] : [2, 2, 6, 2],
    },
    ...{ num_attention_heads: tiny ? [1, 2, 4, 8] : [4, 8, 16, 32], enable_fusion: false, fusion_type: null, num_hidden_layers: 4 },
  };
  const imu = { channels: 6, width: 32, hidden: tiny ? 32 : 512, window_samples: 1000 };
  return [
    {
      name: `CLIP ViT${tiny ? "" : "-L"}/14 at ${clip.image_size}`,
      model: "clip",
      config: clip,
      input: [tiny ? 1 : 2, 3, clip.image_size, clip.image_size],
      dtypes: ["bf16", "f32"],
      make: (at, json) =>
        new ClipVisionModel(at, parseClipVisionConfig({ model_type: "clip_vision_model", architectures: ["CLIPVisionModel"], ...json })),
      flops: clipFlops(clip),
    },
    {
      name: `CLAP HTSAT, ${width} wide, 10 s`,
      model: "clap",
      config: clap,
      input: [tiny ? 1 : 2, 1, 1001, 64],
      dtypes: ["f32"],
      make: (at, json) => new ClapAudioModel(at, parseClapAudioConfig({ model_type: "clap_audio_model", ...json })),
    },
    {
      name: "IMU2CLIP, 5 s",
      model: "imu2clip",
      config: imu,
      input: [tiny ? 2 : 32, 6, 1000],
      dtypes: ["f32"],
      make: (at, json) => new Imu2ClipModel(at, parseImu2ClipConfig({ model_type: "imu2clip", ...json })),
    },
  ];
}

/** Products of the blocks and of the patches. */
function clipFlops(c: {
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  image_size: number;
  patch_size: number;
}): number {
  const [C, patches] = [c.hidden_size, (c.image_size / c.patch_size) ** 2];
  const tokens = patches + 1;
  const block = 2 * tokens * (4 * C * C + 2 * C * c.intermediate_size) + 4 * tokens * tokens * C;
  return c.num_hidden_layers * block + 2 * patches * C * 3 * c.patch_size ** 2;
}
