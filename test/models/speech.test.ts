// The encoders of Whisper and Qwen2-Audio against transformers: from the sound to the rows, every hidden state, with and without padding that is heard.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, freeTape, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { audio, type Sound } from "../../lib/media/audio.js";
import { AutoProcessor } from "../../lib/media/auto-processor.js";
import { SpeechProcessor } from "../../lib/media/speech-processor.js";
import { AutoEncoder } from "../../lib/models/auto-encoder.js";
import { ConfigError, type Json } from "../../lib/models/config.js";
import { recomputeIn } from "../../lib/models/encoder.js";
import { Qwen2AudioEncoder } from "../../lib/models/qwen2-audio.js";
import { parseQwen2AudioConfig, parseWhisperConfig, type SpeechConfig } from "../../lib/models/speech-config.js";
import { WhisperEncoder } from "../../lib/models/whisper.js";
import { Linear } from "../../lib/nn/linear.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { Weights } from "../../lib/nn/weights.js";
import { concat, mul, sum } from "../../lib/ops/index.js";
import { Case, caseNames, copyFolder, here, largest, near } from "../case.js";
import { code, disposeAll, noise, parameterGradients, reloaded, sameOneByOne } from "./encoders.js";

const tiny: SpeechConfig = { melBins: 3, positions: 6, hiddenSize: 8, intermediateSize: 12, layers: 2, heads: 2, activation: "gelu" };
const KINDS = { whisper: WhisperEncoder, "qwen2-audio": Qwen2AudioEncoder } as const;
const fresh = (kind: keyof typeof KINDS, trainable = false, changes: Partial<SpeechConfig> = {}) =>
  new KINDS[kind](Weights.fresh({ device: here, seed: 5, trainable }), { ...tiny, ...changes });

/** The rows of the sound alone. */
const heardMask = (rows: readonly number[], S: number) => rows.map((count) => Array.from({ length: S }, (_, s) => Number(s < count)));

