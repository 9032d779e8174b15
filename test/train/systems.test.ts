// What each system's second stage moves, by name: what it opens and nothing else.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { weightsOf } from "../../lib/anymal/parts.js";
import type { Tensor } from "../../lib/core/tensor.js";
import { SYSTEM_NAMES, type SystemName } from "../../lib/systems/index.js";
import { instruct } from "../../lib/train/instruct.js";
import { captions, type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { all } from "./stages.js";

const test = suite("what systems train");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const ADAPTERS: Partial<Record<SystemName, Record<string, object>>> = {
  flamingo: { "gated-cross-attention": { every: 1, heads: 2, dimHead: 4 } },
  "llama-adapter": { "llama-adapter-v1": { layers: 1 } },
};
/** Of the published size it would be of 188 million parameters. */
const SMALL = { type: "q-former", queries: 3, layers: 2, width: 8, normalize: "layernorm" } as const;
const IMAGE: Partial<Record<SystemName, object>> = {
  "blip-2": { projector: SMALL },
  instructblip: { projector: { ...SMALL, vocabulary: 400 } },
};
const MOVES: Readonly<Record<SystemName, readonly string[]>> = {
  anymal: ["adapters", "projectors"],
  "blip-2": ["projectors"],
  flamingo: ["adapters", "projectors"],
  instructblip: ["projectors"],
  "llama-adapter": ["adapters", "projectors"],
  llava: ["llm", "projectors"],
  "llava-1.5": ["llm", "projectors"],
  minigpt4: ["projectors"],
  pink: ["adapters", "projectors"],
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
    if (MOVES[system].includes("llm"))
      assert.equal(
        [...after.keys()].filter((name) => name.startsWith("llm.") && still(name)),
        [],
      );
    assert.is(model.llm.trainable().length + model.projector("image").trainable().length, 0, "something stayed open");
  });

test.run();
