// What each system's second stage moves, by name: what it opens and nothing else.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { weightsOf } from "../../lib/anymal/parts.js";
import type { Tensor } from "../../lib/core/tensor.js";
import type { Row } from "../../lib/data/row.js";
import { SYSTEM_NAMES, type SystemName } from "../../lib/systems/index.js";
import { instruct } from "../../lib/train/instruct.js";
import { captions, type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { all, rejection } from "./stages.js";

const test = suite("what systems train");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const ADAPTERS: Partial<Record<SystemName, Record<string, object>>> = {
  flamingo: { "gated-cross-attention": { every: 1, heads: 2, dimHead: 4 } },
  otter: { "gated-cross-attention": { every: 1, heads: 2, dimHead: 4 } },
  "llama-adapter": { "llama-adapter-v1": { layers: 1 } },
  "llama-adapter-v2": { "llama-adapter-v2": { layers: 1, prompts: 2, early: 1 } },
};
/** Of the published size it would be of 188 million parameters. */
const SMALL = { type: "q-former", queries: 3, layers: 2, width: 8, normalize: "layernorm" } as const;
const IMAGE: Partial<Record<SystemName, object>> = {
  "blip-2": { projector: SMALL },
  instructblip: { projector: { ...SMALL, vocabulary: 400 } },
  mmicl: { projector: SMALL },
  lavin: { layer: [1, 2] },
  // A picture is a clip of one frame.
  "video-chatgpt": { projector: { type: "clip-pool" } },
};
const MOVES: Readonly<Record<SystemName, readonly string[]>> = {
  anymal: ["adapters", "projectors"],
  "blip-2": ["projectors"],
  flamingo: ["adapters", "projectors"],
  instructblip: ["projectors"],
  "llama-adapter": ["adapters", "projectors"],
  "llama-adapter-v2": ["adapters", "projectors"],
  lavin: ["adapters", "projectors"],
  llava: ["llm", "projectors"],
  "llava-1.5": ["llm", "projectors"],
  minigpt4: ["projectors"],
  mmicl: ["adapters", "llm", "projectors"],
  otter: ["adapters", "projectors"],
  pink: ["adapters", "projectors"],
  "video-chatgpt": ["projectors"],
};
/** Of the language model and of the bridge, where not all of them. */
const PARTS: Partial<Record<SystemName, RegExp>> = {
  mmicl: /^llm\..*\.(q|v)_proj\.weight$|^projectors\.image\.language_projection\./,
};

function* everything(model: AnyMAL): Generator<[string, Tensor]> {
  yield* weightsOf(model.llm);
  yield* model.projector("image").namedParameters("projectors.image");
  const own = new Set(Array.from(model.adapters.values()).flatMap((adapter) => Array.from(adapter.namedParameters(), ([, p]) => p)));
  for (const [name, p] of model.encoder("image").encoder.namedParameters("encoders.image")) if (!own.has(p)) yield [name, p];
  for (const [name, adapter] of model.adapters) for (const [key, p] of adapter.namedParameters()) yield [`adapters.${name}.${key}`, p];
}
/** Of tables without the rows of added tokens, which are those of the adapter "tokens". */
async function bytes(model: AnyMAL): Promise<Map<string, string>> {
  const added = model.addedTokens.map((word) => model.tokenizer.tokenToId(word) as number);
  const list = await Promise.all(
    Array.from(everything(model), async ([name, p]) => {
      const all = Buffer.from(await p.bytes());
      const row = all.length / (p.shape[0] as number);
      if (/embed_tokens|lm_head/.test(name) && name.startsWith("llm.")) for (const id of added) all.fill(0, id * row, (id + 1) * row);
      return [name, all.toString("base64")] as const;
    }),
  );
  return new Map(list);
}

for (const system of SYSTEM_NAMES)
  test(system, async () => {
    using model = await AnyMAL.assemble({
      ...{
        llm: world.llm,
        device: here,
        system,
        quantization: "none",
        modalities: { image: { encoder: world.clip, ...IMAGE[system], ...(system === "instructblip" && { question: world.llm }) } },
      },
      prompt: { system: "Look." }, // the toy has no room for LLaVA's
      ...(ADAPTERS[system] && { adapters: ADAPTERS[system] }),
    });
    model.calibrated.add("image"); // measuring would move the projection too
    const before = await bytes(model);
    await all(instruct(model, { data: captions(), steps: 3, batch: 4, warmupSteps: 0, learningRate: 1e-2, schedule: "constant" }));
    const after = await bytes(model);
    const still = (name: string) => before.get(name) === after.get(name);
    // The tables hold the rows of added tokens as they are now; what else is in them stays (added-tokens.test.ts).
    const tables = model.addedTokens.length ? ["llm.model.embed_tokens.weight", "llm.lm_head.weight"] : [];
    const moved = [...after.keys()].filter((name) => !still(name) && !tables.includes(name));
    assert.equal([...new Set(moved.map((name) => name.split(".")[0]))].sort(), [...MOVES[system]]);
    assert.is(moved.some((name) => name.startsWith("adapters.tokens.")), model.addedTokens.length > 0); // biome-ignore format: one line
    // All of what is opened, but for tokens of which none was seen and gates' own starting point.
    const parts = PARTS[system] ?? /^llm\./;
    if (MOVES[system].includes("llm"))
      assert.equal(
        [...after.keys()].filter((name) => parts.test(name) && still(name)),
        [],
      );
    if (PARTS[system])
      assert.equal(
        moved.filter((name) => !parts.test(name) && !name.startsWith("adapters.tokens.")),
        [],
      );
    assert.is(model.llm.trainable().length + model.projector("image").trainable().length, 0, "something stayed open");
  });

test("pictures and text in one run train what is their own (LLaMA-Adapter V2)", async () => {
  const options = { llm: world.llm, device: here, system: "llama-adapter-v2", modalities: { image: { encoder: world.clip } } };
  const adapters = { "llama-adapter-v2": { layers: 1, prompts: 2, early: 1 } };
  const text: Row[] = ["one", "two", "three", "four"].map((word, i) => ({
    where: `text ${i}`,
    turns: [
      { role: "user", content: [word] },
      { role: "assistant", content: ["a square"] },
    ],
  }));
  const moved = async (data: readonly Row[], more: object = {}) => {
    using model = await AnyMAL.assemble({ ...options, adapters });
    model.calibrated.add("image");
    const before = await bytes(model);
    const numbers = { steps: 2, batch: data.length, microBatch: 3, warmupSteps: 0, learningRate: 1e-2, schedule: "constant" } as const;
    const steps = await all(instruct(model, { data, modalities: ["image"], ...numbers, ...more }));
    assert.ok(steps.every(({ loss }) => loss > 0));
    const after = await bytes(model);
    return [...after.keys()].filter((name) => before.get(name) !== after.get(name));
  };
  const pictured = (name: string) => /^projectors\.|early_gate$/.test(name);
  const pictures = captions().slice(0, 4);
  const [both, alone, asked, whole] = [
    await moved([...pictures, ...text]),
    await moved(pictures),
    await moved(text),
    await moved(pictures, { disjoint: [] }),
  ];
  assert.ok(alone.length && alone.every(pictured), String(alone.filter((name) => !pictured(name))));
  assert.ok(asked.length && !asked.some(pictured));
  assert.equal(both.toSorted(), [...alone, ...asked].toSorted());
  assert.ok(whole.some(pictured) && whole.some((name) => name.endsWith("q_proj.scale")));
  const error = await rejection(() => moved(pictures, { disjoint: ["projectors.sound.*"] }));
  assert.match(error.message, /disjoint.*patterns that speak of a parameter/);
});

test.run();
