// What stands before every row: embeddings (prompt tuning), keys and values (prefix tuning), and a row that only steers (LaVIN's modality token). Held
// against PEFT and the published equations in every place that it moves: positions, ranges, slots of the cache, labels, logits.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { keep, scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { generate } from "../../lib/generate/generate.js";
import { PrefixCache } from "../../lib/generate/prefix-cache.js";
import { noGrad } from "../../lib/index.js";
import { SafetensorsFile } from "../../lib/io/safetensors.js";
import { LlamaForCausalLM, type LlamaInput } from "../../lib/models/llama.js";
import type { CausalSelfAttention } from "../../lib/nn/attention.js";
import { Wrap, wrap } from "../../lib/nn/layer.js";
import type { LeadSource, Sequence } from "../../lib/nn/sequence.js";
import { activation, add, concat, gatherRows, linear, mul, scale, sliceCopy, spliceRows } from "../../lib/ops/index.js";
import { Case, caseNames, here, near } from "../case.js";

const load = (c: Case) => LlamaForCausalLM.fromPretrained(c.base, { device: here, dtype: "f32" });
const read = (path: string, name: string, requiresGrad = false) => {
  const tensor = keep(new SafetensorsFile(path).load(name, here, {}));
  tensor.requiresGrad = requiresGrad;
  return tensor;
};
const prompts = (c: Case) => read(join(c.folder, "adapter", "adapter_model.safetensors"), "prompt_embeddings", true);

/** Prompt tuning: rows of embeddings. */
const embedded = (rows: Tensor): LeadSource => {
  const [length, width] = rows.shape as [number, number];
  return { length, make: () => ({ length, rows: rows.reshape([1, length, width]) }) };
};

