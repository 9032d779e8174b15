// Media beside the text: IDEFICS' decoder against transformers (logits, loss, gradients, greedy ids), and what no reference shows: every step of the
// cache is the whole row, recomputing changes no bit, and a conversation whose pictures change reads nothing of the one before.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { seenOf } from "../../lib/adapters/gated-cross-attention.js";
import { type IdeficsBlockConfig, IdeficsGatedBlock } from "../../lib/adapters/gated-idefics.js";
import { GatedLayer } from "../../lib/adapters/gated-layer.js";
import { backward } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { generate } from "../../lib/generate/generate.js";
import { PrefixCache } from "../../lib/generate/prefix-cache.js";
import { noGrad } from "../../lib/index.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";
import { within } from "../../lib/io/views.js";
import { Resampler } from "../../lib/models/bridges/perceiver.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import { LlamaForCausalLM, type LlamaInput } from "../../lib/models/llama.js";
import { type Layer, wrap } from "../../lib/nn/layer.js";
import type { MediaBeside, Span } from "../../lib/nn/sequence.js";
import { Weights } from "../../lib/nn/weights.js";
import { concat } from "../../lib/ops/index.js";
import { Case, caseNames, here, near } from "../case.js";
import { recordedCommands } from "../recorded.js";

const cases = caseNames(/^idefics/).map((name) => new Case(name));

/** The text side as a LLaMA: what is added to its tables stands behind them. */
async function textSide(c: Case): Promise<LlamaForCausalLM> {
  const folder = mkdtempSync(join(tmpdir(), "anymal-idefics-"));
  try {
    const { architectures: _, vision_config, perceiver_config, ...config } = c.json();
    const vocab_size = (config.vocab_size as number) + (config.additional_vocab_size as number);
    writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, model_type: "llama", vocab_size }));
    using file = Checkpoint.open(join(c.folder, "model.safetensors"));
    const own = [...file.names()].filter(
      (name) => /^(model\.(layers|norm|embed_tokens)|lm_head)\./.test(name) && !name.includes("additional"),
    );
    const tensors = own.map((name): [string, Tensor] => {
      const more = {
        "model.embed_tokens.weight": "model.embed_tokens.additional_embedding.weight",
        "lm_head.weight": "lm_head.additional_fc.weight",
      }[name];
      if (!more) return [name, file.load(name, here)];
      return [name, scope(() => concat([file.load(name, here), file.load(more, here)], 0))];
    });
    await saveSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
    for (const [, tensor] of tensors) tensor.dispose();
    const llm = LlamaForCausalLM.fromPretrained(folder, { device: here, dtype: "f32" });
    await llm.arrived();
    return llm;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

// biome-ignore lint/suspicious/noExplicitAny: IDEFICS' own configuration
function blockConfig(c: any): IdeficsBlockConfig {
  return {
    dim: c.hidden_size,
    dimVisual: c.vision_config.embed_dim,
    heads: c.num_attention_heads,
    dimHead: c.hidden_size / c.num_attention_heads,
    hidden: c.intermediate_size,
    eps: c.rms_norm_eps,
    headNorm: c.qk_layer_norms,
    vectorGates: c.alpha_type === "vector",
  };
}

async function world(c: Case) {
  const llm = await textSide(c);
  const config = c.json() as { num_hidden_layers: number; cross_layer_interval: number };
  const blocks: IdeficsGatedBlock[] = [];
  using file = Checkpoint.open(join(c.folder, "model.safetensors"));
  const at = Weights.from(file, { device: here, trainable: true });
  for (let i = 0; i < config.num_hidden_layers; i += config.cross_layer_interval) {
    const block = new IdeficsGatedBlock(at.at("model.gated_cross_attn_layers").at(blocks.length), blockConfig(config));
    blocks.push(block);
    wrap(llm, `model.layers.${i}`, (base) => new GatedLayer(base as Layer, block));
  }
  return { llm, blocks, [Symbol.dispose]: () => llm.dispose() };
}

