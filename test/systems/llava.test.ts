// LLaVA 1 and 1.5 as they are published: every layout of their tensors, against transformers' own numbers.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { exportLlava } from "../../lib/anymal/export-llava.js";
import { backward, freeTape, noGrad } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { SafetensorsFile } from "../../lib/io/safetensors.js";
import { image } from "../../lib/media/image.js";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import { openBridge } from "../../lib/models/bridges/kind.js";
import { Case, here, near } from "../case.js";
import { sweep } from "../faults.js";
import { batchOfIds, inAllLayouts, LAYOUT_NAMES } from "./llava-cases.js";

const test = suite("LLaVA");
const c = new Case("llava");
const { tokens_per_image: rows, image_token_id: token } = c.info as { tokens_per_image: number; image_token_id: number };
const linear = new Case("llava-linear");
let folders: Map<string, string>;
test.before(async () => {
  folders = await inAllLayouts(c);
});
test.after(() => rmSync(dirname(folders.get("llava-hf")!), { recursive: true }));

const load = (folder: string, more = {}) => AnyMAL.fromPretrained(folder, { device: here, ...more });
const open = (of: Case) => (of === c ? load(c.folder) : load(of.folder, { llm: join(of.folder, "llm") }));
const pictures = (of: Case) => (of.info.images as string[]).map((file) => image(join(of.folder, file)));

/** The case's rows with its pictures through the model's own encoder. */
async function batch(model: AnyMAL, of: Case, rows: number[][], mask: number[][], which: number[], labels?: number[][]) {
  const all = pictures(of);
  const features = await model.features(which.map((i) => all[i]!));
  const data = Float32Array.from(features.flatMap(({ data }) => [...data]));
  const x = Tensor.from(data, [features.length, ...features[0]!.shape], { device: here });
  return batchOfIds(rows, mask, of.info.image_token_id, of.info.tokens_per_image, x, labels);
}

for (const of of [c, linear]) {
  test(`${of.name}: features, logits, loss and gradients are transformers'`, async () => {
    using model = await open(of);
    const inOrder = (of.info.picture_order_in_batch as number[]).map((i) => pictures(of)[i]!);
    const all = await model.features(inOrder);
    near(
      all.flatMap(({ data }) => [...data]),
      of.values("out.vision_features"),
      of.atol("out.vision_features"),
      "features",
    );
    assert.is(model.projector("image").rows(all[0]!.shape), of.info.tokens_per_image);
    const [ids, mask] = [of.rows("in.input_ids"), of.rows("in.attention_mask")];
    const made = await batch(model, of, ids, mask, of.info.picture_order_in_batch, of.rows("in.labels"));
    const projector = model.projector("image");
    openBridge(projector, true);
    const { logits, loss } = model.network.forward(made, { logits: "all" });
    await of.close("out.logits", logits!, { mask });
    await of.close("out.loss", loss!);
    backward(loss!);
    const named = new Map(projector.namedParameters());
    const wanted = of.names("grad.multi_modal_projector.");
    assert.is(wanted.length, named.size);
    for (const name of wanted) {
      const own = name.slice("grad.multi_modal_projector.".length);
      await of.close(name, named.get(of === linear ? `proj.${own}` : own)!.grad!);
    }
    freeTape(logits!); // backward has walked from the loss alone
    const grads = [...named.values()].flatMap(({ grad }) => (grad ? [grad] : []));
    for (const tensor of [logits!, loss!, ...grads, ...Object.values(made.features).flat()]) tensor.dispose();
  });

  test(`${of.name}: greedy answers are transformers', alone and padded on the left`, async () => {
    using model = await open(of);
    const { single, batch_left_padded: padded, max_new_tokens: maxNewTokens } = of.info.generate;
    const answers = async (rows: number[][], which: number[]) => {
      const made = await batch(
        model,
        of,
        rows,
        rows.map((row) => row.map((id) => Number(id !== padId(of)))),
        which,
      );
      const { inputsEmbeds, spliced } = noGrad(() => model.network.embed(made, { side: "left" }));
      const options = { maxNewTokens, eosTokenId: [] };
      const written = await model.llm.generate({ inputsEmbeds, attentionMask: spliced.attentionMask }, options);
      for (const tensor of [inputsEmbeds, ...Object.values(made.features).flat()]) tensor.dispose();
      return written;
    };
    for (const one of single) assert.equal(await answers([one.prompt], one.pictures), [one.new_ids]);
    assert.equal(await answers(padded.input_ids, padded.pictures), padded.new_ids);
  });
}
const padId = (of: Case): number => of.info.generate.batch_left_padded.input_ids[0][0];

