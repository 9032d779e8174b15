// Otter from end to end: how its turns are written, held against its own string and its own rule of what counts; trained, saved, resumed, asked; and its folder,
// under the names that its code gives the tensors, from the pickle to the answer.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { weightsOf } from "../../lib/anymal/parts.js";
import { conversationOf, type EncodedPrompt, encodePrompt } from "../../lib/anymal/prompt.js";
import { inspectFolder } from "../../lib/cli/inspect-folder.js";
import { noGrad } from "../../lib/core/autograd.js";
import type { Tensor } from "../../lib/core/tensor.js";
import { readConversations } from "../../lib/data/conversations.js";
import { writeMimicIt } from "../../lib/data/mimic-it.js";
import type { Row, Turn } from "../../lib/data/row.js";
import { convertCheckpoint } from "../../lib/io/convert.js";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { instruct } from "../../lib/train/instruct.js";
import { blink, captions, square, type Toy, toy } from "../anymal/toy.js";
import { Case, caseNames, here } from "../case.js";
import { fresh, remove, root, type Tensors, tensorsOf, torchFile } from "../io/torch-case.js";
import { all, rejection } from "../train/stages.js";

const test = suite("Otter");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => {
  world.remove();
  remove();
});

const HEADS = { heads: 8, dimHead: 2 };
const assembled = () =>
  AnyMAL.assemble({
    ...{ llm: world.llm, device: here, system: "otter", quantization: "none" },
    modalities: { image: { encoder: world.clip, projector: { type: "resampler", form: "openflamingo", layers: 2, tokens: 3, ...HEADS, gives: "beside", normalize: false } } }, // biome-ignore format: one line
    adapters: { "gated-cross-attention": { every: 1, ...HEADS } },
  });

const FORMAT = {
  written: { id: "<image>", ask: "User: ", asked: " GPT:", answer: "<answer>", end: "<|endofchunk|>", place: "turn" },
} as const;
const ADDED = ["<|endofchunk|>", "<image>", "<answer>"];
const PICTURE = -1;
const [user, gpt] = [
  (...content: Turn["content"][number][]): Turn => ({ role: "user", content }),
  (text: string): Turn => ({ role: "assistant", content: [text] }),
];
const flat = ({ parts }: EncodedPrompt): number[] => parts.flatMap((part) => ("ids" in part ? Array.from(part.ids) : [PICTURE]));
const labels = ({ parts }: EncodedPrompt): number[] =>
  parts.flatMap((part) => ("ids" in part ? Array.from("labels" in part && part.labels ? part.labels : Array.from(part.ids, () => -100)) : [])); // biome-ignore format: one line

/** What Otter's code encodes, with the token of a picture behind it: its string, by the tokenizer alone. */
const published = (tokenizer: Tokenizer, text: string): number[] => {
  const mark = tokenizer.specialTokens.get("<image>") as number;
  const begin = tokenizer.bosToken === undefined ? "" : tokenizer.bosToken;
  return tokenizer.encode(begin + text, { addSpecialTokens: false }).flatMap((id) => (id === mark ? [PICTURE, id] : [id]));
};
/** Its rule: of the tokens, those behind each <answer>, the next <|endofchunk|> included. */
function counted(ids: readonly number[], answer: number, end: number): number[] {
  let inside = false;
  return ids.map((id) => {
    const own = inside;
    if (id === end) inside = false;
    if (id === answer) inside = true;
    return own ? id : -100;
  });
}

