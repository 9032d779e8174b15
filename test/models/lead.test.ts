// What stands before every row: embeddings (prompt tuning), keys and values (prefix tuning), and a row that only steers (LaVIN's modality token). Held
// against PEFT and the published equations in every place that it moves: positions, ranges, slots of the cache, labels, logits.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { keep } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { generate } from "../../lib/generate/generate.js";
import { PrefixCache } from "../../lib/generate/prefix-cache.js";
import { noGrad } from "../../lib/index.js";
import { SafetensorsFile } from "../../lib/io/safetensors.js";
import { LlamaForCausalLM, type LlamaInput } from "../../lib/models/llama.js";
import type { CausalSelfAttention } from "../../lib/nn/attention.js";
import { Wrap, wrap } from "../../lib/nn/layer.js";
import type { LeadSource, Sequence } from "../../lib/nn/sequence.js";
import { concat, gatherRows, sliceCopy } from "../../lib/ops/index.js";
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

test.run();