test("a folder of LLaVA is asked about a picture in words, as its processor writes them", async () => {
  using model = await load(c.folder);
  const { single } = c.info.generate;
  for (const [i, one] of single.entries()) {
    const { text } = c.info.prompts[i];
    const question = text.replace(/^USER: (<image>\n)+/, "").replace(/ ASSISTANT:$/, "");
    const media = one.pictures.map((n: number) => pictures(c)[n]!);
    const seen = model.llm.forward.bind(model.llm);
    const lengths: number[] = [];
    model.llm.forward = (input, options) => {
      if (input.inputsEmbeds) lengths.push(input.inputsEmbeds.shape[1]!);
      return seen(input, options);
    };
    let answer = "";
    for await (const piece of model.generate([...media, question], { maxNewTokens: c.info.generate.max_new_tokens, eosTokenId: [] }))
      answer += piece;
    assert.is(lengths[0], one.prompt.length, "the prompt's own ids");
    assert.is(answer, one.text);
    model.llm.forward = seen;
  }
  const error = await model.generateAll(["<image>\nWhat is it?"]).catch((e) => e);
  assert.is(error.code, "E_PROMPT");
  assert.match(error.message, /"<image>"; the prompt's format writes it: pass the medium itself in its place/);
});

test("five layouts of one set of weights: each told by its name, and the logits are the same to the bit", async () => {
  assert.equal([...folders.keys()], LAYOUT_NAMES);
  const { layoutName } = await import("../../lib/systems/layouts/index.js");
  const { Checkpoint } = await import("../../lib/io/checkpoint.js");
  let want: Uint8Array | undefined;
  for (const [layout, folder] of folders) {
    using file = Checkpoint.open(folder);
    assert.is(layoutName(file, JSON.parse(readFileSync(join(folder, "config.json"), "utf8"))), layout);
    using model = await load(folder);
    assert.is(model.layout, layout);
    const [ids, mask] = [c.rows("in.input_ids"), c.rows("in.attention_mask")];
    const made = await batch(model, c, ids, mask, c.info.picture_order_in_batch);
    const { logits } = noGrad(() => model.network.forward(made, { loss: false, logits: "all" }));
    await c.close("out.logits", logits!, { mask });
    const bytes = new Uint8Array(await logits!.bytes());
    for (const tensor of [logits!, ...Object.values(made.features).flat()]) tensor.dispose();
    want ??= bytes;
    assert.equal(Buffer.compare(bytes, want), 0, layout);
  }
});

test("its language model alone opens from each layout", async () => {
  const ids = [[1, 5, 9, 17]];
  let want: Uint8Array | undefined;
  for (const [layout, folder] of folders) {
    using llm = await AutoModelForCausalLM.fromPretrained(folder, { device: here });
    const { logits } = noGrad(() => llm.forward({ inputIds: ids }));
    const bytes = new Uint8Array(await logits!.bytes());
    logits!.dispose();
    want ??= bytes;
    assert.equal(Buffer.compare(bytes, want), 0, layout);
  }
});

test("saved as anymal's own folder it answers the same, and goes on being what it was", async () => {
  const folder = folders.get("llava-hf-4.52")!;
  const prompt = [pictures(c)[0]!, "What is in the picture?"];
  let want: string[];
  {
    using model = await load(folder);
    want = await model.generateAll([prompt], { maxNewTokens: 6 });
    await model.save(join(dirname(folder), "own"));
  }
  const { system, prompt: format } = JSON.parse(readFileSync(join(dirname(folder), "own", "anymal.json"), "utf8"));
  assert.equal([system, format.written], ["llava-1.5", { token: "<image>" }]);
  using again = await load(join(dirname(folder), "own"));
  assert.equal(await again.generateAll([prompt], { maxNewTokens: 6 }), want);
});

for (const name of ["llava-layers", "llava-full", "llava-siglip"])
  test(`${name}: feature layers, rows and towers as transformers takes them`, async () => {
    const own = new Case(name);
    using model = await load(own.folder);
    const [feature] = await model.features([image(join(own.folder, own.info.image))]);
    const x = Tensor.from(feature!.data, [1, ...feature!.shape], { device: here });
    const ids = own.rows("in.input_ids");
    const made = batchOfIds(ids, [ids[0]!.map(() => 1)], own.info.image_token_id, own.info.tokens_per_image, x);
    const { logits } = noGrad(() => model.network.forward(made, { loss: false, logits: "all" }));
    await own.close("out.logits", logits!);
    for (const tensor of [logits!, x]) tensor.dispose();
  });

test("rows of the head that pad the vocabulary are never drawn, though they be the largest", async () => {
  using model = await load(c.folder);
  const ask = () => model.generateAll([[pictures(c)[0]!, "What is in the picture?"]], { maxNewTokens: 10, eosTokenId: [] });
  const want = await ask();
  const head = model.llm.headWeight;
  const [rows, width] = head.shape as [number, number];
  assert.ok(rows > model.tokenizer.vocabSize && c.info.tokenizer_length === model.tokenizer.vocabSize);
  const data = (await head.data()) as Float32Array;
  const first = c.info.generate.single[0].new_ids[0];
  for (let i = 0; i < width; ++i) data[(rows - 1) * width + i] = 4 * data[first * width + i]!;
  head.write(data);
  assert.equal(await ask(), want);
});

test("inspect says what it is, in which layout", async () => {
  const { inspectFolder } = await import("../../lib/cli/inspect-folder.js");
  for (const [layout, folder] of folders) {
    const { kind, about, facts } = await inspectFolder(folder);
    const told = Object.fromEntries(facts);
    assert.equal([kind, told.layout, told.system], ["multimodal model", layout, "llava-1.5"]);
    assert.match(about, new RegExp(`in the layout ${layout}$`));
    assert.match(
      String(told["rows of image"]),
      layout === "llava-original" ? /as its encoder says/ : new RegExp(`^${rows}, in the place of <image>`),
    );
  }
});

test("written for transformers it has the hub's names and sizes, and reads back to the same logits", async () => {
  const out = join(dirname(folders.get("llava-hf")!), "exported");
  const logitsOf = async (model: AnyMAL) => {
    const [ids, mask] = [c.rows("in.input_ids"), c.rows("in.attention_mask")];
    const made = await batch(model, c, ids, mask, c.info.picture_order_in_batch);
    const { logits } = noGrad(() => model.network.forward(made, { loss: false, logits: "all" }));
    const bytes = Buffer.from((await logits!.bytes()) as ArrayBuffer);
    for (const tensor of [logits!, ...Object.values(made.features).flat()]) tensor.dispose();
    return bytes;
  };
  for (const layout of ["llava-hf-5.6", "llava-original"] as const) {
    using model = await load(folders.get(layout)!);
    if (layout === "llava-original") model.prompt.written!.token = "<image>";
    await exportLlava(model, out);
    using again = await load(out);
    assert.is(again.layout, "llava-hf");
    assert.equal(Buffer.compare(await logitsOf(again), await logitsOf(model)), 0);
    const [own, hub] = [out, join(c.folder, "hub")].map((folder) => new SafetensorsFile(join(folder, "model.safetensors")));
    const shapes = ({ entries }: SafetensorsFile) => [...entries].map(([name, { shape, dtype }]) => `${name} ${dtype} ${shape}`).sort();
    assert.equal(shapes(own!), shapes(hub!));
    for (const file of [own!, hub!]) file.close();
  }
  using model = await open(linear);
  const error = await exportLlava(model, out).catch((e) => e);
  assert.is(error.code, "E_VALUE");
  assert.match(error.message, /an MLP.*got "linear"; transformers has no class/);
});

test("whatever step of reading one fails, nothing stays", () => sweep("LLaVA", async () => (await load(c.folder)).dispose()));

test("config and processor that disagree, names of no known layout, a tower that is not there: coded, with the remedy", async () => {
  const folder = folders.get("llava-hf")!;
  const original = folders.get("llava-original")!;
  const refused = async (where: string, name: string, change: object, code: string, pattern: RegExp) => {
    const path = join(where, name);
    const before = readFileSync(path);
    writeFileSync(path, JSON.stringify({ ...JSON.parse(before.toString()), ...change }));
    const error = await load(where).then(
      (model) => model.dispose(),
      (e) => e,
    );
    writeFileSync(path, before);
    assert.is(error?.code, code, `${JSON.stringify(change)}: ${error?.stack}`);
    assert.match(error.message, pattern);
    assert.match(error.message, /; \S/, "no remedy");
  };
  const { vision_config: vision } = c.json() as { vision_config: { patch_size: number; image_size: number; hidden_size: number } };
  const [half, side] = [vision.patch_size / 2, vision.image_size - vision.patch_size];
  for (const [file, change, pattern] of [
    [
      "config.json",
      { vision_feature_select_strategy: "full", image_seq_length: rows + 1 },
      /"vision_feature_select_strategy" to be "default", as in processor_config\.json/,
    ],
    ["config.json", { vision_feature_select_strategy: "some" }, /"default" or "full"/],
    ["config.json", { image_seq_length: rows + 1 }, new RegExp(`"image_seq_length" to be ${rows}`)],
    ["config.json", { vision_feature_layer: [] }, /"vision_feature_layer"/],
    ["config.json", { vision_feature_layer: [-2, -1] }, new RegExp(`such that the bridge reads ${vision.hidden_size} numbers a row`)],
    ["config.json", { image_token_index: token - 1 }, new RegExp(`"image_token_index" to be ${token}, the tokenizer's id of <image>`)],
    [
      "config.json",
      { vision_config: { ...vision, patch_size: half }, image_seq_length: (vision.image_size / half) ** 2 },
      new RegExp(`"patch_size" to be ${vision.patch_size}, as in processor_config\\.json`),
    ],
    ["processor_config.json", { num_additional_image_tokens: {} }, /num_additional_image_tokens.*an integer/],
    [
      "processor_config.json",
      { num_additional_image_tokens: 0 },
      new RegExp(`${rows - 1} rows of processor_config\\.json.*set num_additional_image_tokens to 1`),
    ],
    ["processor_config.json", { image_token: "<picture>" }, /the id of <picture>, which the tokenizer lacks/],
    ["preprocessor_config.json", { crop_size: { height: side, width: side } }, new RegExp(`"image_size" to be ${side}`)],
  ] as const)
    await refused(folder, file, change, "E_CONFIG", pattern);
  await refused(original, "config.json", { mm_projector_type: "mlp3x_gelu" }, "E_CONFIG", /"linear" or "mlp2x_gelu"/);
  await refused(original, "config.json", { image_aspect_ratio: "anyres" }, "E_CONFIG", /tiles are LLaVA-NeXT's/);
  await refused(
    original,
    "config.json",
    { mm_vision_tower: "/nowhere/clip" },
    "E_CHECKPOINT",
    /pass where it is now: \{ encoders: \{ image: FOLDER \} \}/,
  );
  for (const where of ["llava-hf", "llava-hf-4.52"]) {
    const path = join(folders.get(where)!, "model.safetensors");
    const before = readFileSync(path);
    for (const [from, to, pattern] of [
      ["multi_modal_projector", "multi_model_projectors".slice(0, 21), /E_STATE|layouts llava-hf, /],
      ["input_layernorm", "output_layernor", /every weight of the model|left over/],
    ] as const) {
      const text = before.toString("latin1").replaceAll(from, to);
      assert.is(text.length, before.length);
      writeFileSync(path, Buffer.from(text, "latin1"));
      const error = await load(folders.get(where)!).then(
        (model) => model.dispose(),
        (e) => e,
      );
      assert.is(error?.code, "E_STATE", error?.stack);
      assert.match(error.message, pattern);
    }
    writeFileSync(path, before);
  }
});

test.run();
