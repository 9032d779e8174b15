// Tokens that train alone. The oracle is the same model with whole tables that train: its gradients of those rows, and those rows after a step.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { backward, device, noGrad, Tensor } from "../../lib/index.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { Embedding } from "../../lib/nn/embedding.js";
import { unwrap, wrap } from "../../lib/nn/layer.js";
import type { Linear } from "../../lib/nn/linear.js";
import { TokenRows } from "../../lib/nn/token-rows.js";
import { Weights } from "../../lib/nn/weights.js";
import { AdamW } from "../../lib/train/optimizer.js";
import { Case, caseNames, here } from "../case.js";
import { recordedCommands } from "../recorded.js";

const test = suite("token rows");
const CASES = [caseNames(/^llama2$/)[0]!, caseNames(/^llama-tied$/)[0]!];
const TABLES = ["model.embed_tokens", "lm_head"];
const IDS = { neighbours: [3, 4, 5], apart: [2, 9, 5, 10] };
const ROWS = [
  [1, 3, 7, 4, 10, 5, 2, 9],
  [1, 9, 3, 3, 8, 2, 5, 6],
];
const labels = ROWS.map((row) => row.map((id, t) => (t < 1 ? -100 : id)));

const load = (name: string, more: Partial<Parameters<typeof LlamaForCausalLM.fromPretrained>[1]> = {}) =>
  LlamaForCausalLM.fromPretrained(new Case(name).folder, { device: here, ...more });
function put(llm: LlamaForCausalLM, ids: readonly number[], owner = "tokens"): TokenRows[] {
  const paths = llm.lmHead ? TABLES : TABLES.slice(0, 1);
  return paths.map((path) => wrap(llm, path, (base) => new TokenRows(base as Embedding | Linear, owner, { ids })) as TokenRows);
}
const tables = (llm: LlamaForCausalLM) => [llm.model.embedding.weight, llm.headWeight];
const bytes = async (tensor: Tensor) => new Uint8Array(await tensor.bytes());
const numbers = async (tensor: Tensor) => [...((await tensor.data()) as Float32Array)];
const pick = (all: readonly number[], ids: readonly number[], width: number) =>
  ids.flatMap((id) => all.slice(id * width, (id + 1) * width));
const same = (a: ArrayLike<number>, b: ArrayLike<number>, what: string) =>
  assert.ok(Buffer.from(Float64Array.from(a).buffer).equals(Buffer.from(Float64Array.from(b).buffer)), what);
function near(got: readonly number[], want: readonly number[], what: string): void {
  const most = Math.max(...want.map(Math.abs));
  const off = Math.max(...want.map((value, i) => Math.abs(value - got[i]!)));
  assert.is(got.length, want.length);
  assert.ok(most > 0 && off <= 2e-6 * most, `${what}: off by ${off} of ${most}`);
}