for (const name of caseNames(/^tokenizer-/))
  test(`${name}: turns are its string, whatever chat template there is, and answers alone count`, async () => {
    const tokenizer = await Tokenizer.load(new Case(name).folder, { addedTokens: ADDED });
    const rows = Number.MAX_SAFE_INTEGER;
    const read = (turns: readonly Turn[], generation: boolean) =>
      encodePrompt(tokenizer, conversationOf(turns, FORMAT), { ...FORMAT, generation, rows });
    const example = [user("what is this?", square("red")), gpt("a red thing")];
    const asked = [...example, user(square("blue"), " and this? ")];
    const whole = read([...asked, gpt("blue")], false);
    const [answer, end] = ["<answer>", "<|endofchunk|>"].map((token) => tokenizer.specialTokens.get(token)) as [number, number];
    // Where a word begins with its blank after a control token anyway, a blank before it would be a token of its own.
    const gap = tokenizer.encode("<answer>a", { addSpecialTokens: false }).at(-1) === tokenizer.encode("x a").at(-1) ? "" : " ";
    const chunk = (question: string, text: string) => `<image>User: ${question} GPT:<answer>${gap}${text}<|endofchunk|>`;
    assert.equal(flat(whole), published(tokenizer, chunk("what is this?", "a red thing") + chunk("and this?", "blue")));
    const ids = flat(whole).filter((id) => id !== PICTURE);
    assert.equal(labels(whole), counted(ids, answer, end));
    const prompt = flat(read(asked, true));
    assert.equal(prompt, flat(whole).slice(0, prompt.length));
    assert.equal([prompt.at(-1), flat(whole).length > prompt.length + 1], [answer, true]);
    // Written by hand, as data of the system's own may be, it is not written twice.
    assert.equal(flat(read([user(square("red"), "User: so? GPT:"), gpt("yes")], false)), published(tokenizer, chunk("so?", "yes")));
  });

test("MIMIC-IT's related instructions stand before their own as examples, each as its string", async () => {
  const [instructions, images] = [join(root, "LA_instructions.json"), join(root, "LA.json")];
  const one = (instruction: string, answer: string, image_ids: string[], rel_ins_ids: string[] = []) => ({ instruction, answer, image_ids, rel_ins_ids }); // biome-ignore format: one line
  const data = {
    a: one("what is it?", "a cat", ["1"]),
    b: one(" and here? ", "two dogs", ["2", "1"]),
    c: one("so?", "yes", ["2"], ["b", "a"]),
  };
  writeFileSync(instructions, JSON.stringify({ meta: {}, data }));
  writeFileSync(images, JSON.stringify({ 1: Buffer.from("one").toString("base64"), 2: Buffer.from("two").toString("base64") }));
  await writeMimicIt(instructions, images, join(root, "mimic"));
  const row = (await readConversations(join(root, "mimic", "rows.jsonl"))).find(({ turns }) => turns.length > 2)!;
  const tokenizer = await Tokenizer.load(world.llm, { addedTokens: ADDED });
  const read = encodePrompt(tokenizer, conversationOf(row.turns, FORMAT), { ...FORMAT, rows: tokenizer.vocabSize });
  const chunk = (pictures: number, { instruction, answer }: typeof data.a) =>
    `${"<image>".repeat(pictures)}User: ${instruction.trim()} GPT:<answer>${answer}<|endofchunk|>`;
  assert.equal(flat(read), published(tokenizer, chunk(2, data.b) + chunk(1, data.a) + chunk(1, data.c)));
});

test("a format that is none is refused", async () => {
  const wrong = (written: object) =>
    AnyMAL.assemble({ ...{ llm: world.llm, device: here, system: "otter" }, modalities: { image: { encoder: world.clip } }, prompt: { written } }); // biome-ignore format: one line
  assert.match((await rejection(() => wrong({ place: "last" }))).message, /one of first, turn, or left out/);
  assert.match((await rejection(() => wrong({ asks: "x" }))).message, /did you mean "ask"/);
  using model = await AnyMAL.assemble({ ...{ llm: world.llm, device: here }, modalities: { image: { encoder: world.clip } }, prompt: { written: { answer: "<a>" } } }); // biome-ignore format: one line
  assert.match((await rejection(() => model.generateAll(["x"]))).message, /a tokenizer with the control token "<a>"/);
});

const taught = { data: captions(), batch: 4, warmupSteps: 0, learningRate: 1e-2, schedule: "constant" } as const;
const PROMPTS = [
  ["see ", square("red")],
  [square("blue"), "see"],
  "see ",
  [user(square("red"), "see"), gpt("red"), user(square("blue"), "see")],
];
const ask = (model: AnyMAL) => model.generateAll(PROMPTS, { maxNewTokens: 6 });

