// A model whose pictures stand beside the text (Flamingo): which token sees which, training through all of it, saved adapters, and conversations.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Adapter } from "../../lib/adapters/adapter.js";
import { createAdapter, loadAdapter } from "../../lib/adapters/load-adapter.js";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { ConversationMemory } from "../../lib/anymal/conversation-memory.js";
import { backward } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import type { Turn } from "../../lib/data/row.js";
import { noGrad } from "../../lib/index.js";
import { image } from "../../lib/media/image.js";
import type { AnyMALBatch } from "../../lib/models/anymal.js";
import { here } from "../case.js";
import { toy } from "./toy.js";

const test = suite("media beside the text");
const world = await toy();
test.after(() => world.remove());

const R = 3;
async function assembled(sees: "latest" | "all" = "latest"): Promise<{ model: AnyMAL; adapter: Adapter }> {
  const model = await AnyMAL.assemble({
    llm: world.llm,
    device: here,
    modalities: {
      image: { encoder: world.clip, projector: { type: "resampler", layers: 1, tokens: R, gives: "beside", normalize: false } },
    },
  });
  const adapter = createAdapter(model.llm, "gated-cross-attention", {
    ...{ every: 2, dimVisual: 16, heads: 2, dimHead: 4, onlyAttendImmediateMedia: sees === "latest" },
  });
  return { model, adapter };
}
function open(adapter: Adapter): void {
  for (const [name, tensor] of adapter.namedParameters()) if (name.endsWith("_gate")) tensor.write([2]);
}
const picture = (at: number) =>
  image({ data: Uint8Array.from({ length: 16 * 16 * 3 }, (_, i) => (i * (at + 3) * 37 + at * 91) % 256), width: 16, height: 16 });
const answer = async (model: AnyMAL, turns: readonly Turn[], more: object = {}) => {
  let text = "";
  for await (const piece of model.generate(turns, { maxNewTokens: 8, ...more })) text += piece;
  return text;
};

test("a token sees the media before it, the latest or all, padded on either side, cut, and in rows of unlike number", async () => {
  for (const sees of ["latest", "all"] as const) {
    const { model } = await assembled(sees);
    using _ = model;
    const features = Tensor.from(
      Float32Array.from({ length: 2 * 4 * 16 }, (_, i) => Math.sin(i)),
      [2, 4, 16],
      { device: here },
    );
    const [a, b] = [0, 1].map((item) => ({ modality: "image", item })) as [
      { modality: string; item: number },
      { modality: string; item: number },
    ];
    const batch: AnyMALBatch = {
      rows: [[{ ids: [5] }, a, { ids: [6, 7] }, b, { ids: [8] }], [b, { ids: [9, 10] }], [{ ids: [11] }]],
      features: { image: features },
    };
    const none = [0, 0];
    const [one, two, both] = [
      [0, R],
      [R, 2 * R],
      [0, 2 * R],
    ] as [number[], number[], number[]];
    const spans = (options: object) => {
      const { beside, inputsEmbeds, spliced } = noGrad(() => model.network.embed(batch, options));
      assert.equal(beside!.rows.shape, [3, 2 * R, 16]);
      assert.equal(
        beside!.of.map((row) => row.map(({ item }) => item)),
        [[0, 0, 0, 1, 1, 1], [1, 1, 1], []],
      );
      for (const tensor of [beside!.rows, inputsEmbeds]) tensor.dispose();
      return [beside!.seen!.map((row) => row.map(({ start, end }) => [start, end])), spliced.length];
    };
    const last = sees === "latest" ? two : both;
    assert.equal(spans({}), [
      [
        [none, one, one, last],
        [one, one, none, none],
        [none, none, none, none],
      ],
      4,
    ]);
    assert.equal(spans({ side: "left" }), [
      [
        [none, one, one, last],
        [none, none, one, one],
        [none, none, none, none],
      ],
      4,
    ]);
    assert.equal(spans({ maxLength: 2 }), [
      [
        [none, one],
        [one, one],
        [none, none],
      ],
      2,
    ]);
    features.dispose();
  }
});

