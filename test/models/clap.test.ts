// LAION-CLAP's audio tower against transformers, with and without fusion; its gradients against central differences.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { ClapAudioModel, melStatistics } from "../../lib/models/clap-audio.js";
import { Weights } from "../../lib/nn/weights.js";
import { windowPlan } from "../../lib/nn/window.js";
import { add, concat, mul, sum } from "../../lib/ops/index.js";
import { Case, caseNames, here, largest, near } from "../case.js";
import { random } from "../harness.js";
import { drawn, throws, tiny } from "./tiny-clap.js";

interface Run {
  run: string;
  clips: string[];
  is_longer: boolean[];
}

/** The reference's features of the run's clips: (N,rows,T,bins), a clip with fewer rows than the model was given repeated. */
function features(c: Case, { clips }: Run): Tensor {
  const given = clips.map((clip) => ({
    values: c.values(`out.${clip}.input_features`) as Float32Array,
    shape: c.shape(`out.${clip}.input_features`),
    rows: c.info.clips.find((info: { clip: string }) => info.clip === clip).rows_given_to_model as number,
  }));
  const [{ rows, shape }] = given as [(typeof given)[0]];
  const [, T, bins] = shape as [number, number, number];
  const all = new Float32Array(given.length * rows * T * bins);
  for (const [n, { values }] of given.entries())
    for (let r = 0; r < rows; ++r)
      all.set(values.subarray((r * T * bins) % values.length).subarray(0, T * bins), (n * rows + r) * T * bins);
  return Tensor.from(all, [given.length, rows, T, bins], { device: here });
}

for (const name of caseNames(/^clap/)) {
  const c = new Case(name);
  for (const run of c.info.runs as Run[]) {
    test(`${name}, ${run.run}: maps, pooled, embeddings`, async () => {
      using model = ClapAudioModel.fromPretrained(c.folder, { device: here });
      const x = features(c, run);
      const out = model.forward(x, { isLonger: run.is_longer, map: true, hiddenStates: true });
      assert.equal(out.map!.shape, c.shape(`out.${run.run}.last_hidden_state`));
      await c.close(`out.${run.run}.last_hidden_state`, out.map!);
      await c.close(`out.${run.run}.pooler_output`, out.pooled);
      await c.close(`out.${run.run}.audio_embeds`, out.embeds);
      for (const key of c.names(`out.${run.run}.hidden_states.`)) {
        const state = out.hiddenStates![Number(key.split(".").at(-1))]!;
        assert.equal(state.shape, c.shape(key));
        await c.close(key, state);
      }
      // hidden (N,time,d) is the map averaged over frequency
      const [N, d, bands, time] = out.map!.shape as [number, number, number, number];
      const map = await out.map!.data();
      const mean = Float32Array.from({ length: N * time * d }, (_, i) => {
        const [n, t, k] = [Math.floor(i / (time * d)), Math.floor(i / d) % time, i % d];
        let total = 0;
        for (let f = 0; f < bands; ++f) total += map[((n * d + k) * bands + f) * time + t]!;
        return total / bands;
      });
      assert.equal(out.hidden.shape, [N, time, d]);
      near(await out.hidden.data(), mean, 1e-5, "hidden");
      for (const t of [x, out.map!, out.pooled, out.embeds, out.hidden, ...out.hiddenStates!]) t.dispose();
    });
  }
}