test("taught, stopped, resumed and loaded, it answers as one that went through", async () => {
  const [whole, halves] = [world.path("whole"), world.path("halves")];
  using model = await assembled();
  const steps = await all(instruct(model, { ...taught, steps: 4, output: whole }));
  using other = await assembled();
  const stop = new AbortController();
  for await (const { step } of instruct(other, { ...taught, steps: 4, output: halves, signal: stop.signal })) if (step === 2) stop.abort();
  using again = await assembled();
  const rest = await all(instruct(again, { ...taught, steps: 4, output: halves, resume: true }));
  assert.ok(rest.length >= 1 && rest.length < 4);
  assert.equal(
    rest.map(({ loss }) => loss),
    steps.slice(-rest.length).map(({ loss }) => loss),
  );
  const want = await ask(model);
  assert.equal(await ask(again), want);
  using loaded = await AnyMAL.fromPretrained(whole, { device: here });
  assert.equal([loaded.system, loaded.addedTokens, loaded.prompt], ["otter", ADDED, FORMAT]);
  assert.equal(await ask(loaded), want);
});

test("clips have a row of the resampler's table for each frame, and stand as pictures do", async () => {
  const made = (video: object) =>
    AnyMAL.assemble({
      ...{ llm: world.llm, device: here, system: "otter", quantization: "none", modalities: { video: { encoder: world.clip, ...video } } },
      adapters: { "gated-cross-attention": { every: 1, ...HEADS } },
    });
  using model = await made({});
  const { projector, frames } = model.encoder("video").setup;
  assert.equal([frames, projector.type === "resampler" && projector.frames], [32, 32]);
  const [answer] = await model.generateAll([[blink("red", "blue"), "see"]], { maxNewTokens: 3 });
  using few = await made({ frames: 2 });
  await all(instruct(few, { ...taught, data: clips, steps: 2 }));
  assert.type(answer, "string");
  const said = (from: "red" | "blue", to: "red" | "blue") => few.features([blink(from, to)]).then(([one]) => one!.shape);
  assert.equal(await said("red", "blue"), [2, 4, 16]);
});
const clips: Row[] = [["red", "blue"] as const, ["blue", "red"] as const].map(([from, to], i) => ({
  where: `clips:${i}`,
  turns: [user(blink(from, to), "what changes?"), gpt(`${from} to ${to}`)],
}));

/** Each tensor under the name that Otter's modeling code has for it. */
async function otterNames(model: AnyMAL): Promise<Tensors> {
  const named: [string, Tensor][] = [
    ...Array.from(weightsOf(model.llm), ([name, p]): [string, Tensor] => [name.replace(/^llm\./, "lang_encoder.").replace(/(layers\.\d+)\./, "$1.decoder_layer."), p]), // biome-ignore format: one line
    ...Array.from(model.encoder("image").encoder.namedParameters(), ([name, p]): [string, Tensor] => [`vision_encoder.${name}`, p]),
    ...Array.from(model.projector("image").namedParameters(), ([name, p]): [string, Tensor] => [name.replace("resampler.", "perceiver.").replace(/(layers\.\d+)\.0\./, "$1.").replace(/(layers\.\d+)\.1\./, "$1.feed_forward."), p]), // biome-ignore format: one line
    ...Array.from(model.adapters.get("gated-cross-attention")!.namedParameters(), ([name, p]): [string, Tensor] => [`lang_encoder.${name.replace("gated_cross_attn", "gated_cross_attn_layer").replace(".ff.", ".feed_forward.")}`, p]), // biome-ignore format: one line
  ];
  const tensors: Tensors = new Map();
  // Its tower is CLIPVisionModel, without the projection.
  for (const [name, p] of named.filter(([name]) => !name.endsWith("visual_projection.weight"))) tensors.set(name, { dtype: "F32", shape: p.shape, bytes: new Uint8Array(new Float32Array((await p.data()) as Float32Array).buffer) }); // biome-ignore format: one line
  return tensors;
}

async function otterFolder(model: AnyMAL, change: object = {}, more: Tensors = new Map()): Promise<string> {
  const folder = join(root, `published-${readdirSync(root).length}`);
  mkdirSync(folder);
  torchFile(join(folder, "pytorch_model.bin"), new Map([...(await otterNames(model)), ...more]));
  const json = (path: string) => JSON.parse(readFileSync(path, "utf8"));
  const text = { ...json(join(world.llm, "config.json")), vocab_size: model.llm.config.vocabSize, _name_or_path: "llama" };
  const config = { model_type: "otter", architectures: ["OtterForConditionalGeneration"], cross_attn_every_n_layers: 1, only_attend_previous: true, use_media_placement_augmentation: true, torch_dtype: "float32", text_config: text, vision_config: json(join(world.clip, "config.json")) }; // biome-ignore format: one line
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, ...change }));
  copyFileSync(join(world.clip, "preprocessor_config.json"), join(folder, "preprocessor_config.json"));
  for (const name of readdirSync(world.llm))
    if (/^(tokenizer|special_tokens)/.test(name)) copyFileSync(join(world.llm, name), join(folder, name));
  const to = fresh();
  const { table } = await convertCheckpoint(folder, to);
  assert.is(table, undefined);
  return to;
}

