// Put together, saved, read back, asked: the whole model from folders.
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AnswerOptions, AnyMAL } from "../../lib/anymal/anymal.js";
import { ConversationMemory } from "../../lib/anymal/conversation-memory.js";
import type { PromptInput } from "../../lib/anymal/prompt.js";
import type { Turn } from "../../lib/data/row.js";
import { caseFolder, here } from "../case.js";
import { blink, shake, square, type Toy, toy } from "./toy.js";

const test = suite("AnyMAL");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const PROMPTS: readonly PromptInput[] = [
  "hello",
  ["what is it? ", square("red")],
  [square("blue"), " and ", square("green"), ": which one?"],
  [blink("red", "white"), "see ", shake(3), " what of ", square("green")],
  [
    { role: "user", content: ["one ", square("red")] },
    { role: "assistant", content: ["yes"] },
    { role: "user", content: ["more?"] },
  ],
];

async function answer(model: AnyMAL, prompt: PromptInput, options: AnswerOptions = {}): Promise<string> {
  let text = "";
  for await (const piece of model.generate(prompt, { maxNewTokens: 6, ...options })) text += piece;
  return text;
}

test("a batch with left padding answers as each prompt does alone", async () => {
  using model = await AnyMAL.assemble(world.options({ quantization: "none" }));
  const alone: string[] = [];
  for (const prompt of PROMPTS) alone.push(await answer(model, prompt));
  assert.equal(await model.generateAll(PROMPTS, { maxNewTokens: 6 }), alone);
  assert.equal(await model.generateAll(PROMPTS, { maxNewTokens: 6, batch: 2 }), alone);
  assert.ok(new Set(alone).size > 3, `the prompts differ and the answers do not: ${alone}`);
});

test("with a memory, a conversation answers as without, and reads only what is new", async () => {
  using model = await AnyMAL.assemble(world.options({ quantization: "none" }));
  using memory = new ConversationMemory();
  const turns: Turn[] = [];
  const read: number[] = [];
  const forward = model.llm.forward.bind(model.llm);
  model.llm.forward = (input, options) => {
    const length = input.inputsEmbeds?.shape[1];
    if (length) read.push(length); // decode steps come as ids
    return forward(input, options);
  };
  for (const content of [["a ", square("red"), " b"], ["c"], [blink("blue", "red")]]) {
    turns.push({ role: "user", content });
    const expected = await answer(model, turns);
    const text = await answer(model, turns, { memory });
    assert.is(text, expected);
    turns.push({ role: "assistant", content: [text] });
  }
  const whole = read.filter((_, i) => i % 2 === 0);
  const fresh = read.filter((_, i) => i % 2 === 1);
  assert.is(fresh[0], whole[0]);
  for (let i = 1; i < whole.length; ++i) assert.ok(fresh[i]! <= whole[i]! - whole[i - 1]!, `turn ${i} read ${fresh} of ${whole}`);
  // Another beginning: what is held of the old one is not taken for it.
  const other: Turn[] = [{ role: "user", content: ["a ", square("blue"), " b"] }];
  assert.is(await answer(model, other, { memory }), await answer(model, other));
});

test("media of a conversation are encoded once, where it has a memory", async () => {
  using model = await AnyMAL.assemble(world.options());
  using memory = new ConversationMemory();
  const file = world.path("seen.png");
  await sharp({ create: { width: 16, height: 16, channels: 3, background: "red" } }).toFile(file);
  const turn: PromptInput = ["what is it? ", { modality: "image", source: file, options: {} }];
  const ask = (more = {}) => model.generateAll([turn], { maxNewTokens: 6, ...more });
  const first = await ask({ memory });
  rmSync(file);
  assert.equal(await ask({ memory }), first);
  const again = await ask().catch((error) => error.code);
  assert.is(again, "E_MEDIA_SOURCE");
  // Another model's encoders say something else of it.
  using other = await AnyMAL.assemble(world.options({ seed: 7 }));
  const others = await other.generateAll([turn], { maxNewTokens: 6, memory }).catch((error) => error.code);
  assert.is(others, "E_MEDIA_SOURCE");
});