for (const name of CASES) {
  for (const [kind, ids] of Object.entries(IDS)) {
    for (const through of ["loss", "logits"] as const) {
      test(`${name}, ${kind}, through the ${through}: gradients are those of whole tables, and so is a step`, async () => {
        const grads: number[][] = [];
        const after: number[][] = [];
        for (const whole of [true, false]) {
          using llm = load(name);
          const own = whole ? [] : put(llm, ids);
          if (whole) for (const table of tables(llm)) table.requiresGrad = true;
          const trained = whole ? [...new Set(tables(llm))] : own.map(({ rows }) => rows);
          const frozen = whole
            ? []
            : await Promise.all(
                llm
                  .parameters()
                  .filter((p) => !p.requiresGrad)
                  .map(bytes),
              );
          using optimizer = new AdamW([{ parameters: trained.map((p, i) => [`${i}`, p] as const) }], { weightDecay: 0 });
          if (through === "loss") backward(llm.forward({ inputIds: ROWS }, { labels, logits: false }).loss as Tensor);
          else {
            const { logits } = llm.forward({ inputIds: ROWS });
            using weight = Tensor.from(
              Float32Array.from({ length: logits!.size }, (_, i) => Math.sin(i)),
              logits!.shape,
              { device: here },
            );
            backward(logits!, weight);
          }
          const width = trained[0]!.shape[1] as number;
          for (const p of trained) grads.push(whole ? pick(await numbers(p.grad!), ids, width) : await numbers(p.grad!));
          optimizer.step(1e-2).dispose();
          for (const p of trained) after.push(whole ? pick(await numbers(p), ids, width) : await numbers(p));
          if (whole) continue;
          // The table takes over the rows with the next forward, and nothing but them.
          const vocabulary = llm.config.vocabSize;
          const others = Array.from({ length: vocabulary }, (_, id) => id).filter((id) => !ids.includes(id));
          noGrad(() => llm.forward({ inputIds: [[1]] })).logits!.dispose();
          using bare = load(name);
          for (const [i, table] of tables(llm).entries()) {
            const [now, then] = [await numbers(table), await numbers(tables(bare)[i]!)];
            same(pick(now, others, width), pick(then, others, width), "other rows keep their bits");
            same(pick(now, ids, width), await numbers(own[Math.min(i, own.length - 1)]!.rows), "trained rows");
          }
          assert.is(frozen.length, llm.parameters().filter((p) => !p.requiresGrad).length);
        }
        const count = grads.length / 2;
        for (let i = 0; i < count; ++i) {
          near(grads[count + i]!, grads[i]!, `gradient of table ${i}`);
          near(after[count + i]!, after[i]!, `table ${i} after a step`);
        }
      });
    }
  }

  test(`${name}: off is the base to the bit, on again is not, taken off is the base again and leaves no bytes`, async () => {
    await using d = device("cpu", { threads: 1 });
    const llm = load(name, { device: d });
    const ask = async () => {
      using logits = noGrad(() => llm.forward({ inputIds: ROWS })).logits as Tensor;
      return bytes(logits);
    };
    const before = await ask();
    await d.synchronize();
    const held = d.memory();
    const own = put(llm, IDS.apart);
    same(await ask(), before, "rows begin as what the table holds");
    for (const { rows } of own) await rows.write(Float32Array.from({ length: rows.size }, (_, i) => Math.cos(i)));
    const changed = await ask();
    assert.not.equal(changed, before);
    for (const one of own) one.enabled = false;
    same(await ask(), before, "off");
    for (const one of own) one.enabled = true;
    same(await ask(), changed, "on again");
    for (const path of llm.lmHead ? TABLES : TABLES.slice(0, 1)) unwrap(llm, path, "tokens").release();
    same(await ask(), before, "taken off");
    await d.synchronize();
    assert.equal({ ...d.memory(), bytesPeak: 0, bytesReserved: 0 }, { ...held, bytesPeak: 0, bytesReserved: 0 });
    llm.dispose();
  });

  test(`${name}: a captured step reads the table, one command for no token more`, async () => {
    using llm = load(name);
    const options = { maxNewTokens: 6, eosTokenId: [] };
    const answer = () => llm.generate({ inputIds: [[1, 3, 9]] }, options);
    const [before] = await recordedCommands(here, answer);
    const own = put(llm, IDS.apart);
    for (const { rows } of own) {
      await rows.write(Float32Array.from({ length: rows.size }, (_, i) => 3 * Math.cos(7 * i)));
      rows.requiresGrad = false;
    }
    for (const one of own) one.settle();
    let tokens: number[] = [];
    assert.equal(await recordedCommands(here, async () => ([tokens = []] = await answer())), [before]);
    const ids = [1, 3, 9];
    for (const token of tokens) {
      const logits = await numbers(llm.forward({ inputIds: [ids] }, { logits: "last" }).logits as Tensor);
      assert.is(logits.indexOf(Math.max(...logits)), token, "as without a cache");
      ids.push(token);
    }
    assert.is(ids.length, 9);
  });

  test(`${name}: tables grow by rows that are the mean, what was there keeps its bits`, async () => {
    for (const dtype of ["f32", "bf16"] as const) {
      using llm = load(name, { dtype, quantization: { format: "nf4" } });
      using bare = load(name, { dtype, quantization: { format: "nf4" } });
      const { vocabSize, hiddenSize: width } = llm.config;
      llm.resizeTokenEmbeddings(vocabSize + 3);
      assert.is(llm.config.vocabSize, vocabSize + 3);
      assert.is(llm.headWeight === llm.model.embedding.weight, bare.headWeight === bare.model.embedding.weight, "tied as before");
      for (const [i, table] of tables(llm).entries()) {
        const then = await bytes(tables(bare)[i]!);
        assert.equal((await bytes(table)).subarray(0, then.length), then);
        const values = await numbers(table);
        for (const id of [vocabSize, vocabSize + 2])
          for (const c of [0, width - 1]) {
            const column = Array.from({ length: vocabSize }, (_, row) => values[row * width + c]!);
            const mean = column.reduce((a, b) => a + b, 0) / vocabSize;
            assert.ok(Math.abs(values[id * width + c]! - mean) <= (dtype === "f32" ? 1e-6 : 4e-3) * Math.max(...column.map(Math.abs)));
          }
      }
      const own = put(llm, [vocabSize, vocabSize + 1, vocabSize + 2]);
      using loss = llm.forward({ inputIds: [[1, vocabSize, 5, vocabSize + 2]] }, { labels: [[-100, 2, vocabSize + 1, 3]], logits: false })
        .loss!;
      backward(loss);
      for (const { rows } of own) assert.ok((await numbers(rows.grad!)).some((g) => g !== 0));
      assert.throws(() => llm.forward({ inputIds: [[vocabSize + 3]] }), /E_|inputIds/);
      assert.throws(
        () => llm.resizeTokenEmbeddings(vocabSize + 9),
        (e: Error & { code: string }) => e.code === "E_ADAPTER",
      );
      assert.throws(
        () => llm.resizeTokenEmbeddings(vocabSize),
        (e: Error & { code: string }) => e.code === "E_VALUE",
      );
    }
  });
}

