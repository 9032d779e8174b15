// Sounds of any length before a language model: cut into chunks, and no row of the padding among what the projection reads.
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { ModalityOptions } from "../../lib/anymal/options.js";
import { noGrad } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import type { Row } from "../../lib/data/row.js";
import { type AudioPart, audio } from "../../lib/media/audio.js";
import { SpeechProcessor } from "../../lib/media/speech-processor.js";
import { align } from "../../lib/train/align.js";
import { Case, caseNames, here, near } from "../case.js";
import { ALIGN, all } from "../train/stages.js";
import { type Toy, toy } from "./toy.js";

const test = suite("speech before a language model");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const RATE = 8000;
/** A tone of so many samples. */
const tone = (length: number, hertz = 300): AudioPart =>
  audio({ samples: Float32Array.from({ length }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hertz * i) / RATE)), sampleRate: RATE });

const folders = [...caseNames(/^speech-whisper/), ...caseNames(/^speech-qwen2-audio/)].map((name) => new Case(name).folder);
const assembled = (encoder: string, more: Partial<ModalityOptions> = {}) =>
  AnyMAL.assemble(world.options({ modalities: { audio: { encoder, projector: { type: "linear" }, ...more } } }));

for (const folder of folders) {
  const processor = SpeechProcessor.fromPretrained(folder);
  const chunk = (processor.samples / processor.sampleRate) * RATE;
  const lengths = [chunk / 4, 2.5 * chunk, chunk, chunk / 4].map(Math.round);
  const what = folder.split("-").slice(1).join("-");

  test(`${what}: a sound's features are the heard rows of its chunks, one after the other, alone and among others`, async () => {
    using model = await assembled(folder);
    const { encoder } = model.encoder("audio");
    const parts = lengths.map((length, i) => tone(length, 200 + 100 * i));
    const made = await model.features(parts);
    for (const [i, part] of parts.entries()) {
      const input = await processor.process([part]);
      assert.is(input.chunks[0], Math.ceil(lengths[i]! / chunk));
      const want: number[] = [];
      for (const [n, frames] of input.heard.entries()) {
        const size = processor.bins * processor.frames;
        using x = Tensor.from(input.data.subarray(n * size, (n + 1) * size), [1, processor.bins, processor.frames], { device: here });
        const { hidden, pooled, embeds } = noGrad(() => encoder.forward(x, { heard: [frames] }));
        const rows = encoder.heardRows!(frames, -1);
        want.push(...((await hidden.data()) as Float32Array).subarray(0, rows * encoder.width));
        for (const tensor of [hidden, pooled, embeds]) tensor.dispose();
      }
      assert.equal(made[i]!.shape, [want.length / encoder.width, encoder.width]);
      near(made[i]!.data, want, 1e-5, `sound ${i}`);
      assert.equal((await model.features([part]))[0]!.data, made[i]!.data, "the same bits alone");
    }
    assert.ok(made[0]!.shape[0]! < made[2]!.shape[0]!);
    assert.ok(made[1]!.shape[0]! > 2 * made[2]!.shape[0]!);
  });

  test(`${what}: one row for a sound is the mean over what is heard of it`, async () => {
    using rows = await assembled(folder);
    for (const [more, shape] of [
      [{ select: "pooled" }, [1]],
      [{ projector: { type: "linear", mode: "pooled", tokens: 2 } }, []],
    ] as const) {
      using model = await assembled(folder, more);
      const parts = lengths.map((length) => tone(length));
      const each = await rows.features(parts);
      for (const [i, { data, shape: got }] of (await model.features(parts)).entries()) {
        const d = rows.encoder("audio").width;
        assert.equal(got, [...shape, d]);
        const S = each[i]!.shape[0]!;
        const mean = Array.from(
          { length: d },
          (_, k) => Array.from({ length: S }, (_, s) => each[i]!.data[s * d + k]!).reduce((a, b) => a + b, 0) / S,
        );
        near(data, mean, 1e-5, `sound ${i}`);
      }
    }
  });

  test(`${what}: sounds of different lengths in one batch, and in one prompt, are answered as they are alone`, async () => {
    for (const projector of [{ type: "linear" }, { type: "resampler", layers: 1, tokens: 3 }] as const) {
      using model = await assembled(folder, { projector });
      const long = tone(Math.round(projector.type === "linear" ? chunk / 2 : 2.5 * chunk), 250);
      const short = tone(lengths[0]!, 500);
      const prompts = [
        [short, "a"],
        [long, "a"],
        [long, "a", short, "b", short],
        [short, "a", long],
      ];
      const options = { maxNewTokens: 5, eosTokenId: [] };
      const together = await model.generateAll(prompts, options);
      const alone: string[] = [];
      for (const prompt of prompts) alone.push(...(await model.generateAll([prompt], options)));
      assert.equal(together, alone);
      const streamed: string[] = [];
      for (const prompt of prompts) {
        let text = "";
        for await (const piece of model.generate(prompt, options)) text += piece;
        streamed.push(text);
      }
      assert.equal(streamed, alone);
    }
  });

  test(`${what}: trained on sounds of different lengths, its projection alone and with LoRA on the encoder; saved and loaded`, async () => {
    const data: Row[] = [lengths[0]!, lengths[1]!, lengths[2]!, lengths[0]!].map((length, i) => ({
      where: `row ${i}`,
      turns: [
        { role: "user", content: ["hear ", tone(length, i % 2 ? 900 : 150)] },
        { role: "assistant", content: [i % 2 ? "high" : "low"] },
      ],
    }));
    for (const adapters of [[], ["audio"]]) {
      using model = await assembled(folder, { projector: { type: "resampler", layers: 1, tokens: 3 } });
      if (adapters.length) model.addAdapter({ r: 2, alpha: 4, targetModules: ["q_proj", "fc2"] }, { on: "audio", seed: 1 });
      const run = await all(align(model, { ...ALIGN, steps: 12, seed: 3, modality: "audio", data, adapters }));
      assert.ok(run.at(-1)!.loss < 0.7 * run[0]!.loss, `${run[0]!.loss} to ${run.at(-1)!.loss}`);
      const place = world.path(`${what}-${adapters.length}`);
      await model.save(place);
      using again = await AnyMAL.fromPretrained(place, { device: here });
      const part = tone(lengths[1]!, 333);
      assert.equal((await again.features([part]))[0]!.data, (await model.features([part]))[0]!.data);
      const options = { maxNewTokens: 5 };
      assert.equal(await again.generateAll([[part, "hear"]], options), await model.generateAll([[part, "hear"]], options));
    }
  });

  test(`${what}: the length of a chunk is in the key of what is kept`, async () => {
    using model = await assembled(folder);
    const copy = world.path(`${what}-copy`);
    cpSync(folder, copy, { recursive: true });
    using same = await assembled(copy);
    assert.is(await same.encoder("audio").key(), await model.encoder("audio").key());
    const file = join(copy, "preprocessor_config.json");
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), padding_value: 0.5 }));
    using other = await assembled(copy);
    assert.is.not(await other.encoder("audio").key(), await model.encoder("audio").key());
    const layer = await assembled(folder, { layer: 0 });
    assert.is.not(await layer.encoder("audio").key(), await model.encoder("audio").key());
    layer.dispose();
  });
}

test("a sound of one sample is heard", async () => {
  for (const folder of folders) {
    using model = await assembled(folder);
    const [one] = await model.features([tone(1)]);
    assert.equal(one!.shape, [1, model.encoder("audio").width]);
    assert.ok(one!.data.every(Number.isFinite));
  }
});

test.run();