/** transformers' image_attention_mask as what each token sees: one picture or none. */
function seenIn(c: Case, R: number): Span[][] {
  const [B, T, N] = c.shape("in.image_attention_mask") as [number, number, number];
  const mask = c.values("in.image_attention_mask");
  return Array.from({ length: B }, (_, b) =>
    Array.from({ length: T }, (_, t) => {
      const row = Array.from(mask.subarray((b * T + t) * N, (b * T + t + 1) * N));
      const first = row.indexOf(1);
      return first < 0 ? { start: 0, end: 0 } : { start: first * R, end: (row.lastIndexOf(1) + 1) * R };
    }),
  );
}
function media(c: Case, requiresGrad = false): { rows: Tensor; seen: Span[][]; R: number } {
  const [B, N, R, d] = c.shape("out.image_hidden_states") as [number, number, number, number];
  const all = Tensor.from(c.values("out.image_hidden_states"), [B, N * R, d], { device: here, requiresGrad });
  return { rows: all, seen: seenIn(c, R), R };
}
const row = <T>(all: readonly (readonly T[])[], b: number, length = Infinity) => [all[b]!.slice(0, length)];
/** Of row b alone. */
const alone = ({ rows, seen }: MediaBeside, b: number, length?: number): MediaBeside => ({
  rows: rows.slice(b, 1),
  seen: row(seen!, b, length),
});

async function logitsOf(llm: LlamaForCausalLM, input: LlamaInput): Promise<Float32Array> {
  using logits = noGrad(() => llm.forward(input, { logits: "last" })).logits!;
  return (await logits.data()) as Float32Array;
}

