// The Q-Former against transformers' (Blip2QFormerModel, InstructBlipQFormerModel): every layer's rows and every gradient, with rows of pictures that nobody may see
// and instructions of unlike length.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, checkpoint, noGrad } from "../../lib/core/autograd.js";
import { randomState, seed } from "../../lib/core/random.js";
import { Tensor } from "../../lib/core/tensor.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { completeBridge, makeBridge } from "../../lib/models/bridges/index.js";
import type { QFormerSetup } from "../../lib/models/bridges/q-former.js";
import { QFormer, type QFormerConfig } from "../../lib/models/bridges/querying.js";
import { activationKind, type Json } from "../../lib/models/config.js";
import type { Seen } from "../../lib/nn/bert-layer.js";
import { biasOf } from "../../lib/nn/sequence.js";
import { Weights } from "../../lib/nn/weights.js";
import { Case, caseNames, here } from "../case.js";

function configOf(json: Json, told: boolean): QFormerConfig {
  const n = (key: string) => json[key] as number;
  const padding = json.pad_token_id as number | null;
  return {
    ...{ dim: n("encoder_hidden_size"), width: n("hidden_size"), layers: n("num_hidden_layers"), heads: n("num_attention_heads") },
    ...{ hidden: n("intermediate_size"), every: n("cross_attention_frequency"), eps: n("layer_norm_eps") },
    activation: activationKind(json, "hidden_act", "gelu"),
    text: told || json.use_qformer_text_input === true,
    ...(told && { words: { vocabulary: n("vocab_size"), positions: n("max_position_embeddings"), padding: padding ?? undefined } }),
  };
}

/** A mask of ones and zeros as what a row of queries sees. */
function seenBy(mask: readonly (readonly number[])[], T: number): Seen {
  const S = mask[0]!.length;
  const spans = mask.map((row) => {
    const start = row.indexOf(1);
    return new Array(T).fill({ start, end: row.lastIndexOf(1) + 1 });
  });
  return { bias: Tensor.from(biasOf(spans, S), [mask.length, 1, T, S], { device: here }) };
}

for (const name of caseNames(/-qformer$/)) {
  const c = new Case(name);
  const told = c.info.kind === "instructblip";

  test(`${name}: the rows of every layer and every gradient are transformers', every key is read and no other`, async () => {
    using checkpoint = Checkpoint.open(join(c.folder, "model.safetensors"));
    const at = Weights.from(checkpoint, { device: here, trainable: true });
    using body = new QFormer(at, configOf(c.json(), told));
    at.finish();
    assert.equal([...body.namedParameters()].map(([n]) => n).sort(), [...checkpoint.names()].sort());
    const [queries, media] = ["in.query_embeds", "in.encoder_hidden_states"].map((n) => c.tensor(n, { requiresGrad: true })) as [
      Tensor,
      Tensor,
    ];
    const Q = queries.shape[1]!;
    const mask = told ? c.rows("in.attention_mask") : undefined;
    const text = told ? c.rows("in.input_ids").map((ids, b) => ids.slice(0, mask![b]!.slice(Q).filter(Boolean).length)) : [];
    const { rows, range } = body.withText(queries, text);
    const told1 = { queries: Q, media, mediaSeen: seenBy(c.rows("in.encoder_attention_mask"), Q), seen: { range } };
    const states = body.states(rows, told1);
    const visible = { ...(mask && { mask }) };
    for (const [i, state] of states.entries()) await c.close(`out.hidden_states.${i}`, state, visible);
    await c.close("out.last_hidden_state", states.at(-1)!, visible);
    backward(states.at(-1)!, c.tensor("in.grad_y"));
    const gradients = new Map<string, Tensor>([...body.namedParameters(), ["query_embeds", queries], ["encoder_hidden_states", media]]);
    for (const key of c.names("grad.")) {
      const gradient = gradients.get(key.slice("grad.".length))!.grad;
      if (gradient) await c.close(key, gradient);
      else assert.ok(c.info.no_gradient.includes(key), key);
    }
    for (const tensor of [...states, queries, media]) tensor.dispose();
  });
}

const features = (shape: readonly number[]) =>
  Tensor.from(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i)),
    shape,
    { device: here },
  );
const reading = completeBridge({ type: "q-former", width: 12, layers: 2, queries: 3, vocabulary: 20, padding: 0 }, 8, 0);

