// What every family of language models is held to, by its golden cases: logits, every hidden state, loss, gradient, greedy decoding with a cache.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import type { CausalDecoder } from "../../lib/models/causal-decoder.js";
import { countTargets, shifted } from "../../lib/models/language-loss.js";
import { LlamaForCausalLM, type PretrainedOptions } from "../../lib/models/llama.js";
import { MptForCausalLM } from "../../lib/models/mpt.js";
import { OptForCausalLM } from "../../lib/models/opt.js";
import { gatherRows, softmaxCrossEntropy, sum } from "../../lib/ops/index.js";
import { Case, caseNames, here, largest, near } from "../case.js";

export const loadDecoder = (folder: string, dtype: "f32" | "bf16" = "f32"): CausalDecoder => openDecoder(folder, { dtype });
/** Of whichever family. */
export function openDecoder(folder: string, options: Omit<PretrainedOptions, "device"> = {}): CausalDecoder {
  const { model_type } = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
  const family = { opt: OptForCausalLM, mpt: MptForCausalLM }[model_type as string] ?? LlamaForCausalLM;
  return family.fromPretrained(folder, { device: here, ...options });
}

/** Over the rows that the mask shows. */
function errors(got: ArrayLike<number>, want: ArrayLike<number>, mask: number[][]): { rms: number; most: number } {
  const width = got.length / mask.flat().length;
  const off = Array.from(got, (v, i) => v - want[i]!).filter((_, i) => mask.flat()[Math.floor(i / width)]);
  return { rms: Math.sqrt(off.reduce((sum, v) => sum + v * v, 0) / off.length), most: largest(off) };
}

export function decoderCases(pattern: RegExp): void {
  for (const name of caseNames(pattern)) casesOf(name);
}