/** Prefix tuning: each layer's keys and values stand in a row (L,2,K,D) of each place. */
class Prefixed extends Wrap<CausalSelfAttention> {
  readonly #at: number;
  readonly #kvHeads: number;
  constructor(base: CausalSelfAttention, at: number, kvHeads: number) {
    super(base, "prefix");
    this.#at = at;
    this.#kvHeads = kvHeads;
  }
  forward(x: Tensor, s: Sequence): Tensor {
    const { base } = this;
    const { q, k, v } = base.heads(x, s);
    const [B, , K, D] = k.shape as [number, number, number, number];
    const own = (j: number) => {
      const { length, keys } = s.lead as { length: number; keys: Tensor };
      const one = sliceCopy(keys, 2, (2 * this.#at + j) * K * D, K * D).reshape([1, length * K * D]);
      const all = Tensor.from(new Int32Array(B), [B], { device: here });
      return gatherRows(one, all).reshape([B, length, K, D]);
    };
    assert.is(K, this.#kvHeads);
    return base.out(base.attend(s.lead ? { q, k: concat([own(0), k], 1), v: concat([own(1), v], 1) } : { q, k, v }, s));
  }
}
const keyed = (llm: LlamaForCausalLM, rows: Tensor): LeadSource => {
  for (let i = 0; i < llm.config.layers; ++i)
    wrap(llm, `model.layers.${i}.self_attn`, (base) => new Prefixed(base as CausalSelfAttention, i, llm.config.kvHeads));
  const [length, width] = rows.shape as [number, number];
  return { length, make: () => ({ length, keys: rows.reshape([1, length, width]) }) };
};

const KINDS: Record<string, (llm: LlamaForCausalLM, rows: Tensor) => LeadSource> = {
  "prompt-tuning": (_, rows) => embedded(rows),
  "prefix-tuning": keyed,
};
const cases = Object.keys(KINDS).flatMap((kind) => caseNames(new RegExp(`^${kind}$`)).map((name) => [name, KINDS[kind]!] as const));

for (const [name, put] of cases) {
  const c = new Case(name);
  const ids = c.rows("in.input_ids");
  const mask = c.rows("in.attention_mask");
  const labels = c.rows("in.labels");

  test(`${name}: logits, loss and gradients are PEFT's, recomputed too; without it the base is what it was`, async () => {
    using llm = load(c);
    using rows = prompts(c);
    llm.lead = put(llm, rows);
    const seen = (lead: LeadSource | undefined, width: number) =>
      mask.map((row) => [...new Array(width - row.length).fill(lead ? 1 : 0), ...row]);
    for (const recompute of [false, true]) {
      llm.gradientCheckpointing = recompute;
      const out = llm.forward({ inputIds: ids, attentionMask: mask, labels });
      await c.close("out.logits", out.logits!, { mask: seen(llm.lead, out.logits!.shape[1] as number) });
      await c.close("out.loss", out.loss!);
      backward(out.loss!);
      await c.close("grad.prompt_embeddings", rows.grad!);
      rows.grad!.dispose();
      rows.grad = undefined;
      for (const t of [out.logits!, out.loss!]) t.dispose();
    }
    llm.lead = undefined;
    using bare = noGrad(() => llm.forward({ inputIds: ids, attentionMask: mask })).logits!;
    await c.close("out.base.logits", bare, { mask });
  });

  test(`${name}: rows padded on either side give what they give alone, and labels move with them`, async () => {
    using llm = load(c);
    using rows = prompts(c);
    llm.lead = put(llm, rows);
    const n = c.shape("out.logits")[1]! - ids[0]!.length;
    const V = llm.config.vocabSize;
    const lengths = mask.map((row) => row.reduce((a, b) => a + b, 0));
    const left = <T>(list: readonly T[], b: number, pad: T) => [
      ...new Array(list.length - lengths[b]!).fill(pad),
      ...list.slice(0, lengths[b]),
    ];
    const padded = {
      inputIds: ids.map((row, b) => left(row, b, 0)),
      attentionMask: mask.map((row, b) => left(row, b, 0)),
      labels: labels.map((row, b) => left(row, b, -100)),
    };
    const out = noGrad(() => llm.forward(padded, { outputHiddenStates: true }));
    await c.close("out.loss", out.loss!);
    const got = (await out.logits!.data()) as Float32Array;
    const W = out.logits!.shape[1]!;
    for (const [b, row] of ids.entries()) {
      using alone = noGrad(() => llm.forward({ inputIds: [row.slice(0, lengths[b])] })).logits!;
      const want = (await alone.data()) as Float32Array;
      const at = (w: number) => got.slice((b * W + w) * V, (b * W + w + 1) * V);
      for (let i = 0; i < n + lengths[b]!; ++i)
        near(at(i < n ? i : W - lengths[b]! + i - n), want.slice(i * V, (i + 1) * V), c.atol("out.logits"), `row ${b}, ${i}`);
    }
    for (const t of [out.logits!, out.loss!, ...out.hiddenStates!]) t.dispose();
    const error = (() => {
      try {
        llm.forward({ inputIds: [[1, 2]], positionIds: [[0, 1]] });
      } catch (e) {
        return e as { code: string; message: string };
      }
    })();
    assert.is(error?.code, "E_ARGUMENT");
    assert.match(error!.message, /positionIds/);
  });

  test(`${name}: a step of the cache is what the whole row gives, for every prefix; batches padded on the left generate as rows alone`, async () => {
    using llm = load(c);
    using rows = prompts(c);
    llm.lead = put(llm, rows);
    const [row] = ids as [number[]];
    for (let first = 1; first < row.length; ++first) {
      using cache = llm.createCache(1, llm.lead.length + row.length);
      for (let end = first; end <= row.length; ++end) {
        const part = end === first ? row.slice(0, first) : row.slice(end - 1, end);
        using got = noGrad(() => llm.forward({ inputIds: [part] }, { cache, logits: "last" })).logits!;
        await near(await got.data(), await last(llm, { inputIds: [row.slice(0, end)] }), c.atol("out.logits"), `${first} and on to ${end}`);
        assert.is(cache.held, end);
      }
    }
    const lengths = [row.length, 2];
    const options = { maxNewTokens: 6, eosTokenId: [] };
    const want = await Promise.all(lengths.map((length) => generate(llm, { inputIds: [row.slice(0, length)] }, options)));
    const pad = row.length - 2;
    const both = {
      inputIds: [row, [...new Array(pad).fill(0), ...row.slice(0, 2)]],
      attentionMask: [row.map(() => 1), [...new Array(pad).fill(0), 1, 1]],
    };
    assert.equal(await generate(llm, both, options), want.flat());
  });

  test(`${name}: a conversation goes on behind it, shortened and in a longer cache too, and begins anew without it`, async () => {
    using llm = load(c);
    using rows = prompts(c);
    const lead = put(llm, rows);
    llm.lead = lead;
    using past = new PrefixCache();
    const [row] = ids as [number[]];
    const options = { maxNewTokens: 5, eosTokenId: [] };
    const without: number[][] = [];
    for (const length of [3, row.length, 4, row.length]) {
      const prompt = { inputIds: [row.slice(0, length)] };
      assert.equal(await generate(llm, prompt, { ...options, past }), await generate(llm, prompt, options), `${length} ids`);
      assert.is(past.length, length + 4);
    }
    llm.lead = undefined;
    without.push(...(await generate(llm, { inputIds: [row] }, options)));
    assert.equal(await generate(llm, { inputIds: [row] }, { ...options, past }), without);
    llm.lead = lead;
    assert.equal(await generate(llm, { inputIds: [row] }, { ...options, past }), await generate(llm, { inputIds: [row] }, options));
    const room = llm.config.maxPositions - lead.length;
    const long = Array.from({ length: room - 2 }, (_, i) => row[i % row.length]!);
    assert.is((await generate(llm, { inputIds: [long] }, options))[0]!.length, 2, "the lead takes of the context");
  });
}

async function last(llm: LlamaForCausalLM, input: LlamaInput): Promise<Float32Array> {
  using logits = noGrad(() => llm.forward(input, { logits: "last" })).logits!;
  return (await logits.data()) as Float32Array;
}

/** LaVIN's mixture (arXiv 2305.15023) before attention: two grouped up projections, weighed by what row 0 says, which later steps are told by the cache. */
class Mixed extends Wrap<CausalSelfAttention> {
  constructor(
    base: CausalSelfAttention,
    readonly parts: Record<string, Tensor>,
    readonly temperature: number,
  ) {
    super(base, "mixture");
  }
  forward(x: Tensor, s: Sequence): Tensor {
    const [B, T, C] = x.shape as [number, number, number];
    const { router, routerBias, pick, down, downBias, up, upBias } = this.parts as Record<string, Tensor>;
    let w = s.cache?.kept(this)[0]; // (B,2·8+2)
    if (!w || s.step === "first") {
      const logits = scale(linear(sliceCopy(x, 1, 0, 1).reshape([B, C]), router!, routerBias), 1 / this.temperature);
      w = activation(linear(logits, pick!), "sigmoid"); // softmax of two
      s.cache?.keep(this, [w]);
    }
    const rows =
      T === 1
        ? w
        : gatherRows(
            w,
            Tensor.from(
              Int32Array.from({ length: B * T }, (_, i) => Math.floor(i / T)),
              [B * T],
              { device: here },
            ),
          );
    const [narrow, two] = [16, 2].map((width, i) => sliceCopy(rows, 1, i * 16, width)) as [Tensor, Tensor];
    const z = linear(x.reshape([B * T, C]), down!, downBias);
    const mixed = add(linear(mul(concat([z, z], 1), narrow), up!), linear(two, upBias!));
    return this.base.forward(add(x, mixed.reshape([B, T, C])), s);
  }
}

for (const name of caseNames(/^lavin-llm$/)) {
  const c = new Case(name);
  const file = join(c.folder, "adapter.safetensors");
  const { hidden, t } = c.info.generator_config as { hidden: number; t: number };

  const mixtureOf = (llm: LlamaForCausalLM, i: number): Record<string, Tensor> => {
    const C = llm.config.hiddenSize;
    const values = (part: string) => new SafetensorsFile(file).values(`model.layers.${i}.adapter_attn.${part}`) as Float32Array;
    const from = (data: Float32Array | number[], shape: number[]) => keep(Tensor.from(Float32Array.from(data), shape, { device: here }));
    // A grouped projection as a whole matrix: the first half of the outputs reads the first half of z.
    const up = new Float32Array(C * 2 * hidden);
    for (const [j, part] of ["conv_B.weight", "conv_D.weight"].entries()) {
      const w = values(part);
      for (let o = 0; o < C; ++o)
        for (let r = 0; r < hidden / 2; ++r) up[o * 2 * hidden + j * hidden + (o < C / 2 ? 0 : hidden / 2) + r] = w[(o * hidden) / 2 + r]!;
    }
    const [b, d] = [values("conv_B.bias"), values("conv_D.bias")];
    const sign = (j: number) => (j === 0 ? [1, -1] : [-1, 1]);
    return {
      router: from(values("expert_weights.weight"), [2, C]),
      routerBias: from(values("expert_weights.bias"), [2]),
      pick: from(
        [...Array.from({ length: 2 * hidden }, (_, k) => sign(k < hidden ? 0 : 1)).flat(), ...sign(0), ...sign(1)],
        [2 * hidden + 2, 2],
      ),
      down: from(values("conv_A.weight"), [hidden, C]),
      downBias: from(values("conv_A.bias"), [hidden]),
      up: from(up, [C, 2 * hidden]),
      upBias: from(Array.from({ length: C }, (_, o) => [b[o]!, d[o]!]).flat(), [C, 2]),
    };
  };

  const world = () => {
    const llm = load(c);
    const shared = Object.fromEntries(
      ["adapter_proj.conv_A.weight", "adapter_proj.conv_A.bias", "adapter_proj.conv_B.weight", "adapter_proj.conv_B.bias"].map((key) => [
        key,
        read(file, key),
      ]),
    );
    const modality = read(file, "adapter_modality_embedding.weight", true);
    for (let i = 0; i < llm.config.layers; ++i)
      wrap(llm, `model.layers.${i}.self_attn`, (base) => new Mixed(base as CausalSelfAttention, mixtureOf(llm, i), t));
    llm.lead = {
      length: 1,
      make({ rows, media }) {
        const which = Tensor.from(
          Int32Array.from({ length: rows }, (_, b) => (media?.[b] ? 1 : 0)),
          [rows],
          { device: here },
        );
        return { length: 1, rows: gatherRows(modality, which).reshape([rows, 1, llm.config.hiddenSize]), hidden: true };
      },
    };
    /** Text with the picture's vectors spliced in. */
    const embedded = (clip: Tensor, b: readonly number[]) => {
      const ids = b.map((row) => c.rows("in.input_ids")[row]!);
      const has = c.values("in.has_image");
      const P = shared as Record<string, Tensor>;
      const vectors = linear(
        activation(linear(clip, P["adapter_proj.conv_A.weight"]!, P["adapter_proj.conv_A.bias"]), "silu"),
        P["adapter_proj.conv_B.weight"]!,
        P["adapter_proj.conv_B.bias"],
      );
      const [B, T] = [ids.length, ids[0]!.length];
      const text = llm.embed(ids).reshape([B * T, -1]);
      const index = b.flatMap((row, i) => {
        let next = row * clip.shape[1]!;
        return c.rows("in.image_positions")[row]!.map((here_, at) => (here_ && has[row] ? B * T + next++ : i * T + at));
      });
      return spliceRows(text, vectors.reshape([-1, llm.config.hiddenSize]), Tensor.from(Int32Array.from(index), [B, T], { device: here }));
    };
    const media = Array.from(c.values("in.has_image"), Boolean);
    const dispose = () => {
      llm.dispose();
      modality.dispose();
      for (const tensor of Object.values(shared)) tensor.dispose();
    };
    return { llm, modality, embedded, media, [Symbol.dispose]: dispose };
  };

  test(`${name}: a row that nobody sees steers: logits, loss, gradients`, async () => {
    using all = world();
    using clip = c.tensor("in.clip", { requiresGrad: true });
    for (const recompute of [false, true]) {
      all.llm.gradientCheckpointing = recompute;
      const [labels] = [c.rows("in.labels").map((row) => row.slice(1))];
      const out = scope(() => all.llm.forward({ inputsEmbeds: all.embedded(clip, [0, 1]), media: all.media, labels: labels! }));
      await c.close("out.logits", out.logits!);
      await c.close("out.loss", out.loss!);
      backward(out.loss!);
      await c.close("grad.in.clip", clip.grad!);
      await c.close("grad.adapter_modality_embedding.weight", all.modality.grad!);
      for (const tensor of [out.logits!, out.loss!, clip.grad!, all.modality.grad!]) tensor.dispose();
      clip.grad = all.modality.grad = undefined;
    }
  });

  test(`${name}: recorded steps read what the first one kept, at the positions of training and, where they are told, at the published ones`, async () => {
    using all = world();
    using clip = c.tensor("in.clip");
    for (const { row, training_positions: want, published } of c.info.generate) {
      using inputsEmbeds = noGrad(() => scope(() => all.embedded(clip, [row])));
      const media = [all.media[row]!];
      const options = { maxNewTokens: want.length, eosTokenId: [] };
      assert.equal(await all.llm.generate({ inputsEmbeds, media }, options), [want]);
      // The released cache drops the row that nobody sees: each token stands one place earlier.
      const n = inputsEmbeds.shape[1]!;
      using cache = all.llm.createCache(1, n + 1 + published.length);
      const ids: number[] = [];
      let input: LlamaInput = { inputsEmbeds, media };
      for (let g = 0; g < published.length; ++g) {
        using logits = noGrad(() => all.llm.forward(input, { cache, logits: "last" })).logits!;
        const values = (await logits.data()) as Float32Array;
        ids.push(values.indexOf(Math.max(...values)));
        input = { inputIds: [[ids.at(-1)!]], positionIds: [[n + g]] };
      }
      assert.equal(ids, published);
    }
  });
}

test.run();
