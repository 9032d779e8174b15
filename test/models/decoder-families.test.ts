// What stands on a language model stands on every family of them: generation, quantised weights, each kind of adapter, files.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Adapter } from "../../lib/adapters/adapter.js";
import { exportMerged } from "../../lib/adapters/export.js";
import { type AdapterOptions, createAdapter, loadAdapter } from "../../lib/adapters/load-adapter.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { generateTokens } from "../../lib/generate/generate.js";
import { PrefixCache } from "../../lib/generate/prefix-cache.js";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import type { CausalDecoder, LlamaInput } from "../../lib/models/causal-decoder.js";
import { Case, caseFolder, here, largest, near } from "../case.js";
import { openDecoder } from "./decoder-cases.js";

const FAMILIES = ["opt", "opt-post", "mpt", "mpt-clip"];
const IDS = [
  [5, 9, 17, 33, 8, 21],
  [7, 4, 30, 12, 3, 11],
];
const MASK = [
  [1, 1, 1, 1, 1, 1],
  [0, 0, 1, 1, 1, 1],
];

const logitsOf = async (model: CausalDecoder, input: LlamaInput = { inputIds: IDS, attentionMask: MASK }) => {
  using y = noGrad(() => model.forward(input)).logits!;
  return Float32Array.from((await y.data()) as Float32Array);
};
/** A number of each tensor's own, small, so that nothing is zero by chance. */
async function stirred(adapter: Adapter): Promise<void> {
  for (const [, tensor] of adapter.namedParameters())
    tensor.write(Float32Array.from({ length: tensor.size }, (_, i) => 0.3 * Math.sin(i + 1)));
  adapter.kind.moved?.(adapter);
}
async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "anymal-families-"));
  try {
    await use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

for (const name of ["opt", "mpt"]) {
  const { single, batch_left_padded: batch } = new Case(name).info.generate;
  const noEnd = { eosTokenId: [] as number[] };

  test(`${name}: generate(), whose step is recorded, writes what transformers does, alone and in a batch padded on the left`, async () => {
    using model = await AutoModelForCausalLM.fromPretrained(caseFolder(name), { device: here });
    for (const { prompt, new_ids } of single)
      assert.equal(await model.generate({ inputIds: [prompt] }, { maxNewTokens: new_ids.length, ...noEnd }), [new_ids]);
    const prompt = { inputIds: batch.input_ids, attentionMask: batch.attention_mask };
    assert.equal(await model.generate(prompt, { maxNewTokens: batch.new_ids[0].length, ...noEnd }), batch.new_ids);
  });

  test(`${name}: a conversation goes on from what is cached as from the beginning, also where keys are kept in 8 bit`, async () => {
    using model = openDecoder(caseFolder(name));
    for (const kvCache of [undefined, "int8"] as const) {
      const answer = async (ids: number[], past?: PrefixCache) => {
        const tokens: number[] = [];
        const options = { maxNewTokens: 5, ...noEnd, ...(past && { past }), ...(kvCache && { kvCache }) };
        for await (const [token] of generateTokens(model, { inputIds: [ids] }, options)) tokens.push(token!);
        return tokens;
      };
      using past = new PrefixCache();
      const first = await answer(single[0].prompt, past);
      const next = [...single[0].prompt, ...first, 9, 12, 31];
      const held = past.length;
      assert.ok(held >= single[0].prompt.length);
      assert.equal(await answer(next, past), kvCache ? await answer(next, past) : await answer(next));
    }
  });
}

for (const name of FAMILIES) {
  test(`${name}: recomputed layers give the same gradients, bit for bit`, async () => {
    using model = openDecoder(caseFolder(name), { trainable: true });
    const run = async (on: boolean) => {
      model.gradientCheckpointing = on;
      const loss = scope(() => model.forward({ inputIds: IDS, attentionMask: MASK }, { labels: IDS, logits: false }).loss!);
      backward(loss);
      const grads: [string, Float32Array][] = [];
      for (const [path, tensor] of model.namedParameters()) {
        if (tensor.grad) grads.push([path, Float32Array.from((await tensor.grad.data()) as Float32Array)]);
        tensor.grad?.dispose();
        tensor.grad = undefined;
      }
      return grads;
    };
    const [once, again] = [await run(false), await run(true)];
    assert.is(once.length, [...model.namedParameters()].length);
    assert.ok(once.every(([, grad]) => largest(grad) > 0));
    assert.equal(again, once);
  });

  test(`${name}: in NF4 and int8 it computes what its dequantised weights do; written dense, transformers' names`, async () => {
    for (const format of ["nf4", "int8"] as const)
      await inFolder(async (folder) => {
        using model = openDecoder(caseFolder(name), { quantization: { format, ...(format === "int8" && { threshold: 0 }) } });
        const json = JSON.parse(readFileSync(join(caseFolder(name), "config.json"), "utf8"));
        const drift = await exportMerged(model, folder, json);
        assert.ok(drift.largest < (format === "nf4" ? 1e-3 : 1), `${format} ${drift.largest}`); // int8 rounds what goes in, too
        using dense = openDecoder(folder);
        const names = (one: CausalDecoder) => Array.from(one.namedParameters(), ([path]) => path).sort();
        using plain = openDecoder(caseFolder(name));
        assert.equal(names(dense), names(plain));
      });
  });

  const adapters: { [K in keyof AdapterOptions]?: Partial<AdapterOptions[K]> } = {
    lora: { r: 2, alpha: 4 },
    ia3: name.startsWith("mpt") ? { targetModules: ["Wqkv", "down_proj"], feedforwardModules: ["down_proj"] } : {},
    "prompt-tuning": { tokens: 3 },
    "prefix-tuning": { tokens: 3 },
    "llama-adapter-v1": { prompts: 3, layers: 1 },
    "trained-tokens": { tokenIndices: [5, 8], targetModules: [name.startsWith("mpt") ? "wte" : "embed_tokens"] },
    pink: { hidden: 4 },
    bottleneck: { hidden: 4 },
    "gated-cross-attention": { every: 1, dimVisual: 6, heads: 2, dimHead: 4 },
  };
  for (const kind of Object.keys(adapters) as (keyof AdapterOptions)[]) {
    test(`${name}: ${kind} trains, is saved, read again and taken off`, async () => {
      using model = openDecoder(caseFolder(name));
      const beside = {
        rows: Tensor.from(
          Float32Array.from({ length: 2 * 3 * 6 }, (_, i) => Math.cos(i)),
          [2, 3, 6],
          { device: here },
        ),
      };
      const input: LlamaInput = { inputIds: IDS, attentionMask: MASK, ...(kind === "gated-cross-attention" && { beside }) };
      const bare = await logitsOf(model);
      const adapter = createAdapter(model, kind, adapters[kind] as never);
      await stirred(adapter);
      adapter.train();
      const { loss } = scope(() => ({ loss: model.forward({ ...input, labels: IDS, logits: false }).loss! }));
      backward(loss);
      for (const [key, tensor] of adapter.namedParameters()) assert.ok(tensor.grad, key);
      adapter.train(false);
      const on = await logitsOf(model, input);
      assert.not.equal(on, bare);
      await inFolder(async (folder) => {
        await adapter.save(folder);
        adapter.detach();
        assert.equal(await logitsOf(model), bare);
        const again = await loadAdapter(model, folder);
        near(await logitsOf(model, input), on, 1e-6 * largest(on), kind);
        // With a cache, one token after the other, what a forward of the whole row says.
        if (kind !== "gated-cross-attention") {
          using cache = model.createCache(1, 12);
          const steps: number[] = [];
          const lead = adapter.lead?.length ?? 0;
          for (const piece of [[5, 9], [17, 33], [8], [21]]) {
            using y = noGrad(() => model.forward({ inputIds: [piece] }, { cache, logits: "last" })).logits!;
            if (piece.at(-1) === 21) steps.push(...((await y.data()) as Float32Array));
          }
          const whole = await logitsOf(model, { inputIds: [IDS[0]!] });
          near(steps, whole.subarray(whole.length - steps.length), 2e-5 * largest(whole), `${kind}, lead ${lead}`);
        }
        again.detach();
      });
    });
  }
}

test("more positions than an OPT has learned are refused before anything is computed; MPT takes no position ids", () => {
  using opt = openDecoder(caseFolder("opt"));
  const inputIds = [Array.from({ length: opt.config.maxPositions + 1 }, () => 5)];
  assert.throws(() => opt.forward({ inputIds }), /at most 48 positions/);
  opt.forward({ inputIds: [inputIds[0]!.slice(1)] }).logits!.dispose();
  using mpt = openDecoder(caseFolder("mpt"));
  assert.throws(() => mpt.forward({ inputIds: [[1, 2]], positionIds: [[0, 1]] }), /leave them out/);
});

test.run();