const GEOMETRIES: [string, object, readonly boolean[]][] = [
  ["shifted windows", {}, []],
  ["fusion of one clip of two", { enable_fusion: true }, [false, true]],
  [
    "windows that the grid does not fill, one head, overlapping patches",
    { spec_size: 48, patch_size: 8, patch_stride: [4, 4], window_size: 5, num_mel_bins: 48, num_attention_heads: [1, 1] },
    [],
  ],
];
for (const [what, changes, isLonger] of GEOMETRIES) {
  test(`gradients of all parameters against central differences: ${what}`, async () => {
    using model = tiny({ projection_hidden_act: "gelu", ...changes });
    const { melBins, fusion } = model.config;
    // Of an input for which no ReLU of the fusion stands at its corner, where a central difference is half of the slope.
    const x = drawn([2, fusion ? 4 : 1, 13, melBins], 12);
    const forward = () => model.forward(x, { isLonger });
    const shapes = scope(() => [forward().embeds.shape, forward().hidden.shape]) as number[][];
    const probes = shapes.map((shape, i) => drawn(shape, 3 + i)) as [Tensor, Tensor];
    const weights = await Promise.all(probes.map((p) => p.data()));
    const value = async () => {
      const { embeds, hidden, pooled } = noGrad(forward);
      const out = (await Promise.all([embeds.data(), hidden.data()])) as Float32Array[];
      for (const t of [embeds, hidden, pooled]) t.dispose();
      return out.reduce((total, y, i) => total + y.reduce((t, v, k) => t + v * weights[i]![k]!, 0), 0);
    };
    const loss = scope(() => {
      const { embeds, hidden } = forward();
      return add(sum(mul(embeds, probes[0])), sum(mul(hidden, probes[1])));
    });
    backward(loss);
    const draw = random(7);
    for (const [name, parameter] of model.namedParameters()) {
      if (name.includes("running_")) {
        assert.is(parameter.requiresGrad, false, name);
        continue;
      }
      assert.ok(parameter.grad, `${name}: no gradient`);
      const [grad, values] = await Promise.all([parameter.grad!.data(), parameter.data()]);
      const scale = Math.max(...grad.map(Math.abs), 1e-2);
      for (let k = 0; k < 2; ++k) {
        const at = Math.floor(((draw() + 1) / 2) * values.length);
        const slope = async (h: number) => {
          const sides: number[] = [];
          for (const by of [h, -h]) {
            const moved = Float32Array.from(values);
            moved[at] = moved[at]! + by;
            parameter.write(moved);
            sides.push(await value());
          }
          parameter.write(values);
          return (sides[0]! - sides[1]!) / (2 * h);
        };
        const [wide, narrow] = [await slope(2 ** -7), await slope(2 ** -8)];
        const want = (4 * narrow - wide) / 3;
        const off = Math.abs(grad[at]! - want);
        assert.ok(
          off <= 5e-3 * scale + 0.2 * Math.abs(narrow - wide) + 1e-3,
          `${name}[${at}]: ${grad[at]}, central differences say ${want}`,
        );
      }
      parameter.grad!.dispose();
      parameter.grad = undefined;
    }
    for (const t of [x, loss, ...probes]) t.dispose();
  });
}

test("a batch gives what its clips give alone, whatever batches came before", async () => {
  using model = tiny();
  const clips = [11, 12, 13, 14].map((seed) => drawn([1, 1, 20, 8], seed));
  const all = noGrad(() => concat(clips, 0));
  const embeds = async (x: Tensor) => {
    const out = noGrad(() => model.forward(x));
    const values = await out.embeds.data();
    for (const t of [out.embeds, out.hidden, out.pooled]) t.dispose();
    return values;
  };
  const first = await embeds(clips[0]!);
  const together = await embeds(all);
  for (const [i, clip] of clips.entries()) near(await embeds(clip), together.subarray(i * 5, (i + 1) * 5), 1e-6, `clip ${i}`);
  assert.equal(await embeds(clips[0]!), first);
  for (const t of [all, ...clips]) t.dispose();
});

