// Pictures padded to squares, as LLaVA-1.5's own code prepares them.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { image } from "../../lib/media/image.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { Case, near } from "../case.js";

const test = suite("padding to squares");
// LLaVA's expand2square (llava/mm_utils.py) with Pillow 12.3, resized to 42 by 42 bicubic, normalised: of two pictures each of three channels at rows 3, 21
// and 39, columns 5, 23 and 41.
// biome-ignore format: rows of a table
const WANT = [
  -0.011254, 0.266116, -0.011254, -0.79957, 0.96684, -0.011254, 1.419391, -0.668184, -0.011254, -0.356375, 1.459565, -0.011196, 0.003812, -0.776592,
  -0.011196, 0.934293, 2.044868, -0.011196, 1.520214, -0.342615, -0.001333, -0.499035, 1.577094, -0.001333, -0.456375, 0.496369, -0.001333,
  -0.011254, -0.011254, -0.011254, -0.493003, -0.084247, 0.368305, -0.011254, -0.011254, -0.011254, -0.011196, -0.011196, -0.011196, 0.228928, 1.489581,
  -1.031724, -0.011196, -0.011196, -0.011196, -0.001333, -0.001333, -0.001333, -0.086653, -0.399495, -0.570136, -0.001333, -0.001333, -0.001333,
];
const SUMS = [-1.0501, 322.5025, 218.4863, -232.7856, 171.3442, 92.5534];
const c = new Case("llava");
const { folder } = c;
const own = (name: string) => join(folder, name);
const parts = () => (c.info.images as string[]).slice(0, 2).map((file) => image(own(file)));

test("a picture stands in the middle of a square of the mean colour", async () => {
  if (folder !== fileURLToPath(new URL("../fixtures/llava", import.meta.url))) return; // the numbers are of these pictures
  const { data, shape } = await ImageProcessor.fromPretrained(folder, { pad: true }).process(parts());
  assert.equal(shape, [2, 3, 42, 42]);
  const at = (n: number, row: number, column: number) => data[(n * 42 + row) * 42 + column]!;
  const got = [0, 1, 2, 3, 4, 5].flatMap((n) => [3, 21, 39].flatMap((row) => [5, 23, 41].map((column) => at(n, row, column))));
  near(got, WANT, 2e-6, "values");
  const sums = SUMS.map((_, n) => data.subarray(n * 42 * 42, (n + 1) * 42 * 42).reduce((a, b) => a + b, 0));
  near(sums, SUMS, 1e-3, "sums");
});

test("a folder may ask for it: LlavaImageProcessor with do_pad; padding to a size of its own is refused", async () => {
  const side = (c.json() as { vision_config: { image_size: number } }).vision_config.image_size;
  const config = { image_mean: [0.48145466, 0.4578275, 0.40821073], size: { shortest_edge: side }, crop_size: side, do_pad: true };
  const llava = { ...config, image_processor_type: "LlavaImageProcessor" };
  const asked = await new ImageProcessor(llava).process(parts());
  assert.equal(asked.data, (await ImageProcessor.fromPretrained(folder, { pad: true }).process(parts())).data);
  assert.not.equal(asked.data, (await ImageProcessor.fromPretrained(folder).process(parts())).data);
  const refused = (error: { code: string }) => error.code === "E_MEDIA_OPTION";
  assert.throws(() => new ImageProcessor({ ...llava, pad_size: { height: 64, width: 64 } }), refused);
});

test.run();
