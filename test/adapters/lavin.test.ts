// LaVIN in a language model and in an image tower: logits, gradients, what is kept while an answer is written, both ways of counting places, files.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Adapter } from "../../lib/adapters/adapter.js";
import type { LavinShared } from "../../lib/adapters/lavin.js";
import { createAdapter, loadAdapter } from "../../lib/adapters/load-adapter.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { PrefixCache } from "../../lib/generate/prefix-cache.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import { recomputeIn } from "../../lib/models/encoder.js";
import type { LlamaForCausalLM, LlamaInput } from "../../lib/models/llama.js";
import type { KVCache } from "../../lib/nn/kv-cache.js";
import { spliceRows } from "../../lib/ops/index.js";
import { Case, caseNames, here, near } from "../case.js";
import { some } from "../some.js";
import { load } from "./cases.js";

for (const name of caseNames(/^lavin-llm/)) {
  const c = new Case(name);
  const mediaOf = (rows: readonly number[]) => rows.map((row) => Boolean(c.values("in.has_image")[row]));
  /** Text with the picture's rows in it. */
  const embedded = (llm: LlamaForCausalLM, adapter: Adapter, clip: Tensor, rows: readonly number[]) => {
    const vectors = (adapter.shared as LavinShared).adapterProj!.forward(clip);
    const ids = rows.map((row) => c.rows("in.input_ids")[row]!);
    const [B, T, S] = [rows.length, ids[0]!.length, clip.shape[1]!];
    const index = rows.flatMap((row, b) => {
      let next = B * T + row * S;
      return c.rows("in.image_positions")[row]!.map((here_, t) => (here_ && mediaOf([row])[0] ? next++ : b * T + t));
    });
    const [text, flat] = [llm.embed(ids).reshape([B * T, -1]), vectors.reshape([-1, llm.width])];
    return spliceRows(text, flat, Tensor.from(Int32Array.from(index), [B, T], { device: here }));
  };
  const all = c.rows("in.input_ids").map((_, row) => row);

  for (const recompute of [false, true])
    test(`${name}: logits, loss and gradients${recompute ? ", layers recomputed" : ""}`, async () => {
      using llm = load(c.base);
      llm.gradientCheckpointing = recompute;
      const adapter = await loadAdapter(llm, c.folder, { trainable: true });
      using clip = c.tensor("in.clip", { requiresGrad: true });
      const labels = c.rows("in.labels").map((row) => row.slice(1)); // those of the tokens
      const input = scope(() => ({ inputsEmbeds: embedded(llm, adapter, clip, all), media: mediaOf(all) }));
      const { logits, loss } = scope(() => llm.forward(input, { labels, logits: "all" }));
      await c.close("out.logits", logits!);
      await c.close("out.loss", loss!);
      backward(loss!);
      const own = new Map([...adapter.namedParameters(), ["in.clip", clip] as const]);
      assert.equal([...own.keys()].map((key) => `grad.${key}`).sort(), c.names("grad."));
      for (const [key, { grad }] of own) await c.close(`grad.${key}`, grad!);
    });

  test(`${name}: greedy answers of recorded steps, at the places of training and at the published ones, alone and together`, async () => {
    for (const routing of ["class", "published"] as const) {
      using llm = load(c.base);
      let adapter = await loadAdapter(llm, c.folder);
      const to = mkdtempSync(join(tmpdir(), "anymal-lavin-"));
      try {
        // As a file says it.
        await saveSafetensors(join(to, "adapter.safetensors"), [...adapter.stored()].map(({ keys, tensor }) => [keys[0]!, tensor] as const)); // biome-ignore format: one line
        writeFileSync(join(to, "adapter_config.json"), JSON.stringify({ ...c.json("adapter_config.json"), routing }));
        adapter.detach();
        adapter = await loadAdapter(llm, to);
      } finally {
        rmSync(to, { recursive: true });
      }
      using clip = c.tensor("in.clip");
      const want = c.info.generate.map((one: Record<string, number[]>) => (routing === "class" ? one.training_positions : one.published));
      const ask = async (rows: readonly number[]) => {
        using inputsEmbeds = noGrad(() => scope(() => embedded(llm, adapter, clip, rows)));
        return await llm.generate({ inputsEmbeds, media: mediaOf(rows) }, { maxNewTokens: want[0].length, eosTokenId: [] });
      };
      for (const row of all) assert.equal(await ask([row]), [want[row]], routing);
      assert.equal(await ask(all), want, "together");
    }
  });

  test(`${name}: the row takes no slot; several tokens may follow, and a cache that is grown goes on`, async () => {
    using llm = load(c.base);
    await loadAdapter(llm, c.folder);
    const [ids] = c.rows("in.input_ids") as [number[]];
    const T = ids.length;
    const last = async (input: LlamaInput) => {
      using y = noGrad(() => llm.forward(input, { logits: "last" })).logits!;
      return (await y.data()) as Float32Array;
    };
    const want = await last({ inputIds: [ids] });
    using cache = llm.createCache(1, T + 1);
    const read = (tokens: number[], into: KVCache) => noGrad(() => llm.forward({ inputIds: [tokens] }, { cache: into })).logits!.dispose();
    const n = T - 4;
    read(ids.slice(0, n), cache);
    assert.equal([cache.filled, cache.held, cache.rows[0]], [n, n, { from: 0, end: n, position: n + 1 }]);
    read(ids.slice(n, n + 2), cache);
    using grown = cache.grown(T + 4);
    read(ids.slice(n + 2, n + 3), grown);
    near(await last({ inputIds: [[ids[T - 1]!]], cache: grown }), want, 1e-4, "grown");
    const refused = (code: string, tokens: number[], into: KVCache) =>
      assert.throws(() => read(tokens, into), (error: { code?: string }) => error.code === code); // biome-ignore format: one line
    cache.truncate(1);
    refused("E_CACHE_SHORTENED", [1], cache);
    using small = llm.createCache(1, n);
    refused("E_CACHE_FULL", ids.slice(0, n), small);
    // Its place is counted where it takes no slot.
    using tight = llm.createCache(1, n + 1);
    read(ids.slice(0, n), tight);
    refused("E_CACHE_FULL", [1], tight);
    using wider = tight.grown(n + 2);
    read([1], wider);
    refused("E_CACHE_FULL", [1], wider);
  });

  test(`${name}: padded on either side a row is what it is alone, and a turn that follows another begins anew`, async () => {
    using llm = load(c.base);
    await loadAdapter(llm, c.folder);
    const rows = c.rows("in.input_ids");
    const short = rows[1]!.slice(0, 4);
    const pads = new Array<number>(rows[0]!.length - 4).fill(0);
    const one = (input: LlamaInput) => llm.generate({ ...input, inputIds: input.inputIds! }, { maxNewTokens: 4, eosTokenId: [] });
    const want = [...(await one({ inputIds: [rows[0]!], media: [true] })), ...(await one({ inputIds: [short], media: [false] }))];
    for (const left of [true, false]) {
      const padded = left ? [...pads, ...short] : [...short, ...pads];
      const mask = [rows[0]!.map(() => 1), padded.map((_, t) => Number(left ? t >= pads.length : t < 4))];
      const got = await one({ inputIds: [rows[0]!, padded], attentionMask: mask, media: [true, false] });
      assert.equal(got, want, left ? "left" : "right");
    }
    using past = new PrefixCache();
    const turn = (media: boolean) => llm.generate({ inputIds: [rows[0]!], media: [media] }, { maxNewTokens: 4, eosTokenId: [], past });
    await turn(false);
    assert.equal(await turn(true), [want[0]], "with a picture now");
  });

  test(`${name}: files are what was loaded; off and taken off, the model is as it was; a fresh one learns`, async () => {
    using llm = load(c.base, { dtype: "bf16" });
    const input = { inputIds: c.rows("in.input_ids"), media: mediaOf(all) };
    const logits = async () => {
      using y = noGrad(() => llm.forward(input)).logits!;
      return y.data();
    };
    const bare = await logits();
    const adapter = await loadAdapter(llm, c.folder);
    const on = await logits();
    assert.not.equal(on, bare);
    const to = mkdtempSync(join(tmpdir(), "anymal-lavin-"));
    try {
      await adapter.save(to);
      adapter.enabled = false;
      assert.equal(await logits(), bare);
      adapter.enabled = true;
      adapter.detach();
      assert.equal(await logits(), bare);
      const again = await loadAdapter(llm, to);
      assert.equal(await logits(), on);
      assert.throws(() => again.merge(), (error: { code?: string }) => error.code === "E_ADAPTER"); // biome-ignore format: one line
      again.detach();
    } finally {
      rmSync(to, { recursive: true });
    }
    const { hidden, groups, clip_dim: clipDim, proj_hidden: projHidden } = c.json("adapter_config.json") as Record<string, number>;
    const fresh = createAdapter(llm, "lavin", { hidden: hidden!, groups: groups!, clipDim: clipDim!, projHidden: projHidden! });
    assert.is(
      [...fresh.namedParameters()].reduce((n, [, { size }]) => n + size, 0),
      c.info.trainable_parameters,
    );
    for (const [key, tensor] of fresh.namedParameters()) if (/conv_[BD]/.test(key)) tensor.write(new Float32Array(tensor.size).fill(0.1));
    const { loss } = scope(() => llm.forward(input, { labels: input.inputIds }));
    backward(loss!);
    for (const [key, { grad }] of fresh.namedParameters())
      if (!key.startsWith("adapter_proj")) assert.ok((await grad!.data()).some(Boolean), key);
  });

  test(`${name}: four commands a layer are added to a step, over NF4 too`, async () => {
    for (const options of [{}, { quantization: { format: "nf4" } }] as const) {
      using llm = load(c.base, options);
      using next = Tensor.from(Int32Array.from([1]), [1, 1], { device: here });
      const commands = () => {
        using cache = llm.createCache(1, 8);
        noGrad(() => llm.forward({ inputIds: [[1, 2, 3]] }, { cache, logits: false }));
        using step = here.capture(() => noGrad(() => scope(() => llm.forward({ inputIds: next }, { cache, logits: "last" }).logits!)));
        return step.commands;
      };
      const bare = commands();
      await loadAdapter(llm, c.folder);
      assert.is(commands() - bare, 4 * llm.config.layers);
    }
  });
}