for (const name of caseNames(/^(whisper|qwen2-audio)-encoder/)) {
  const c = new Case(name);
  const clips = c.info.clips as string[];
  const frames = c.info.frames as number[];

  test(`${name}: from the sounds to the rows`, async () => {
    const processor = (await AutoProcessor.fromPretrained(c.folder)) as SpeechProcessor;
    assert.ok(processor instanceof SpeechProcessor);
    const input = await processor.process(clips.map((clip) => audio(join(c.folder, `audio.${clip}.wav`))));
    const [, bins, T] = c.shape(`out.${clips[0]}.input_features`) as [number, number, number];
    assert.equal(input.shape, [clips.length, bins, T]);
    assert.equal([input.heard, input.chunks], [frames, clips.map(() => 1)]);
    for (const [i, clip] of clips.entries())
      near(
        input.data.subarray(i * bins * T, (i + 1) * bins * T),
        c.values(`out.${clip}.input_features`),
        c.atol(`out.${clip}.input_features`),
        clip,
      );
    using encoder = await AutoEncoder.fromPretrained(c.folder, { device: here });
    using x = Tensor.from(input.data, input.shape, { device: here });
    const out = encoder.forward(x);
    await c.close("out.last_hidden_state", out.hidden);
    disposeAll(out);
  });

  for (const format of ["nf4", "int8"] as const)
    test(`${name}: in ${format} the blocks' weights are those that were rounded; a recorded forward is the plain one, again and for another sound`, async () => {
      using encoder = await AutoEncoder.fromPretrained(c.folder, { device: here, quantization: format });
      using dense = await AutoEncoder.fromPretrained(c.folder, { device: here });
      const packed = encoder.modules().filter((module): module is QuantizedLinear => module instanceof QuantizedLinear);
      const plain = dense.modules().filter((module): module is Linear => module instanceof Linear);
      assert.is(packed.length, plain.length);
      assert.is(packed.length, 6 * (encoder as WhisperEncoder).config.layers);
      for (const [i, layer] of plain.entries()) {
        const rounded = noGrad(() => packed[i]!.weight.dequantize("f32"));
        layer.weight.dispose();
        layer.weight = rounded;
      }
      using x = scope(() => concat(clips.map((clip) => c.tensor(`out.${clip}.input_features`)), 0)); // biome-ignore format: one line
      const rowsOf = async (of: typeof encoder) => {
        using y = noGrad(() => scope(() => of.forward(x, { through: "hidden" }).hidden));
        return (await y.data()) as Float32Array;
      };
      const [got, want] = [await rowsOf(encoder), await rowsOf(dense)];
      // LLM.int8 rounds what is multiplied as well.
      near(got, want, (format === "nf4" ? 1e-5 : 0.05) * largest(want), format);
      const recorded = here.capture(() => noGrad(() => scope(() => encoder.forward(x, { through: "hidden" }).hidden)));
      recorded.replay();
      assert.equal(await recorded.result.data(), got);
      x.write((await x.data()).map((v, i) => v * Math.cos(i)) as Float32Array);
      recorded.replay();
      assert.equal(await recorded.result.data(), await rowsOf(encoder));
      recorded.dispose();
    });

  test(`${name}: every hidden state`, async () => {
    using encoder = await AutoEncoder.fromPretrained(c.folder, { device: here });
    using x = scope(() => concat(clips.map((clip) => c.tensor(`out.${clip}.input_features`)), 0)); // biome-ignore format: one line
    const states = c.names("out.hidden_states.");
    assert.ok(states.length > 2);
    for (const key of states) {
      const out = encoder.forward(x, { layer: Number(key.split(".").at(-1)) });
      await c.close(key, out.hidden);
      disposeAll(out);
    }
    const out = encoder.forward(x);
    await c.close("out.last_hidden_state", out.hidden);
    assert.equal(
      [out.pooled.shape, out.embeds.shape, encoder.embedDim],
      [[clips.length, encoder.width], [clips.length, encoder.width], encoder.width],
    );
    disposeAll(out);
  });

  if (c.has("out.masked.last_hidden_state"))
    test(`${name}: padding is hidden from the rows of the sound`, async () => {
      using encoder = await AutoEncoder.fromPretrained(c.folder, { device: here });
      using x = scope(() => concat(clips.map((clip) => c.tensor(`out.${clip}.input_features`)), 0)); // biome-ignore format: one line
      const key = "out.masked.last_hidden_state";
      const rows = frames.map((heard) => encoder.heardRows!(heard, -1));
      assert.equal(rows, c.info.output_lengths);
      assert.equal(frames.map((heard) => encoder.heardRows!(heard, 0)), c.info.encoder_lengths); // biome-ignore format: one line
      const out = encoder.forward(x, { heard: frames });
      await c.close(key, out.hidden, { mask: heardMask(rows, c.shape(key)[1] as number) });
      disposeAll(out);
    });

  test(`${name}: bf16 stays near f32`, async () => {
    using encoder = await AutoEncoder.fromPretrained(c.folder, { device: here, dtype: "bf16" });
    using x = c.tensor(`out.${clips[0]}.input_features`);
    const out = encoder.forward(x);
    assert.equal([encoder.dtype, out.hidden.dtype], ["bf16", "bf16"]);
    const got = await out.hidden.data();
    const want = c.values("out.last_hidden_state").subarray(0, got.length);
    const rms = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((total, v) => total + v * v, 0) / values.length);
    const error = rms(Float32Array.from(want, (v, i) => v - got[i]!)) / rms(want);
    assert.ok(error > 0 && error < 0.05, `off by ${error}`);
    disposeAll(out);
  });
}