test("a bridge that reads the question: other words, other rows; padded or not, the same; without one it says so", async () => {
  using bridge = makeBridge(Weights.fresh({ device: here, seed: 4 }), reading, 10);
  assert.equal([bridge.question?.vocabulary, bridge.question?.positions], [20, 512]);
  using x = features([2, 5, 8]);
  const ask = async (question: number[][]) => {
    using y = noGrad(() => bridge.forward(x, { question }));
    assert.equal(y.shape, [2, 3, 10]);
    return Array.from((await y.data()) as Float32Array);
  };
  const [one, other, longer, none] = [await ask([[5, 6], [7, 8]]), await ask([[5, 6], [8, 7]]), await ask([[5, 6], [7, 8, 9, 1]]), await ask([[], []])]; // biome-ignore format: one line
  assert.equal(one.slice(0, 30), other.slice(0, 30));
  assert.not.equal(one.slice(30), other.slice(30));
  assert.equal(one.slice(0, 30), longer.slice(0, 30), "a row alone has other numbers than beside a longer one");
  assert.not.equal(one, none);
  assert.throws(() => bridge.forward(x), /expected the question/);
  assert.throws(() => bridge.forward(x, { question: [[5]] }), /a question for each of 2 items, got 1/);
  assert.throws(() => bridge.forward(x, { question: [[5], [20]] }), /ids below 20, .*got 20/);
  assert.throws(() => bridge.forward(x, { question: [[5], new Array(513).fill(5)] }), /at most 512 tokens, got 513/);
});

test("of a clip each frame is asked the same, and their rows follow each other", async () => {
  using bridge = makeBridge(Weights.fresh({ device: here, seed: 4 }), reading, 10);
  using clip = features([2, 3, 5, 8]);
  const question = [[5, 6, 7], [8]];
  using all = noGrad(() => bridge.forward(clip, { question }));
  assert.equal(all.shape, [2, bridge.rows([3, 5, 8]), 10]);
  using second = noGrad(() => bridge.forward(clip.reshape([6, 5, 8]), { question: question.flatMap((one) => [one, one, one]) }));
  assert.equal(await all.data(), await second.data());
});

test("in training it drops where the papers do: behind the embeddings, each attention and each feed-forward; a frozen one drops nothing, and backward sees what forward saw", async () => {
  const asked = { type: "q-former", width: 12, layers: 3, queries: 3 } as const;
  const made = (more: object) => makeBridge(Weights.fresh({ device: here, seed: 4 }), completeBridge({ ...asked, ...more }, 8, 0), 10);
  using x = features([2, 5, 8]);
  const draw = async (bridge: ReturnType<typeof made>, on: boolean, told?: { question: number[][] }) => {
    bridge.train(on);
    seed(9);
    using y = noGrad(() => bridge.forward(x, told));
    return { y: await y.data(), draws: randomState().offset };
  };
  using plain = made({});
  using none = made({ dropout: 0 });
  using frozen = made({ frozen: true });
  using told = made({ vocabulary: 20 });
  assert.equal(Array.from([plain, none, frozen, told], ({ draws }) => draws), [true, false, false, true]); // biome-ignore format: one line
  const { y: still, draws } = await draw(plain, false);
  assert.is(draws, 0);
  const dropping = await draw(plain, true);
  assert.is(dropping.draws, 1 + 3 * 2 + 2, "three layers, of which two look at the medium");
  assert.not.equal(dropping.y, still);
  assert.equal((await draw(plain, true)).y, dropping.y, "the same seed, the same draws");
  assert.is((await draw(told, true, { question: [[5, 6], [7]] })).draws, 1 + 3 * 3 + 2, "words have a feed-forward of their own");
  for (const one of [none, frozen]) assert.equal(await draw(one, true), { y: still, draws: 0 });

  // Over many draws what is dropped comes out even: their mean is nearer to what is not dropped than any of them, as 1/√n.
  using slight = made({ dropout: 0.01, layers: 1 });
  const want = (await draw(slight, false)).y as Float32Array;
  slight.train();
  const sum = new Float64Array(want.length);
  const off = (of: ArrayLike<number>) => Math.sqrt(want.reduce((all, v, i) => all + (of[i]! - v) ** 2, 0));
  let one = 0;
  for (let n = 0; n < 200; ++n) {
    using y = noGrad(() => slight.forward(x));
    const got = (await y.data()) as Float32Array;
    one += off(got) / 200;
    for (const [i, v] of got.entries()) sum[i]! += v / 200;
  }
  assert.ok(off(sum) < 0.25 * one, `${off(sum)} beside ${one}`);

  plain.train();
  const gradients = async (again: boolean) => {
    seed(9);
    const y = again ? checkpoint((rows) => plain.forward(rows), x) : plain.forward(x);
    backward(y, Tensor.full(y.shape, 1, { device: here }));
    const all = await Promise.all(plain.trainable().map(async ({ grad }) => [...(await grad!.data())]));
    for (const tensor of plain.trainable()) tensor.grad = undefined;
    return all;
  };
  assert.equal(await gradients(true), await gradients(false));
});

test("what makes no Q-Former is told", () => {
  const complete = (more: object) => () => completeBridge({ type: "q-former", ...more }, 8, 0);
  assert.throws(complete({ width: 10, heads: 4 }), /projector.heads.*divide its width 10/);
  assert.throws(complete({ positions: 5 }), /positions.*no vocabulary/);
  assert.throws(complete({ vocabulary: 5, text: false }), /projector.text.*true where it reads the question/);
  assert.throws(complete({ vocabulary: 5, padding: 5 }), /padding.*below its vocabulary 5/);
  assert.is((completeBridge({ type: "q-former", dropout: 0 }, 8, 0) as QFormerSetup).dropout, 0);
});

test.run();