test("training goes through gates, blocks and the resampler, the same recomputed; shut gates change nothing", async () => {
  const { model, adapter } = await assembled();
  using _ = model;
  const batch: AnyMALBatch = {
    rows: [
      [{ ids: [5] }, { modality: "image", item: 0 }, { ids: [6, 7, 8], labels: [6, 7, 8] }],
      [{ ids: [9, 10, 11], labels: [-100, 10, 11] }],
    ],
    features: {
      image: Tensor.from(
        Float32Array.from({ length: 4 * 16 }, (_, i) => Math.cos(i)),
        [1, 4, 16],
        { device: here },
      ),
    },
  };
  const loss = async () => {
    using out = noGrad(() => model.network.forward(batch)).loss!;
    return out.item();
  };
  const shut = await loss();
  adapter.enabled = false;
  assert.throws(() => model.network.forward(batch), /gated cross-attention/);
  adapter.enabled = true;
  open(adapter);
  assert.not.equal(await loss(), shut);
  adapter.train();
  const projector = model.projector("image");
  projector.requiresGrad(true);
  const parameters = [...adapter.namedParameters(), ...projector.namedParameters()];
  const bits: string[] = [];
  for (const recompute of [false, true]) {
    model.llm.gradientCheckpointing = recompute;
    const { loss: out } = model.network.forward(batch);
    backward(out!);
    out!.dispose();
    const all: string[] = [];
    for (const [name, tensor] of parameters) {
      assert.ok(tensor.grad, `${name} has a gradient`);
      const values = Array.from(await tensor.grad!.data());
      assert.ok(
        values.some((v) => v !== 0),
        `${name} has a gradient that is not zero`,
      );
      all.push(values.join());
      tensor.grad!.dispose();
      tensor.grad = undefined;
    }
    bits.push(all.join());
  }
  assert.ok(bits[0] === bits[1], "recomputing changes bits");
  for (const tensor of [batch.features.image!].flat()) tensor.dispose();
});

test("two turns with two pictures, read as a conversation, are one fresh turn; other pictures are other answers", async () => {
  const { model, adapter } = await assembled();
  using _ = model;
  open(adapter);
  using memory = new ConversationMemory();
  const pictures = [0, 1, 2].map(picture);
  const turns: Turn[] = [{ role: "user", content: [pictures[0]!, "what is it?"] }];
  const first = await answer(model, turns, { memory });
  assert.is(first, await answer(model, turns));
  const held = memory.prefix.length;
  assert.ok(held > 0);
  turns.push({ role: "assistant", content: [first || "a"] }, { role: "user", content: [pictures[1]!, "and this?"] });
  assert.is(await answer(model, turns, { memory }), await answer(model, turns));
  assert.ok(memory.prefix.length > held);
  // The same words about other pictures.
  const fresh: string[] = [];
  for (const [i, j] of [
    [0, 2],
    [2, 1],
    [1, 0],
    [0, 1],
  ] as const) {
    const others = turns.map((turn, t) => ({
      ...turn,
      content: t === 0 ? [pictures[i]!, "what is it?"] : t === 2 ? [pictures[j]!, "and this?"] : turn.content,
    }));
    const want = await answer(model, others);
    fresh.push(want);
    assert.is(await answer(model, others, { memory }), want, `pictures ${i} and ${j}`);
  }
  assert.ok(new Set(fresh).size > 1, "the pictures matter");
  // Many at once, with and without pictures, answer as alone.
  const prompts = [turns, [{ role: "user" as const, content: ["hello"] }], turns.slice(0, 1)];
  const alone = [];
  for (const one of prompts) alone.push(await answer(model, one));
  assert.equal(await model.generateAll(prompts, { maxNewTokens: 8 }), alone);
});

test("the language model says whether a layer of it looks at media beside, while it takes part", async () => {
  const { model, adapter } = await assembled("all");
  using _ = model;
  const { llm } = model;
  assert.is(llm.sees, "all");
  adapter.enabled = false;
  assert.is(llm.sees, undefined);
  adapter.detach();
  const steered = createAdapter(llm, "llama-adapter-v1", { prompts: 2, layers: 1, visualDims: [4], visualHidden: 3 });
  assert.is(llm.sees, "all");
  steered.detach();
  const alone = createAdapter(llm, "llama-adapter-v1", { prompts: 2, layers: 1 });
  assert.is(llm.sees, undefined);
  alone.detach();
});

test("saved and read again it is the same, under another name too", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-gated-"));
  try {
    const { model, adapter } = await assembled();
    using _ = model;
    open(adapter);
    await adapter.save(join(folder, "a"));
    const ids = [[4, 5, 6, 7]];
    const rows = Tensor.from(
      Float32Array.from({ length: R * 16 }, (_, i) => Math.sin(i)),
      [1, R, 16],
      { device: here },
    );
    const logits = async () => {
      using out = scope(() => noGrad(() => model.llm.forward({ inputIds: ids, beside: { rows } }).logits!));
      return Array.from(await out.data());
    };
    const want = await logits();
    adapter.detach();
    const bare = await logits();
    assert.not.equal(bare, want);
    const again = await loadAdapter(model.llm, join(folder, "a"), { name: "looks" });
    assert.equal(again.config, adapter.config);
    assert.equal(await logits(), want);
    again.detach();
    assert.equal(await logits(), bare);
    rows.dispose();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