for (const name of caseNames(/^speech-/)) {
  const c = new Case(name);
  const heard = c.info.heard as number[];
  const sounds = c.names("in.sound.").map((key): Sound => ({ samples: c.values(key) as Float32Array, sampleRate: c.info.sampling_rate }));

  test(`${name}: sounds of several chunks, and of a part of one`, async () => {
    const processor = (await AutoProcessor.fromPretrained(c.folder)) as SpeechProcessor;
    const input = await processor.features(sounds);
    assert.equal([input.heard, input.chunks, input.shape], [heard, c.info.chunks, c.shape("out.input_features")]);
    near(input.data, c.values("out.input_features"), c.atol("out.input_features"), "input_features");
    const json = processor.configJson();
    for (const [key, value] of Object.entries(c.json("preprocessor_config.json"))) assert.equal(json[key], value, key);
  });

  test(`${name}: states, rows that are heard, and every gradient; run again in backward they are the same bits`, async () => {
    using encoder = await AutoEncoder.fromPretrained(c.folder, { device: here, trainable: true });
    using x = c.tensor("out.input_features");
    using probe = c.tensor("in.probe");
    for (const key of c.names("out.hidden_states.")) {
      const out = encoder.forward(x, { layer: Number(key.split(".").at(-1)) });
      await c.close(key, out.hidden);
      freeTape(out.hidden);
      disposeAll(out);
    }
    const key = c.has("out.masked.last_hidden_state") ? "out.masked.last_hidden_state" : "out.last_hidden_state";
    if (c.info.output_lengths) assert.equal(heard.map((frames) => encoder.heardRows!(frames, -1)), c.info.output_lengths); // biome-ignore format: one line
    const bits: unknown[] = [];
    for (const recompute of [false, true]) {
      const back = recomputeIn(encoder, recompute);
      const out = encoder.forward(x, { through: "hidden", heard });
      await c.close(key, out.hidden);
      const loss = scope(() => sum(mul(out.hidden, probe)));
      backward(loss);
      const own = new Map(Array.from(encoder.namedParameters(), ([path, p]) => [`grad.${path}`, p]));
      assert.equal(c.names("grad."), [...own.keys()].filter((path) => own.get(path)!.grad).sort());
      for (const path of c.names("grad.")) await c.close(path, own.get(path)!.grad!);
      bits.push(await own.get(c.names("grad.")[0]!)!.grad!.data());
      for (const p of own.values()) {
        p.grad?.dispose();
        p.grad = undefined;
      }
      disposeAll(out, { loss });
      back();
    }
    assert.equal(bits[1], bits[0]);
  });

  test(`${name}: pooled is the mean over the rows that are heard`, async () => {
    using encoder = await AutoEncoder.fromPretrained(c.folder, { device: here });
    using x = c.tensor("out.input_features");
    const out = encoder.forward(x, { heard });
    const [rows, pooled] = [await out.hidden.data(), await out.pooled.data()];
    const [, S, d] = out.hidden.shape as [number, number, number];
    const want = heard.flatMap((frames, n) => {
      const count = encoder.heardRows!(frames, -1);
      return Array.from({ length: d }, (_, k) => {
        let total = 0;
        for (let s = 0; s < count; ++s) total += rows[(n * S + s) * d + k]! as number;
        return total / count;
      });
    });
    near(pooled, want, 1e-5, "pooled");
    disposeAll(out);
  });
}