test("its folder: from the pickle under its own names to the same answers, and saved as ours", async () => {
  using model = await assembled();
  await all(instruct(model, { ...taught, steps: 3 }));
  const want = await ask(model);
  using read = await AnyMAL.fromPretrained(await otterFolder(model), { device: here, quantization: "none" });
  assert.equal([read.system, read.layout, read.addedTokens, read.prompt], ["otter", "otter", ADDED, FORMAT]);
  assert.equal(await ask(read), want);
  assert.match((await inspectFolder(read.llmSource.folder)).about, /^otter of .* in the layout otter$/);
  const saved = world.path("saved-published");
  await read.save(saved);
  using ours = await AnyMAL.fromPretrained(saved, { device: here });
  assert.equal(await ask(ours), want);
  // OpenFlamingo's weights as Otter's code writes them: the same tensors, and Flamingo's way of writing.
  using flamingo = await AnyMAL.fromPretrained(await otterFolder(model, { model_type: "flamingo" }), { device: here });
  assert.equal([flamingo.system, flamingo.prompt.written], ["flamingo", { id: "<image>", end: "<|endofchunk|>" }]);
});

for (const name of caseNames(/^(mpt$|llama2$)/))
  test(`${name}: its language model among Otter's names, with what transformers of its day wrote into text_config, computes the same`, async () => {
    const c = new Case(name);
    const folder = fresh();
    mkdirSync(folder);
    const gate = { dtype: "F32", shape: [1], bytes: new Uint8Array(4) };
    const tensors: Tensors = new Map([["perceiver.latents", gate]]);
    for (const [key, one] of tensorsOf(c.folder)) tensors.set(`lang_encoder.${key.replace(/((?:layers|blocks)\.\d+)\./, "$1.decoder_layer.")}`, one); // biome-ignore format: one line
    for (const key of [...tensors.keys()])
      if (/decoder_layer/.test(key)) tensors.set(key.replace(/decoder_layer.*/, "gated_cross_attn_layer.attn_gate"), gate);
    torchFile(join(folder, "pytorch_model.bin"), tensors);
    const old = { bad_words_ids: null, add_cross_attention: false, do_sample: false, id2label: { 0: "LABEL_0" }, length_penalty: 1, max_length: 20, min_length: 0, num_beams: 1, typical_p: 1, top_k: 50, temperature: 1, chunk_size_feed_forward: 0, torchscript: false, use_bfloat16: false }; // biome-ignore format: one line
    writeFileSync(join(folder, "config.json"), JSON.stringify({ model_type: "otter", text_config: { ...old, ...c.json() } }));
    const to = fresh();
    await convertCheckpoint(folder, to);
    using model = await AutoModelForCausalLM.fromPretrained(to, { device: here, dtype: "f32" });
    const mask = c.rows("in.attention_mask.right");
    using logits = noGrad(() => model.forward({ inputIds: c.rows("in.input_ids.right"), attentionMask: mask }, { logits: "all" }).logits!);
    await c.close("out.right.logits", logits, { mask });
  });

test("tensors of strangers, other distances and other tables are told", async () => {
  using model = await assembled();
  const refusedWith = async (change: object, more?: Tensors) => {
    const folder = await otterFolder(model, change, more);
    return rejection(() => AnyMAL.fromPretrained(folder, { device: here }));
  };
  const one = { dtype: "F32", shape: [1], bytes: new Uint8Array(4) };
  assert.match((await refusedWith({}, new Map([["perceptron.x", one]]))).message, /the tensors of Otter.*perceptron\.x/s);
  assert.match((await refusedWith({ cross_attn_every_n_layers: 2 })).message, /cross_attn_every_n_layers.*before layer 0/s);
  const media = { ...one, shape: [1, 1, 16], bytes: new Uint8Array(64) };
  assert.match((await refusedWith({}, new Map([["perceiver.media_time_embs", media]]))).message, /media_time_embs/);
});

test.run();