for (const c of cases) {
  const ids = c.rows("in.input_ids");
  const mask = c.rows("in.attention_mask");
  const labels = c.rows("in.labels");
  const lengths = mask.map((one) => one.reduce((a, b) => a + b, 0));

  test(`${c.name}: logits, loss and gradients are transformers'; recomputing changes no bit`, async () => {
    using w = await world(c);
    const { rows, seen } = media(c, true);
    const bits: string[] = [];
    for (const recompute of [false, true]) {
      w.llm.gradientCheckpointing = recompute;
      const out = w.llm.forward({ inputIds: ids, attentionMask: mask, labels, beside: { rows, seen } });
      await c.close("out.logits", out.logits!, { mask });
      await c.close("out.loss", out.loss!);
      backward(out.loss!);
      const gradients: [string, Tensor][] = [["rows", rows]];
      for (const [i, block] of w.blocks.entries())
        for (const [name, p] of block.namedParameters(`model.gated_cross_attn_layers.${i}`)) {
          await c.close(`grad.${name}`, p.grad!);
          gradients.push([name, p]);
        }
      assert.is(gradients.length - 1, c.names("grad.model.gated_cross_attn_layers").length);
      const all = await Promise.all(gradients.map(async ([, p]) => Array.from(await p.grad!.data()).join()));
      bits.push(all.join());
      for (const [, p] of gradients) {
        p.grad!.dispose();
        p.grad = undefined;
      }
      for (const t of [out.logits!, out.loss!]) t.dispose();
    }
    assert.ok(bits[0] === bits[1], "recomputed gradients differ");
    rows.dispose();
  });

  test(`${c.name}: from pixels on: the tower's rows, the resampler's, and the gradients of both`, async () => {
    using w = await world(c);
    const { vision_config, perceiver_config } = c.json() as Record<string, Record<string, number | boolean>>;
    using file = Checkpoint.open(join(c.folder, "model.safetensors"));
    const config = { ...vision_config, model_type: "clip_vision_model", hidden_size: vision_config!.embed_dim, dtype: "float32" };
    using tower = ClipVisionModel.fromPretrained({ source: within(file, "model.vision_model"), config }, { device: here });
    const at = Weights.from(within(file, "model.perceiver_resampler"), { device: here, trainable: true });
    const p = perceiver_config as Record<string, number>;
    const shape = {
      dim: tower.width,
      depth: p.resampler_depth!,
      heads: p.resampler_n_heads!,
      dimHead: p.resampler_head_dim!,
      latents: p.resampler_n_latents!,
    };
    using resampler = new Resampler(at, { form: "idefics", ...shape, headNorm: Boolean(p.qk_layer_norms_perceiver) });
    at.finish();
    const [B, N, ...picture] = c.shape("in.pixel_values") as [number, number, number, number, number];
    using pixels = c.tensor("in.pixel_values");
    const seen = seenIn(c, shape.latents);
    const [rows, out] = scope(() => {
      const hidden = noGrad(() => tower.forward(pixels.reshape([B * N, ...picture])).hidden);
      const all = resampler.forward(hidden).reshape([B, N * shape.latents, tower.width]);
      return [all, w.llm.forward({ inputIds: ids, attentionMask: mask, labels, beside: { rows: all, seen } })];
    });
    await c.close("out.image_hidden_states", rows);
    await c.close("out.logits", out.logits!, { mask });
    await c.close("out.loss", out.loss!);
    backward(out.loss!);
    for (const [name, parameter] of resampler.namedParameters("model.perceiver_resampler")) {
      await c.close(`grad.${name}`, parameter.grad!);
      parameter.grad!.dispose();
      parameter.grad = undefined;
    }
    for (const t of [rows, out.logits!, out.loss!]) t.dispose();
  });

  test(`${c.name}: without a picture the feed-forward acts alone; with gates at 0 it is the bare decoder, switched off bit for bit`, async () => {
    using w = await world(c);
    const { rows, seen } = media(c);
    const none = seen.map((one) => one.map(() => ({ start: 0, end: 0 })));
    for (const beside of [{ rows, seen: none }, undefined]) {
      using logits = noGrad(() => w.llm.forward({ inputIds: ids, attentionMask: mask, beside })).logits!;
      await c.close("out.text_only.logits", logits, { mask });
    }
    const bits = async () => {
      using logits = noGrad(() => w.llm.forward({ inputIds: ids, attentionMask: mask, beside: { rows, seen } })).logits!;
      return Array.from((await logits.data()) as Float32Array);
    };
    using bare = await textSide(c);
    using plain = noGrad(() => bare.forward({ inputIds: ids, attentionMask: mask })).logits!;
    const wraps = w.llm.modules().filter((module) => module instanceof GatedLayer);
    assert.is(wraps.length, w.blocks.length);
    for (const one of wraps) (one as GatedLayer).enabled = false;
    assert.equal(await bits(), Array.from((await plain.data()) as Float32Array));
    for (const one of wraps) (one as GatedLayer).enabled = true;
    for (const { alphaCrossAttn, alphaDense } of w.blocks)
      for (const gate of [alphaCrossAttn, alphaDense]) gate.write(new Array(gate.size).fill(0));
    near(await bits(), c.values("out.init.logits"), c.atol("out.init.logits"), c.name, mask.flat());
    assert.equal(await bits(), Array.from((await plain.data()) as Float32Array));
    rows.dispose();
  });

  test(`${c.name}: greedy ids are transformers', in a batch padded on the left too`, async () => {
    using w = await world(c);
    const all = media(c);
    const want: number[][] = [];
    for (const { row: b, new_ids } of c.info.generate.single) {
      const options = { maxNewTokens: new_ids.length, eosTokenId: [] };
      using rows = all.rows.slice(b, 1);
      const beside = { rows, seen: row(all.seen, b, lengths[b]) };
      assert.equal(await generate(w.llm, { inputIds: row(ids, b, lengths[b]), beside }, options), [new_ids]);
      want.push(new_ids);
    }
    const T = ids[0]!.length;
    const left = <V>(list: readonly V[], b: number, pad: V) => [...new Array<V>(T - lengths[b]!).fill(pad), ...list.slice(0, lengths[b])];
    const batch = {
      inputIds: ids.map((one, b) => left(one, b, 0)),
      attentionMask: mask.map((one, b) => left(one, b, 0)),
      beside: { rows: all.rows, seen: all.seen.map((one, b) => left(one, b, { start: 0, end: 0 })) },
    };
    assert.equal(await generate(w.llm, batch, { maxNewTokens: want[0]!.length, eosTokenId: [] }), want);
    all.rows.dispose();
  });

  test(`${c.name}: every step of the cache is what the whole row gives, for every prefix, a step at a time and several`, async () => {
    using w = await world(c);
    const all = media(c);
    const T = lengths[0]!;
    using rows = all.rows.slice(0, 1);
    const part = (from: number, to: number): LlamaInput => ({
      inputIds: [ids[0]!.slice(from, to)],
      beside: { rows, seen: [all.seen[0]!.slice(from, to)] },
    });
    for (let first = 1; first < T; ++first) {
      for (const stride of [1, 3]) {
        using cache = w.llm.createCache(1, T);
        let [from, to] = [0, first];
        while (from < T) {
          // What is seen is told where it changes; else the cache knows it.
          const before = all.seen[0]![from - 1];
          const changes = all.seen[0]!.slice(from, to).some((one) => !before || one.start !== before.start || one.end !== before.end);
          const input = changes ? part(from, to) : { inputIds: [ids[0]!.slice(from, to)] };
          near(
            await logitsOf(w.llm, { ...input, cache }),
            await logitsOf(w.llm, part(0, to)),
            c.atol("out.logits"),
            `${first}, ${stride}: ${from} to ${to}`,
          );
          [from, to] = [to, Math.min(T, to + stride)];
        }
      }
    }
    all.rows.dispose();
  });

  test(`${c.name}: a conversation whose pictures change answers as a fresh one, whatever stood beside before`, async () => {
    using w = await world(c);
    const all = media(c);
    using past = new PrefixCache();
    const { R } = all;
    const [first, second] = [0, 1].map((b) => all.rows.slice(b, 1).reshape([all.rows.shape[1]!, -1]).slice(0, R)) as [Tensor, Tensor];
    const pictures = { first, second };
    const ask = async (tokens: readonly number[], places: readonly number[], of: readonly (keyof typeof pictures)[]) => {
      using rows = scope(() =>
        concat(
          of.map((name) => pictures[name]),
          0,
        ).reshape([1, of.length * R, -1]),
      );
      const locations = tokens.map((_, t) => (places.includes(t) ? 1 : 0));
      const beside = { rows, seen: seenOf([locations], of.length, R, true), of: of.flatMap((name) => new Array(R).fill(pictures[name])) };
      const prompt = { inputIds: [[...tokens]], ...(of.length && { beside }) };
      const options = { maxNewTokens: 4, eosTokenId: [] };
      const fresh = await generate(w.llm, prompt, options);
      const got = await generate(w.llm, prompt, { ...options, past });
      assert.equal(got, fresh, `${tokens} with ${of}`);
      return fresh[0]!;
    };
    const [start, more] = [ids[0]!.slice(0, 5), ids[1]!.slice(0, 4)];
    const answer = await ask(start, [1], ["first"]);
    assert.is(past.length, start.length + 3);
    await ask(start, [1], ["second"]);
    await ask(start, [1], ["first"]);
    // Two turns with two pictures.
    const turn = [...start, ...answer, ...more];
    await ask(turn, [1, start.length + answer.length], ["first", "second"]);
    assert.is(past.length, turn.length + 3);
    await ask(turn, [1, start.length + answer.length], ["first", "first"]);
    await ask(turn, [1, start.length + answer.length], ["second", "first"]);
    // The same but for its last token; then none beside at all.
    await ask(turn, [1, start.length + answer.length], ["second", "first"]);
    const prompt = { inputIds: [start] };
    const options = { maxNewTokens: 4, eosTokenId: [] };
    assert.equal(await generate(w.llm, prompt, { ...options, past }), await generate(w.llm, prompt, options));
    for (const picture of [first, second]) picture.dispose();
    all.rows.dispose();
  });

  test(`${c.name}: a recorded step has the commands of the bare decoder and those of its blocks, none for media; their bytes are counted`, async () => {
    using w = await world(c);
    using bare = await textSide(c);
    const all = media(c);
    using rows = all.rows.slice(0, 1);
    const beside = { rows, seen: row(all.seen, 0) };
    const commandsOf = async (llm: LlamaForCausalLM): Promise<number> => {
      const recorded = await recordedCommands(here, () =>
        generate(llm, { inputIds: row(ids, 0), ...(llm === w.llm && { beside }) }, { maxNewTokens: 3, eosTokenId: [] }),
      );
      assert.is(recorded.length, 1);
      return recorded[0]!;
    };
    const plain = await commandsOf(bare);
    // Norm, q (and its norm), attention, o and its gate; norm, gate, up, their product, down and its gate.
    const each = c.json().qk_layer_norms ? 12 : 11;
    assert.is((await commandsOf(w.llm)) - plain, each * w.blocks.length);
    for (const module of w.llm.modules()) if (module instanceof GatedLayer) module.enabled = false;
    assert.is(await commandsOf(w.llm), plain);
    for (const module of w.llm.modules()) if (module instanceof GatedLayer) module.enabled = true;
    using cache = w.llm.createCache(1, 20);
    const before = cache.bytes;
    await logitsOf(w.llm, { inputIds: row(ids, 0), beside, cache });
    const inner = w.llm.config.hiddenSize;
    assert.is(cache.bytes - before, w.blocks.length * 2 * rows.shape[1]! * inner * 4 + 2 * 4);
    all.rows.dispose();
  });

  test(`${c.name}: media that do not fit, and steps behind a shortened cache, are refused`, async () => {
    using w = await world(c);
    const all = media(c);
    const refuse = (input: LlamaInput, code: string) =>
      assert.throws(
        () => w.llm.forward(input),
        (error: { code?: string }) => error.code === code,
      );
    refuse({ inputIds: row(ids, 0), beside: { rows: all.rows } }, "E_SHAPE");
    refuse({ inputIds: ids, beside: { rows: all.rows, seen: row(all.seen, 0) } }, "E_SHAPE");
    refuse({ inputIds: row(ids, 0), beside: { ...alone(all, 0), seen: [ids[0]!.map(() => ({ start: 0, end: 1000 }))] } }, "E_INDEX");
    using cache = w.llm.createCache(1, 20);
    using rows = all.rows.slice(0, 1);
    (await logitsOf(w.llm, { inputIds: row(ids, 0), beside: { rows, seen: row(all.seen, 0) }, cache })) satisfies Float32Array;
    cache.truncate(3);
    refuse({ inputIds: [[1]], cache }, "E_CACHE_SHORTENED");
    cache.forget();
    await logitsOf(w.llm, { inputIds: [[1]], cache });
    all.rows.dispose();
  });
}

test("a token sees the latest medium before it or all of them, none before the first, and none that is not there", () => {
  const span = (start: number, end: number) => ({ start, end });
  const [none, one, two] = [span(0, 0), span(0, 3), span(3, 6)];
  assert.equal(seenOf([[0, 1, 0, 1, 0]], 2, 3, true), [[none, one, one, two, two]]);
  assert.equal(seenOf([[0, 1, 0, 1, 0]], 2, 3, false), [[none, one, one, span(0, 6), span(0, 6)]]);
  assert.equal(seenOf([[1, 1, 0]], 1, 3, true), [[one, none, none]]);
  assert.equal(seenOf([[1, 1, 0]], 1, 3, false), [[one, one, one]]);
});

test.run();