for (const kind of ["whisper", "qwen2-audio"] as const) {
  test(`${kind}: saved and read with the same bits`, async () => {
    using model = fresh(kind);
    await reloaded(model, async (folder) => {
      using again = await AutoEncoder.fromPretrained(folder, { device: here });
      assert.equal((again as WhisperEncoder).config, model.config);
      assert.equal([again.kind, again.leftover], [kind, []]);
      using x = noise([2, 3, 12], 1);
      const [a, b] = [model.forward(x), again.forward(x)];
      assert.equal(await b.hidden.data(), await a.hidden.data());
      disposeAll(a, b);
    });
  });

  test(`${kind}: a batch is its items one by one, whatever is heard of the others`, async () => {
    using model = fresh(kind);
    await sameOneByOne(noise([3, 3, 12], 2), (x) => model.forward(x));
    using x = noise([3, 3, 12], 2);
    const heard = [12, 5, 1];
    const all = model.forward(x, { heard });
    for (const [n, frames] of heard.entries()) {
      using item = x.slice(n, 1);
      const one = model.forward(item, { heard: [frames] });
      for (const key of ["hidden", "pooled"] as const) {
        const [whole, own] = [await all[key].data(), await one[key].data()];
        near(own, whole.slice(n * own.length, (n + 1) * own.length), 1e-5, `${key} of item ${n}`);
      }
      disposeAll(one);
    }
    disposeAll(all);
  });

  test(`${kind}: gradients agree with central differences`, async () => {
    using model = fresh(kind, true);
    using x = noise([2, 3, 12], 3);
    await parameterGradients(model, () => ({ ...model.forward(x, { layer: 1, heard: [7, 12] }) }), 7);
  });

  test(`${kind}: what is no chunk, or heard of none, is told`, async () => {
    using model = fresh(kind);
    using x = noise([2, 3, 12], 3);
    for (const heard of [[1], [0, 3], [13, 3], [1.5, 3]])
      assert.is(
        code(() => model.forward(x, { heard })),
        "E_VALUE",
        String(heard),
      );
    using long = noise([1, 3, 14], 3);
    assert.throws(() => model.forward(long), /chunks \(N,3,12\).*processor of the same folder/);
    assert.is(
      code(() => model.forward(x, { classRows: [1] })),
      "E_VALUE",
    );
  });

  test(`${kind}: configurations that do not fit are refused in words`, () => {
    const parse = kind === "whisper" ? parseWhisperConfig : parseQwen2AudioConfig;
    using model = fresh(kind);
    const json = model.configJson() as Json;
    assert.equal(parse(json), tiny);
    const bad = {
      model_type: "clap",
      encoder_attention_heads: 3,
      encoder_layers: 1e9,
      d_model: -8,
      activation_function: "mish",
      num_mel_bins: 0,
    };
    for (const [key, value] of Object.entries(bad))
      assert.throws(
        () => parse({ ...json, [key]: value }),
        (e: unknown) => e instanceof ConfigError && e.key === key,
        key,
      );
  });
}

test("several hidden states side by side; the last one of Qwen2-Audio's has half the rows", async () => {
  using whisper = fresh("whisper");
  using qwen = fresh("qwen2-audio");
  using x = noise([2, 3, 12], 4);
  const asked = [0, -1, 2];
  const [all, ...each] = [asked, ...asked].map((layer) => whisper.forward(x, { layer }));
  assert.equal(all!.hidden.shape, [2, 6, 24]);
  const want = scope(() => concat(each.map(({ hidden }) => hidden), 2)); // biome-ignore format: one line
  assert.equal(await all!.hidden.data(), await want.data());
  disposeAll(all!, { want }, ...each);
  const two = qwen.forward(x, { layer: [0, 1] });
  assert.equal(two.hidden.shape, [2, 6, 16]);
  disposeAll(two);
  assert.throws(() => qwen.forward(x, { layer: [0, -1] }), /half of them/);
});

test("of an encoder's blocks, the weights of a stranger are refused", () => {
  const c = new Case(caseNames(/^whisper-encoder/)[0]!);
  const folder = mkdtempSync(join(tmpdir(), "anymal-speech-"));
  try {
    copyFolder(c.folder, folder);
    const json = { ...c.json(), encoder_layers: Number(c.json().encoder_layers) - 1 };
    writeFileSync(join(folder, "config.json"), JSON.stringify(json));
    assert.throws(() => WhisperEncoder.fromPretrained(folder, { device: here }), /a place for every weight below "model.encoder.layers"/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