function casesOf(name: string): void {
  const c = new Case(name);
  const sides = ["right", "left"].filter((side) => c.has(`in.input_ids.${side}`));

  for (const folder of [c.folder, join(c.folder, "sharded")].filter((f) => existsSync(join(f, "config.json")))) {
    for (const side of sides) {
      test(`${name}${folder === c.folder ? "" : ", sharded"}: ${side} padding`, async () => {
        using model = loadDecoder(folder);
        const inputIds = c.rows(`in.input_ids.${side}`);
        const mask = c.rows(`in.attention_mask.${side}`);
        const labels = c.rows(`in.labels.${side}`);
        const inputsEmbeds = model.embed(inputIds);
        inputsEmbeds.requiresGrad = true;
        const { logits, loss, hiddenStates } = model.forward(
          { inputsEmbeds, attentionMask: mask },
          { labels, logits: "all", outputHiddenStates: true },
        );
        backward(loss!);
        await c.close(`out.${side}.logits`, logits!, { mask });
        await c.close(`out.${side}.loss`, loss!);
        await c.close(`grad.${side}.inputs_embeds`, inputsEmbeds.grad!, { mask });
        for (const [i, state] of hiddenStates!.entries()) {
          if (c.has(`out.${side}.hidden_states.${i}`)) await c.close(`out.${side}.hidden_states.${i}`, state, { mask });
        }
        if (c.has(`out.${side}.hidden_states.0`)) assert.is(hiddenStates!.length, c.names(`out.${side}.hidden_states.`).length);
      });
    }
  }

  // The last sample has a row of its own, the others share one: the reference's numbers for rows of their own hold.
  if (sides.includes("right"))
    test(`${name}: samples that share a row`, async () => {
      using model = loadDecoder(c.folder);
      const mask = c.rows("in.attention_mask.right");
      const [B, T] = [mask.length, mask[0]!.length];
      const lengths = mask.map((row) => row.reduce((a, b) => a + b, 0));
      const packs = [[...lengths.keys()].slice(0, -1), [B - 1]].filter((pack) => pack.length);
      const packed = packs.map((pack) => pack.map((b) => lengths[b]!));
      const width = Math.max(...packed.map((row) => row.reduce((a, b) => a + b, 0)));
      const places = packs.map((pack) => pack.flatMap((b) => Array.from({ length: lengths[b]! }, (_, t) => b * T + t)));
      const padded = places.map((row) => [...row, ...new Array<number>(width - row.length).fill(-1)]);
      const index = (values: readonly number[]) => Tensor.from(Int32Array.from(values), [values.length], { device: here });
      const inputsEmbeds = model.embed(c.rows("in.input_ids.right"));
      inputsEmbeds.requiresGrad = true;
      const gathered = (all: Tensor, at: readonly number[], shape: number[]) =>
        scope(() => gatherRows(all.reshape([all.shape[0]! * all.shape[1]!, -1]), index(at)).reshape(shape));
      const x = gathered(inputsEmbeds, padded.flat(), [packs.length, width, -1]);
      // The first label of a row is nobody's next: whatever it is, the reference's loss holds.
      const given = c.rows("in.labels.right").flatMap(([, ...rest]) => [1, ...rest]);
      const labels = padded.map((row) => row.map((place) => (place < 0 ? -100 : (given[place] as number))));
      const { logits, loss } = model.forward({ inputsEmbeds: x, packed }, { labels, logits: "all" });
      backward(loss!);
      const back = new Array<number>(B * T).fill(-1);
      for (const [at, place] of padded.flat().entries()) if (place >= 0) back[place] = at;
      const apart = gathered(logits!, back, [B, T, -1]);
      await c.close("out.right.logits", apart, { mask });
      await c.close("out.right.loss", loss!);
      await c.close("grad.right.inputs_embeds", inputsEmbeds.grad!, { mask });
    });

  if (c.has("in.position_ids.left") && c.json().model_type !== "mpt") {
    test(`${name}: the reference's own position ids`, async () => {
      using model = loadDecoder(c.folder);
      const mask = c.rows("in.attention_mask.left");
      const input = { inputIds: c.rows("in.input_ids.left"), attentionMask: mask, positionIds: c.rows("in.position_ids.left") };
      const { logits } = noGrad(() => model.forward(input));
      await c.close("out.left.logits", logits!, { mask });
    });
  }

  if (c.has("in.long.input_ids")) {
    test(`${name}: longer than the window or the original context`, async () => {
      using model = loadDecoder(c.folder);
      const inputIds = c.rows("in.long.input_ids");
      const { logits, loss } = noGrad(() => model.forward({ inputIds }, { labels: inputIds, logits: "all" }));
      await c.close("out.long.logits", logits!);
      if (c.has("out.long.loss")) await c.close("out.long.loss", loss!);
    });
  }

  const half = join(c.folder, "bf16");
  for (const [dtype, key] of [
    ["f32", "float32_compute"],
    ["bf16", "bf16_compute"],
  ] as const) {
    const out = `out.bf16_weights.${key}.right.logits`;
    if (!existsSync(half) || !c.has(out)) continue;
    test(`${name}: bf16 weights, ${dtype} arithmetic`, async () => {
      using model = loadDecoder(half, dtype);
      const mask = c.rows("in.attention_mask.right");
      const { logits } = noGrad(() => model.forward({ inputIds: c.rows("in.input_ids.right"), attentionMask: mask }));
      if (dtype === "f32") return c.close(out, logits!, { mask });
      // Two that round at every op differ by luck; what counts is how far each lies from the arithmetic in f32.
      const exact = c.values(out.replace(key, "float32_compute"));
      const [ours, theirs] = [errors(await logits!.data(), exact, mask), errors(c.values(out), exact, mask)];
      assert.ok(
        ours.rms <= 1.5 * theirs.rms && ours.most <= 2.5 * theirs.most,
        `${JSON.stringify(ours)} where transformers has ${JSON.stringify(theirs)}`,
      );
    });
  }

  test(`${name}: the loss from chunked logits is the loss from all logits, and so is its gradient`, async () => {
    using model = loadDecoder(c.folder);
    const labels = c.rows("in.labels.right");
    const [B, T] = [labels.length, labels[0]!.length];
    const run = async (slow: boolean) => {
      const inputsEmbeds = model.embed(c.rows("in.input_ids.right"));
      inputsEmbeds.requiresGrad = true;
      const attentionMask = c.rows("in.attention_mask.right");
      const loss = scope(() => {
        if (!slow) return model.forward({ inputsEmbeds, attentionMask, labels, logits: false }).loss!;
        const logits = model.forward({ inputsEmbeds, attentionMask }).logits!;
        const target = Tensor.from(shifted(labels, B, T, -100), [B * T], { device: here });
        return sum(softmaxCrossEntropy(logits.reshape([B * T, -1]), target, -100), 1 / countTargets(labels));
      });
      backward(loss);
      return [...(await loss.data()), ...(await inputsEmbeds.grad!.data())];
    };
    const [fast, slow] = [await run(false), await run(true)];
    near(fast, slow, 1e-5 * largest(slow), `${name}: chunked loss`);
  });

  const generate = c.info.generate;
  if (generate) {
    test(`${name}: greedy decoding with a cache, alone and padded on the left`, async () => {
      using model = loadDecoder(c.folder);
      for (const { prompt, new_ids } of generate.single) assert.equal(await greedy(model, [prompt], undefined, new_ids.length), [new_ids]);
      const { input_ids, attention_mask, new_ids } = generate.batch_left_padded;
      assert.equal(await greedy(model, input_ids, attention_mask, new_ids[0].length), new_ids);
    });

    test(`${name}: rows padded on the right decode as rows padded on the left`, async () => {
      using model = loadDecoder(c.folder);
      const { input_ids, attention_mask, new_ids } = generate.batch_left_padded;
      const right = (row: number[], b: number) => [
        ...row.filter((_, t) => attention_mask[b][t]),
        ...row.filter((_, t) => !attention_mask[b][t]),
      ];
      const ones = (row: number[]) => row.map((_, t) => (t < row.filter(Boolean).length ? 1 : 0));
      assert.equal(await greedy(model, input_ids.map(right), attention_mask.map(ones), new_ids[0].length), new_ids);
    });
  }

  test(`${name}: cached logits equal those of one full forward, in one go and in pieces`, async () => {
    using model = loadDecoder(c.folder);
    const ids = c
      .rows("in.input_ids.right")
      .slice(0, 1)
      .map((row, b) => row.filter((_, t) => c.rows("in.attention_mask.right")[b]![t]).slice(0, sameRope(model)));
    const T = ids[0]!.length;
    const full = await noGrad(() => model.forward({ inputIds: ids })).logits!.data();
    const width = full.length / T;
    using cache = model.createCache(1, T);
    const pieces = [ids[0]!.slice(0, 2), ids[0]!.slice(2, 5), ...Array.from(ids[0]!.slice(5), (id) => [id])].filter(
      (piece) => piece.length,
    );
    let at = 0;
    for (const piece of pieces) {
      const { logits } = noGrad(() => model.forward({ inputIds: [piece] }, { cache }));
      near(await logits!.data(), full.subarray(at * width, (at + piece.length) * width), 1e-5 * largest(full), `${name}: tokens ${at}…`);
      at += piece.length;
    }
    assert.throws(
      () => noGrad(() => model.forward({ inputIds: [[1]] }, { cache })),
      (e: { code?: string }) => e.code === "E_CACHE_FULL",
    );
  });
}

/** Positions up to which a token is turned by the same angle whatever follows it. */
function sameRope({ config: { ropeScaling } }: CausalDecoder): number {
  return ropeScaling?.type === "dynamic" ? ropeScaling.maxPositions : Infinity;
}

export async function greedy(
  model: CausalDecoder,
  ids: number[][],
  attentionMask: number[][] | undefined,
  count: number,
): Promise<number[][]> {
  const made: number[][] = ids.map(() => []);
  using cache = model.createCache(ids.length, ids[0]!.length + count);
  let input: Parameters<CausalDecoder["forward"]>[0] = { inputIds: ids, ...(attentionMask && { attentionMask }) };
  for (let i = 0; i < count; ++i) {
    const { logits } = noGrad(() => model.forward(input, { cache, logits: "last" }));
    const values = await logits!.data();
    logits!.dispose();
    const width = values.length / ids.length;
    const next = made.map((_, b) => argmax(values.subarray(b * width, (b + 1) * width)));
    for (const [b, id] of next.entries()) made[b]!.push(id);
    input = { inputIds: next.map((id) => [id]) };
  }
  return made;
}

function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; ++i) if (values[i]! > values[best]!) best = i;
  return best;
}