test("a memory survives an answer that is stopped, and serves one answer at a time", async () => {
  using model = await AnyMAL.assemble(world.options({ quantization: "none" }));
  for await (const _ of model.generate(PROMPTS[1]!, { maxNewTokens: 50 })); // tables of positions grow with the longest row and stay
  await model.device.synchronize();
  const before = model.device.memory().tensors;
  const memory = new ConversationMemory();
  const expected = await answer(model, PROMPTS[1]!);
  const start = model.generate(PROMPTS[1]!, { maxNewTokens: 50, memory });
  await start.next();
  const second = await model
    .generate(PROMPTS[1]!, { memory })
    .next()
    .catch((error) => error.code);
  assert.is(second, "E_GENERATION");
  await start.return(undefined);
  // One that nobody ends: what it read is forgotten with the rest, and the memory serves on.
  const abandoned = model.generate(PROMPTS[1]!, { maxNewTokens: 50, memory });
  await abandoned.next();
  memory.dispose();
  assert.is(await answer(model, PROMPTS[1]!, { memory }), expected);
  await abandoned.return(undefined);
  assert.is(await answer(model, PROMPTS[1]!, { memory }), expected);
  const controller = new AbortController();
  const aborted = async () => {
    for await (const _ of model.generate(PROMPTS[1]!, { maxNewTokens: 50, memory, signal: controller.signal })) controller.abort();
  };
  assert.is(await aborted().catch((error) => error.name), "AbortError");
  assert.is(await answer(model, PROMPTS[1]!, { memory }), expected);
  memory.dispose();
  await model.device.synchronize();
  assert.ok(model.device.memory().tensors === before, "the memory gives back what it held");
});

test("images and videos share one encoder, and a video's features have its frames", async () => {
  using model = await AnyMAL.assemble(world.options());
  assert.is(model.encoder("image").encoder, model.encoder("video").encoder);
  const parts = [blink("red", "blue"), square("red"), shake(2), square("blue")];
  const features = await model.features(parts);
  assert.equal(
    features.map(({ modality, shape }) => `${modality} ${shape}`),
    ["video 2,4,16", "image 4,16", "imu 12", "image 4,16"],
  );
  assert.equal(features[0]!.data, Float32Array.from([...features[1]!.data, ...features[3]!.data]));
});

test("the embedding that is compared with text can be what is projected: a row of length 1, as wide as the embedding", async () => {
  const imu = { encoder: world.imu, select: "embeds" as const };
  for (const [projector, shape] of [
    [{ type: "linear", mode: "pooled", tokens: 2 }, [48]],
    [{ type: "linear", mode: "per_token" }, [1, 48]],
    [{ type: "resampler", layers: 1, tokens: 3 }, [1, 48]],
  ] as const) {
    using model = await AnyMAL.assemble(world.options({ modalities: { imu: { ...imu, projector } } }));
    const [one, other] = await model.features([shake(1), shake(3)]);
    assert.equal(one!.shape, shape);
    for (const { data } of [one!, other!]) assert.ok(Math.abs(Math.hypot(...data) - 1) < 1e-5);
    assert.not.equal(one!.data, other!.data);
    assert.ok((await answer(model, ["what? ", shake(2)])).length > 0);
    if (projector.type === "resampler") {
      await model.save(world.path("embeds"));
      using again = await AnyMAL.fromPretrained(world.path("embeds"), { device: here });
      assert.equal((await again.features([shake(1)]))[0]!.data, one!.data);
    }
  }
});

test("the language model may be a GGUF file: assembled, saved, read back", async () => {
  const llm = world.path("model.gguf");
  copyFileSync(join(caseFolder("gguf-llama"), "model.gguf"), llm);
  using model = await AnyMAL.assemble(world.options({ llm, quantization: "none" }));
  const want = await answer(model, ["what? ", square("red")]);
  assert.ok(want.length > 0);
  const folder = world.path("from-gguf");
  await model.save(folder);
  using again = await AnyMAL.fromPretrained(folder, { device: here });
  assert.is(await answer(again, ["what? ", square("red")]), want);
  const bytes = readFileSync(llm);
  writeFileSync(llm, bytes.fill(1, bytes.length - 64)); // other weights under the same name
  let error: unknown;
  await AnyMAL.fromPretrained(folder, { device: here }).catch((e) => {
    error = e;
  });
  assert.match((error as Error).message, /the language model as it was trained on/);
});

test("a saved model gives the same answers in another process", async () => {
  const folder = world.path("saved");
  using model = await AnyMAL.assemble(world.options());
  const lora = model.addAdapter({ r: 2, alpha: 4 }, { seed: 3 });
  for (const [, { loraB }] of lora.layers) loraB.write(Float32Array.from({ length: loraB.size }, (_, i) => Math.sin(i) / 8));
  await model.save(folder);
  assert.equal(readdirSync(folder).sort(), ["adapter_config.json", "adapter_model.safetensors", "anymal.json", "projectors"]);
  const { llm, modalities } = JSON.parse(readFileSync(join(folder, "anymal.json"), "utf8"));
  assert.is(llm.path, "../llm");
  assert.equal(llm.quantization, { format: "nf4" });
  assert.equal(Object.keys(modalities), ["image", "video", "imu"]);
  const mine = await model.generateAll(PROMPTS, { maxNewTokens: 6 });
  const child = fileURLToPath(new URL("./reload-child.ts", import.meta.url));
  const theirs = execFileSync(process.execPath, ["--import", "tsx", child, folder], { encoding: "utf8" });
  assert.equal(JSON.parse(theirs), mine.slice(1, 3));
  using plain = await AnyMAL.assemble(world.options());
  assert.not.equal(await plain.generateAll(PROMPTS, { maxNewTokens: 6 }), mine);
});