test("windows: rolled, cut, and back, as one would by hand", () => {
  for (const [height, width, window, shift] of [
    [8, 8, 4, 2],
    [6, 10, 4, 2],
    [5, 5, 5, 0],
    [7, 9, 3, 1],
  ] as const) {
    const plan = windowPlan(height, width, window, shift);
    const [H, W] = [Math.ceil(height / window) * window, Math.ceil(width / window) * window];
    // The padded grid of token numbers, rolled up and left.
    const padded = Array.from({ length: H }, (_, y) => Array.from({ length: W }, (_, x) => (y < height && x < width ? y * width + x : -1)));
    const rolled = padded.map((_, y) => padded[(y + shift) % H]!.map((_, x) => padded[(y + shift) % H]![(x + shift) % W]!));
    const cut: number[] = [];
    for (let y = 0; y < H; y += window)
      for (let x = 0; x < W; x += window) for (let r = 0; r < window; ++r) cut.push(...rolled[y + r]!.slice(x, x + window));
    assert.equal([...plan.into], cut);
    assert.equal(
      [...plan.back].map((place) => plan.into[place]),
      Array.from({ length: height * width }, (_, i) => i),
    );
    assert.is(
      plan.identity,
      cut.every((token, place) => token === place),
    );
    // Two places of one window see each other when rolling left them in order: neither wrapped around where the other did not.
    const area = window * window;
    const wrapped = (place: number) => {
      const [cell, at] = [Math.floor(place / area), place % area];
      const y = Math.floor(cell / (W / window)) * window + Math.floor(at / window);
      const x = (cell % (W / window)) * window + (at % window);
      return `${y + shift >= H} ${x + shift >= W}`;
    };
    for (let i = 0; plan.mask && i < plan.mask.length; ++i) {
      const first = Math.floor(i / (area * area)) * area;
      const same = wrapped(first + (Math.floor(i / area) % area)) === wrapped(first + (i % area));
      assert.is(plan.mask[i], same ? 0 : -100);
    }
    assert.is(plan.mask === undefined, shift === 0);
  }
});