for (const name of caseNames(/^lavin-vit/)) {
  const c = new Case(name);
  const tower = () => ClipVisionModel.fromPretrained(join(c.folder, "vision"), { device: here });
  const { taps } = c.info as { taps: number[] };
  const features = (model: ClipVisionModel, x: Tensor) => model.forward(x, { classRows: taps, through: "hidden" }).classRows!;

  for (const recompute of [false, true])
    test(`${name}: routed by the class token: features and gradients${recompute ? ", blocks run again" : ""}`, async () => {
      using model = tower();
      using x = c.tensor("in.pixel_values");
      recomputeIn(model, recompute);
      using base = noGrad(() => features(model, x));
      await c.close("out.base.features", base);
      const adapter = await loadAdapter(model, c.folder, { trainable: true });
      assert.equal([...adapter.namedParameters()].map(([key]) => key).sort(), Object.keys(c.info.adapter_keys).sort());
      const y = features(model, x);
      await c.close("clean.out.features", y);
      backward(y, c.tensor("in.grad_y"));
      const own = new Map(adapter.namedParameters());
      for (const key of some(c.names("clean.grad."))) await c.close(key, own.get(key.slice("clean.grad.".length))!.grad!, { atol: Math.max(c.atol(key), 2e-5 * (c.info.tensors[key].max_abs ?? 0)) }); // biome-ignore format: one line
    });

  test(`${name}: the published routing, of one picture at a time`, async () => {
    using model = tower();
    using x = c.tensor("in.pixel_values");
    const loaded = await loadAdapter(model, c.folder);
    const stored = new Map(
      await Promise.all([...loaded.namedParameters()].map(async ([key, tensor]) => [key, await tensor.data()] as const)),
    );
    loaded.detach();
    const { hidden, groups, t: temperature } = c.json("adapter_config.json") as Record<string, number>;
    const adapter = createAdapter(model, "lavin", { hidden: hidden!, groups: groups!, temperature: temperature!, routing: "published" });
    for (const [key, tensor] of adapter.train(false).namedParameters()) tensor.write(stored.get(key) as Float32Array);
    const want = c.values("quirk_single.out.features") as Float32Array;
    const [N, size] = [x.shape[0]!, want.length / x.shape[0]!];
    for (let i = 0; i < N; ++i) {
      using one = x.slice(i, 1);
      using y = noGrad(() => features(model, one));
      near(await y.data(), want.subarray(i * size, (i + 1) * size), c.atol("quirk_single.out.features"), `picture ${i}`);
    }
    assert.throws(() => noGrad(() => features(model, x)), /LaVIN's published routing: expected one picture at a time.*got \d+/);
  });
}

test("what does not fit is refused by name, and leaves nothing", () => {
  using llm = load(new Case(caseNames(/^lavin-llm/)[0]!).base);
  using vit = ClipVisionModel.fromPretrained(join(new Case(caseNames(/^lavin-vit/)[0]!).folder, "vision"), { device: here });
  const { tensors } = here.memory();
  const refused = (on: LlamaForCausalLM | ClipVisionModel, options: object, why: RegExp) =>
    assert.throws(() => createAdapter(on, "lavin", options), (error: { code?: string; message: string }) => error.code === "E_ADAPTER" && why.test(error.message)); // biome-ignore format: one line
  refused(llm, { groups: 3 }, /groups that divide hidden 8/);
  refused(llm, { temperature: 0 }, /temperature above 0/);
  refused(llm, { clipDim: 4 }, /clipDim and projHidden/);
  refused(llm, { routing: "lnd" }, /routing to be/);
  refused(vit, { clipDim: 4, projHidden: 2 }, /on a language model alone/);
  assert.is(here.memory().tensors, tensors);
});

test.run();
