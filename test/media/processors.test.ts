// Image and video processors against transformers and OpenCLIP, pixel for pixel: every filter, sizes, crops and switches, every file they are read from.
import { writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { AutoProcessor } from "../../lib/media/auto-processor.js";
import type { Pixels } from "../../lib/media/image.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { VideoProcessor } from "../../lib/media/video-processor.js";
import { Case, caseNames, largest } from "../case.js";
import { rejects, temporaryFolder } from "./media-case.js";

interface Run {
  file: string;
  config: Record<string, unknown>;
  picture?: string;
  frames?: string;
  out: string;
}

async function processorOf({ file, config }: Run) {
  using folder = temporaryFolder();
  writeFileSync(folder.file(file), JSON.stringify(config));
  return await AutoProcessor.fromPretrained(folder.path);
}

/** Equal but for f32's rounding of what is at most 255 / std. */
function same(got: Float32Array, want: ArrayLike<number>, what: string): void {
  assert.is(got.length, want.length, `${what}: another size`);
  const atol = 1e-6 * Math.max(1, largest(want));
  for (let i = 0; i < got.length; ++i)
    if (!(Math.abs(got[i]! - want[i]!) <= atol)) assert.unreachable(`${what}: ${got[i]} at ${i} instead of ${want[i]}`);
}

function picturesOf(c: Case, name: string): Pixels[] {
  const [height, width] = c.shape(name).slice(-3) as [number, number, number];
  const size = height * width * 3;
  const all = c.values(name) as Uint8Array;
  return Array.from({ length: all.length / size }, (_, i) => ({ data: all.slice(i * size, (i + 1) * size), height, width }));
}

for (const name of caseNames(/^image-processors/)) {
  const c = new Case(name);
  const runs = c.info.runs as Run[];
  test(`${name}: ${runs.length} pictures`, async () => {
    assert.ok(runs.length);
    for (const run of runs) {
      const processor = await processorOf(run);
      assert.instance(processor, ImageProcessor);
      const { data, shape } = await (processor as ImageProcessor).pixelValues(picturesOf(c, run.picture as string));
      assert.equal(shape, c.shape(run.out), run.out);
      same(data, c.values(run.out), `${run.out} ${JSON.stringify(run.config)}`);
    }
  });
}

for (const name of caseNames(/^video-processors/)) {
  const c = new Case(name);
  const runs = c.info.runs as Run[];
  test(`${name}: ${runs.length} clips`, async () => {
    assert.ok(runs.length);
    for (const run of runs) {
      const processor = await processorOf(run);
      assert.instance(processor, VideoProcessor);
      const { data, shape } = await (processor as VideoProcessor).clipValues(picturesOf(c, run.frames as string));
      assert.equal([1, ...shape], c.shape(run.out), run.out);
      same(data, c.values(run.out), `${run.out} ${JSON.stringify(run.config)}`);
    }
  });
}

const OPEN_CLIP = (preprocess: object, image_size: unknown = 8) => ({
  model_cfg: { vision_cfg: { image_size } },
  preprocess_cfg: preprocess,
});

test("files that say something else are refused by name", async () => {
  const refused = (file: string, config: Record<string, unknown>, ...words: RegExp[]) =>
    rejects(processorOf({ file, config, out: "" }), "E_MEDIA_OPTION", ...words);
  const own = (config: object, ...words: RegExp[]) =>
    refused("preprocessor_config.json", { image_processor_type: "CLIPImageProcessor", ...config }, ...words);
  await own({ image_processor_type: "Siglip2ImageProcessorFast" }, /NaFlex/);
  await own({ image_processor_type: "toStringImageProcessor" }, /toString/);
  await own({ do_resize: "yes" }, /do_resize/);
  await own({ do_center_crop: 1 }, /do_center_crop/);
  await own({ rescale_factor: "1/255" }, /rescale_factor/);
  await own({ resample: 6 }, /resample/);
  await own({ resample: "bicubic" }, /resample/);
  await own({ size: { height: 1e9, width: 1e9 } }, /size/);
  await own({ size: { shortest_edge: -1 } }, /size/);
  await own({ crop_size: { height: 0, width: 4 } }, /crop_size/);
  await own({ image_std: [0.5, 0, 0.5] }, /image_std/);
  await own({ do_pad: true, pad_size: { height: 8, width: 8 } }, /do_pad/);
  await refused("processor_config.json", { processor_class: "CLIPProcessor" }, /preprocessor_config\.json/);
  await refused("open_clip_config.json", OPEN_CLIP({ resize_mode: "longest" }), /resize_mode/);
  await refused("open_clip_config.json", OPEN_CLIP({}, [8, 9]), /square/);
});

test("null says nothing: the class's own value counts", async () => {
  const settings = [
    "do_resize",
    "do_center_crop",
    "do_rescale",
    "do_normalize",
    "size",
    "crop_size",
    "resample",
    "rescale_factor",
    "image_mean",
    "image_std",
  ];
  const silent = Object.fromEntries(settings.map((key) => [key, null]));
  const pixels = { data: Uint8Array.from({ length: 30 * 20 * 3 }, (_, i) => (i * 7) % 256), width: 30, height: 20 };
  const [a, b] = await Promise.all([new ImageProcessor(silent), new ImageProcessor()].map((p) => p.pixelValues([pixels])));
  assert.equal(a, b);
});

test.run();