test("tables that an adapter has its own of do not grow under it", async () => {
  for (const name of CASES)
    for (const table of ["embed_tokens", "lm_head"]) {
      using llm = load(name);
      const { vocabSize } = llm.config;
      const adapter = LoraAdapter.apply(llm, { r: 2, targetModules: ["q_proj"], modulesToSave: [table] });
      for (const on of [true, false]) {
        adapter.enabled = on;
        assert.throws(
          () => llm.resizeTokenEmbeddings(vocabSize + 1),
          (e: Error & { code: string }) => e.code === "E_ADAPTER",
        );
      }
      adapter.detach();
      llm.resizeTokenEmbeddings(vocabSize + 1);
      assert.ok(tables(llm).every(({ shape }) => shape[0] === vocabSize + 1));
    }
});

test("tables that train go on training when they grow, frozen ones stay frozen", () => {
  for (const name of CASES)
    for (const trainable of [true, false]) {
      using llm = load(name, { trainable });
      llm.resizeTokenEmbeddings(llm.config.vocabSize + 1);
      assert.ok(tables(llm).every(({ requiresGrad }) => requiresGrad === trainable));
    }
});

test("ids that the table lacks, that another trains, and tables that train whole are refused, and nothing is written", async () => {
  using llm = load(CASES[0]!);
  const { vocabSize } = llm.config;
  const code = (e: Error & { code: string }) => e.code === "E_ADAPTER";
  const before = await bytes(llm.model.embedding.weight);
  for (const ids of [[], [vocabSize], [-1], [1.5], [4, 2, 4]]) assert.throws(() => put(llm, ids), code);
  put(llm, [2, 3], "one");
  assert.throws(() => put(llm, [3, 4], "two"), code);
  put(llm, [5], "two");
  assert.throws(() => llm.forward({ inputIds: [[2]] }, { labels: [[2]], logits: false }), code);
  assert.equal(await bytes(llm.model.embedding.weight), before);
  using whole = load(CASES[0]!, { trainable: true });
  assert.throws(() => put(whole, [1]), code);
});

test("a whole vocabulary may train, and what is between its runs is none", async () => {
  const at = new Embedding(Weights.fresh({ device: here }), 200_000, 1);
  at.requiresGrad(false);
  const ids = Array.from({ length: 200_000 }, (_, i) => (i + 70_000) % 200_000).filter((id) => id !== 7);
  const rows = new TokenRows(at, "tokens", { ids });
  const { tensor, first } = rows.trained()!;
  assert.is(first, 0);
  assert.equal(tensor.shape, [200_000, 1]);
  const [got, table] = [await numbers(tensor), await numbers(at.weight)];
  table[7] = 0;
  same(got, table, "rows in the order of the table");
  tensor.dispose();
  rows.release();
  at.weight.dispose();
});

test.run();