test("saving anew replaces what was there, and leaves other files alone", async () => {
  const folder = world.path("again");
  using model = await AnyMAL.assemble(world.options());
  model.addAdapter({ r: 2 });
  await model.save(folder);
  writeFileSync(join(folder, "README.md"), "mine");
  using other = await AnyMAL.assemble(world.options({ modalities: { imu: { encoder: world.imu } } }));
  await other.save(folder);
  assert.equal(readdirSync(folder).sort(), ["README.md", "anymal.json", "projectors"]);
  assert.equal(readdirSync(join(folder, "projectors")), ["imu.safetensors"]);
  using back = await AnyMAL.fromPretrained(folder, { device: here });
  assert.equal(back.modalities, ["imu"]);
  assert.equal(back.encoder("imu").setup, other.encoder("imu").setup);
});

async function refused(folder: string, pattern: RegExp, code = "E_CHECKPOINT"): Promise<void> {
  try {
    (await AnyMAL.fromPretrained(folder, { device: here })).dispose();
  } catch (error) {
    assert.is((error as { code: string }).code, code, String(error));
    assert.match((error as Error).message, pattern);
    return;
  }
  assert.unreachable("it was loaded");
}

test("a checkpoint is refused when a weight is missing or left over, or an encoder is another one", async () => {
  const folder = world.path("broken");
  using model = await AnyMAL.assemble(world.options());
  await model.save(folder);
  const file = (name: string) => join(folder, "projectors", name);
  copyFileSync(file("imu.safetensors"), file("audio.safetensors"));
  await refused(folder, /audio\.safetensors/);
  rmSync(file("audio.safetensors"));
  copyFileSync(file("image.safetensors"), file("imu.safetensors"));
  await refused(folder, /"input.shift" of shape \[12\], got \[16\]/, "E_STATE");
  rmSync(file("imu.safetensors"));
  await refused(folder, /imu\.safetensors/);
  await model.save(folder);
  writeFileSync(join(folder, "adapter_config.json"), "{}");
  await refused(folder, /no adapter/);
  rmSync(join(folder, "adapter_config.json"));
  (await AnyMAL.fromPretrained(folder, { device: here })).dispose();

  const config = join(world.imu, "config.json");
  const before = readFileSync(config);
  writeFileSync(config, `${before}\n`);
  await refused(folder, /encoder of imu as it was trained on/);
  writeFileSync(config, before);
  await refused(world.path("nowhere"), /no such folder/);
});

test("the language model may be swapped knowingly, and held in another precision", async () => {
  const folder = world.path("swapped");
  using model = await AnyMAL.assemble(world.options());
  await model.save(folder);
  const moved = world.path("llm-moved");
  assert.not(existsSync(moved));
  cpSync(world.llm, moved, { recursive: true });
  writeFileSync(join(moved, "generation_config.json"), "{}");
  writeFileSync(join(moved, "config.json"), `${readFileSync(join(moved, "config.json"))}\n`);
  using back = await AnyMAL.fromPretrained(folder, { device: here, llm: moved, quantization: "none" });
  assert.is(back.quantization, undefined);
  using reference = await AnyMAL.assemble(world.options({ quantization: "none" }));
  assert.equal(await back.generateAll(PROMPTS, { maxNewTokens: 6 }), await reference.generateAll(PROMPTS, { maxNewTokens: 6 }));
});

