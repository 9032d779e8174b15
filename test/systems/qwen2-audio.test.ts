// A whole Qwen2-Audio against transformers: chats with sounds as its processor writes them, logits, greedy answers, its three layouts.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { noGrad } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { SafetensorsFile, saveSafetensors } from "../../lib/io/safetensors.js";
import { audio } from "../../lib/media/audio.js";
import { AutoEncoder } from "../../lib/models/auto-encoder.js";
import { Case, copyFolder, here } from "../case.js";
import { sweep } from "../faults.js";
import { fresh, remove } from "../io/torch-case.js";

const test = suite("Qwen2-Audio");
test.after(remove);
const c = new Case("qwen2-audio");
interface Chat {
  text: string;
  sounds: number[];
  ids: number[];
}
const chats = c.info.chats as Chat[];
const greedy = c.info.greedy as number[][];
const load = (folder = c.folder, more = {}) => AnyMAL.fromPretrained(folder, { device: here, ...more });
const sounds = c.names("in.sound.").map((key) => audio({ samples: c.values(key) as Float32Array, sampleRate: c.info.sampling_rate }));
const QUESTION = "what is it";

/** A chat's ids with each run of audio tokens as its sound. */
function rowOf({ ids }: Chat, token: number) {
  const parts: ({ ids: number[]; labels: number[] } | { modality: string; item: number })[] = [];
  let item = 0;
  for (const [i, id] of ids.entries()) {
    if (id === token) {
      if (ids[i - 1] !== token) parts.push({ modality: "audio", item: item++ });
      continue;
    }
    const last = parts.at(-1);
    if (last && "ids" in last) last.ids.push(id);
    else parts.push({ ids: [id], labels: [] });
  }
  for (const part of parts) if ("ids" in part) part.labels = part.ids.map(() => -100);
  return parts;
}

for (const [n, chat] of chats.entries()) {
  test(`chat ${n}, of ${chat.sounds.length} sounds: logits are transformers'`, async () => {
    using model = await load();
    assert.equal(
      [model.layout, model.modalities, model.encoder("audio").encoder.kind],
      ["qwen2-audio-hf-5-fresh", ["audio"], "qwen2-audio"],
    );
    const heard = await model.features(chat.sounds.map((i) => sounds[i]!));
    const tensors = heard.map(({ data, shape }) => Tensor.from(data, [1, ...shape], { device: here }));
    const features: Record<string, Tensor[]> = tensors.length ? { audio: tensors } : {};
    const batch = { rows: [rowOf(chat, c.json().audio_token_index as number)], features };
    const { logits } = noGrad(() => model.network.forward(batch, { loss: false, logits: "all" }));
    assert.equal(logits!.shape, c.shape(`out.logits.${n}`));
    await c.close(`out.logits.${n}`, logits!);
    for (const tensor of [logits!, ...tensors]) tensor.dispose();
  });
}

test("asked in words it writes what its processor writes, and answers what transformers answers", async () => {
  using model = await load();
  const prompts = chats.map(({ sounds: which }) => [...which.map((i) => sounds[i]!), QUESTION]);
  const answers = await model.generateAll(prompts, { maxNewTokens: greedy[0]!.length, eosTokenId: [] });
  assert.equal(answers, greedy.map((ids) => model.tokenizer.decode(ids, { skipSpecialTokens: true }))); // biome-ignore format: one line
});

test("three layouts of one set of weights give the same answers; saved it is what it was; its encoder alone opens too", async () => {
  using file = new SafetensorsFile(join(c.folder, "model.safetensors"));
  const renames: Record<string, (name: string) => string> = {
    "qwen2-audio-hf": (name) => name.replace(/^language_model\.model\.model\./, "language_model.model."),
    "qwen2-audio-hf-5": (name) =>
      name
        .replace(/^language_model\.model\.model\./, "model.language_model.")
        .replace(/^language_model\.lm_head/, "lm_head")
        .replace(/^(audio_tower|multi_modal_projector)/, "model.$1"),
  };
  using model = await load();
  const ask = (of: AnyMAL) => of.generateAll([[sounds[0]!, QUESTION]], { maxNewTokens: 4, eosTokenId: [] });
  const want = await ask(model);
  for (const [layout, rename] of Object.entries(renames)) {
    const folder = fresh();
    copyFolder(c.folder, folder, (path) => !/safetensors|expected/.test(path));
    await saveSafetensors(
      join(folder, "model.safetensors"),
      Array.from(file.entries, ([name, { shape }]) => [rename(name), { dtype: "F32", shape: [...shape], data: new Uint8Array(file.bytes(name)) }] as const), // biome-ignore format: one line
    );
    using other = await load(folder);
    assert.is(other.layout, layout);
    assert.equal(await ask(other), want);
    using encoder = await AutoEncoder.fromPretrained(folder, { device: here });
    assert.ok(encoder.kind === "qwen2-audio" && encoder.leftover.length > 0);
    const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, audio_token_index: 5 }));
    const error = await load(folder).then((m) => m.dispose(), (e) => e); // biome-ignore format: one line
    assert.is(error?.code, "E_CONFIG");
    rmSync(folder, { recursive: true });
  }
  const folder = fresh();
  await model.save(folder);
  using again = await load(folder);
  assert.equal(await ask(again), want);
});

test("whatever step of reading one fails, nothing stays", () => sweep("Qwen2-Audio", async () => (await load()).dispose()));

test.run();