test("saved and loaded: the same bits, and every name that transformers has for the audio tower", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-clap-"));
  try {
    for (const name of caseNames(/^clap/)) {
      const c = new Case(name);
      using model = ClapAudioModel.fromPretrained(c.folder, { device: here });
      await saveModel(folder, model, model.configJson());
      using theirs = Checkpoint.open(c.folder);
      using ours = Checkpoint.open(folder);
      const names = [...theirs.names()].filter((n) => /^audio_/.test(n)).sort();
      assert.equal([...ours.names()].sort(), names);
      for (const n of names) {
        assert.equal(ours.entry(n).shape, theirs.entry(n).shape, n);
        assert.is(ours.entry(n).dtype, theirs.entry(n).dtype, n);
        if (!n.endsWith("num_batches_tracked")) assert.equal(ours.bytes(n), theirs.bytes(n), n);
      }
      using again = ClapAudioModel.fromPretrained(folder, { device: here });
      assert.equal(again.config, model.config);
      // transformers 5.18 refuses a ratio of 4: "expected float, got int".
      assert.match(readFileSync(join(folder, "config.json"), "utf8"), /"mlp_ratio": \d+\.\d+,/);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("saved without a projection: the names and the class of transformers' ClapAudioModel", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-clap-"));
  try {
    using whole = tiny();
    await saveModel(folder, whole, { ...whole.configJson(), architectures: ["ClapAudioModel"] });
    const stored = (path: string) => {
      using checkpoint = Checkpoint.open(path);
      return new Map([...checkpoint.names()].map((name) => [name, checkpoint.bytes(name)]));
    };
    const before = stored(folder);
    using bare = new ClapAudioModel(Weights.fresh({ device: here, seed: 1 }), { ...whole.config, projectionDim: undefined });
    await saveModel(folder, bare, bare.configJson());
    const after = stored(folder);
    const names = [...before.keys()].filter((name) => name.startsWith("audio_model."));
    assert.equal([...after.keys()].sort(), names.map((name) => name.slice("audio_model.".length)).sort());
    using again = ClapAudioModel.fromPretrained(folder, { device: here });
    assert.is(again.config.projectionDim, undefined);
    assert.equal(await again.audioEncoder.norm.weight.data(), await bare.audioEncoder.norm.weight.data());
    assert.is(JSON.parse(readFileSync(join(folder, "config.json"), "utf8")).architectures[0], "ClapAudioModel");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("memory: back at the baseline after each step and after dispose", async () => {
  const use = async () => {
    await here.synchronize();
    const { bytesInUse, tensors } = here.memory();
    return [bytesInUse, tensors];
  };
  const before = await use();
  const model = tiny({ enable_fusion: true });
  const x = drawn([3, 4, 20, 8], 5);
  const step = () => {
    const loss = scope(() => sum(model.forward(x, { isLonger: [true, false, true] }).embeds));
    backward(loss);
    loss.dispose();
  };
  step();
  const settled = await use();
  for (const recompute of [false, true, true]) {
    model.gradientCheckpointing = recompute;
    step();
    assert.equal(await use(), settled);
  }
  for (const p of model.parameters()) p.grad?.dispose();
  model.dispose();
  x.dispose();
  assert.equal(await use(), before);
});

test("recomputed blocks give the same gradients, bit for bit", async () => {
  const gradients = async (recompute: boolean) => {
    using model = tiny();
    model.gradientCheckpointing = recompute;
    const x = drawn([2, 1, 20, 8], 5);
    const loss = scope(() => sum(model.forward(x).embeds));
    backward(loss);
    const all = await Promise.all(model.trainable().map(async (p) => (p.grad ? await p.grad.data() : undefined)));
    for (const t of [x, loss, ...model.trainable().flatMap((p) => p.grad ?? [])]) t.dispose();
    return all;
  };
  assert.equal(await gradients(true), await gradients(false));
});

test("statistics of the input: from data, into the norm, and no parameters", async () => {
  const data = Float32Array.from({ length: 6 * 8 }, (_, i) => (i % 8) * 10 + (i < 24 ? 1 : -1));
  const { mean, variance } = melStatistics([data.subarray(0, 24), data.subarray(24)], 8);
  near(mean, [0, 10, 20, 30, 40, 50, 60, 70], 1e-6, "mean");
  near(variance, new Array(8).fill(1), 1e-6, "variance");
  using model = tiny();
  model.setInputStatistics(mean, variance);
  const named = new Map(model.namedParameters());
  assert.equal(await named.get("audio_model.audio_encoder.batch_norm.running_mean")!.data(), Float32Array.from(mean));
  model.requiresGrad(false).requiresGrad(true);
  assert.is(
    model.trainable().length,
    [...named.keys()].filter((name) => !name.includes("running_")).length,
    "buffers stay closed when all is opened",
  );
});

test("layer: transformers' hidden state, unfolded and averaged over frequency", async () => {
  using model = tiny();
  const x = drawn([2, 1, 20, 8], 6);
  const { stages } = { stages: model.config.depths.length };
  for (let layer = 0; layer <= stages; ++layer) {
    const out = noGrad(() => model.forward(x, { layer, hiddenStates: true }));
    const [N, C, H, W] = out.hiddenStates![layer]!.shape as [number, number, number, number];
    const state = await out.hiddenStates![layer]!.data();
    const bands = H / 2;
    const want = Float32Array.from({ length: N * 2 * W * C }, (_, i) => {
      const [n, t, k] = [Math.floor(i / (2 * W * C)), Math.floor(i / C) % (2 * W), i % C];
      let total = 0;
      for (let f = 0; f < bands; ++f) total += state[((n * C + k) * H + Math.floor(t / W) * bands + f) * W + (t % W)]!;
      return total / bands;
    });
    assert.equal(out.hidden.shape, [N, 2 * W, C]);
    near(await out.hidden.data(), want, 1e-5, `layer ${layer}`);
    for (const t of [out.hidden, out.embeds, out.pooled, ...out.hiddenStates!]) t.dispose();
  }
  throws(() => model.forward(x, { layer: stages + 1 }), "E_VALUE", /layer/);
  x.dispose();
});

test("bf16 is near f32", async () => {
  const c = new Case("clap-fused");
  const run = c.info.runs[0] as Run;
  using model = ClapAudioModel.fromPretrained(c.folder, { device: here, dtype: "bf16" });
  const x = features(c, run);
  const out = model.forward(x, { isLonger: run.is_longer });
  assert.is(out.embeds.dtype, "bf16");
  await c.close(`out.${run.run}.audio_embeds`, out.embeds, { atol: 0.03 * largest(c.values(`out.${run.run}.audio_embeds`)) });
  for (const t of [x, out.embeds, out.hidden, out.pooled]) t.dispose();
});

test.run();