test("what does not fit is told: the context, a modality, a projection", async () => {
  using model = await AnyMAL.assemble(world.options());
  const context = model.llm.config.maxPositions;
  const many = Array.from({ length: Math.ceil(context / 4) + 8 }, () => square("red"));
  const tooLong = new RegExp(`${context} tokens.*${4 * many.length} of ${many.length} media.*leave media out`);
  for (const [run, code, pattern] of [
    [() => answer(model, many), "E_PROMPT", tooLong],
    [() => model.generateAll(["a", [{ modality: "audio", source: "x.wav", options: {} }]]), "E_MODALITY", /image, video, imu, got audio/],
    [() => AnyMAL.assemble(world.options({ modalities: { audio: { encoder: world.clip } } })), "E_MODALITY", /encoder of audio/],
    [
      () =>
        AnyMAL.assemble(
          world.options({
            modalities: { image: { encoder: world.clip, projector: { type: "resampler", layers: 1, tokens: 2, heads: 3 } } },
          }),
        ),
      "E_MODALITY",
      /divisor of the features' width 16, got 3; try 8/,
    ],
  ] as const) {
    try {
      await run();
      assert.unreachable(String(pattern));
    } catch (error) {
      assert.is((error as { code: string }).code, code, String(error));
      assert.match((error as Error).message, pattern);
    }
  }
});

test("aborting ends generation with the signal's reason, and nothing stays allocated", async () => {
  using model = await AnyMAL.assemble(world.options());
  await model.generateAll(PROMPTS, { maxNewTokens: 50 }); // rope's table grows with the longest row and stays
  await here.synchronize();
  const before = here.memory().bytesInUse;
  const controller = new AbortController();
  try {
    for await (const _ of model.generate(PROMPTS[3]!, { maxNewTokens: 50, signal: controller.signal }))
      controller.abort(new Error("enough"));
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, "enough");
  }
  for await (const _ of model.generate(PROMPTS[1]!, { maxNewTokens: 50 })) break;
  await here.synchronize();
  assert.is(here.memory().bytesInUse, before);
});

test("a model whose prompt says so takes control tokens as letters, read again too; a call may say otherwise", async () => {
  const spelled = "say <s> and </s>";
  const folder = world.path("letters");
  const refused = (model: AnyMAL, more = {}) => answer(model, spelled, more).catch((error) => error.code);
  using plain = await AnyMAL.assemble(world.options());
  assert.is(await refused(plain), "E_PROMPT");
  using model = await AnyMAL.assemble(world.options({ prompt: { splitSpecialTokens: true } }));
  const want = await answer(model, spelled);
  assert.is(await answer(plain, spelled, { splitSpecialTokens: true }), want);
  assert.is(await refused(model, { splitSpecialTokens: false }), "E_PROMPT");
  await model.save(folder);
  using again = await AnyMAL.fromPretrained(folder, { device: here });
  assert.is(await answer(again, spelled), want);
});

test("the dtype of the encoders is part of a checkpoint; an older one without it goes by the encoder's folder", async () => {
  const folder = world.path("narrow");
  // IMU2CLIP computes in f32 always.
  const dtypes = (model: AnyMAL) =>
    [model.llm, ...(["image", "video"] as const).map((m) => model.encoder(m).encoder)].map(({ dtype }) => dtype);
  let want: string;
  {
    using model = await AnyMAL.assemble(world.options({ dtype: "bf16" }));
    assert.equal([...new Set(dtypes(model))], ["bf16"]);
    want = await answer(model, PROMPTS[3]!);
    await model.save(folder);
  }
  using again = await AnyMAL.fromPretrained(folder, { device: here });
  assert.equal([...new Set(dtypes(again))], ["bf16"]);
  assert.is(await answer(again, PROMPTS[3]!), want);
  using wide = await AnyMAL.fromPretrained(folder, { device: here, dtype: "f32" });
  assert.equal([...new Set(dtypes(wide))], ["f32"]);
  const manifest = JSON.parse(readFileSync(join(folder, "anymal.json"), "utf8"));
  for (const entry of Object.values<{ encoder: { dtype?: string } }>(manifest.modalities)) delete entry.encoder.dtype;
  writeFileSync(join(folder, "anymal.json"), JSON.stringify(manifest));
  using older = await AnyMAL.fromPretrained(folder, { device: here });
  assert.equal(dtypes(older), ["bf16", "f32", "f32"], "as the toy's encoders are stored");
});

test("an adapter that was merged or taken off is the model's no longer, and a merged model is not saved as if it were its folder's", async () => {
  using model = await AnyMAL.assemble(world.options({ quantization: "none" }));
  const folder = world.path("merged");
  model.addAdapter({ r: 2 }).unload();
  assert.is(model.adapter, undefined);
  await model.save(folder);
  assert.not(existsSync(join(folder, "adapter_config.json")));
  model.addAdapter({ r: 2 }).merge();
  assert.is(model.adapter, undefined);
  const error = await model.save(folder).catch((e) => e);
  assert.is(error.code, "E_CHECKPOINT");
  assert.match(error.message, /merged/);
  assert.ok(existsSync(join(folder, "anymal.json")), "what was there is there");
});

test.run();
