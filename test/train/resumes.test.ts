// A run whose model carries an adapter, of every kind there is: stopped and gone on with it equals the unbroken run bit for bit, and a file that is not the
// adapter's is refused before anything has changed.
import { copyFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AdapterOptions, adapterFilesOf, adapterKindNames } from "../../lib/adapters/load-adapter.js";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { AssembleOptions } from "../../lib/anymal/options.js";
import { adapterFolder, weightsOf } from "../../lib/anymal/parts.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";
import { type InstructOptions, instruct } from "../../lib/train/instruct.js";
import { captions, type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { all, rejection } from "./stages.js";

const test = suite("runs that go on");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

interface Carried {
  kind: keyof AdapterOptions;
  options?: object;
  on?: "image";
  /** The adapter is the system's, and called after its kind's place. */
  more?: Partial<AssembleOptions>;
}
const KINDS: Readonly<Record<string, Carried>> = {
  lora: { kind: "lora", options: { r: 2, alpha: 4, dropout: 0.1, targetModules: ["q_proj"], modulesToSave: ["lm_head"] } },
  "lora on tables, and rows beside it": {
    kind: "lora",
    options: { r: 2, alpha: 4, targetModules: ["q_proj", "lm_head"], trainableTokens: [7, 3] },
  },
  "lora in a tower": { kind: "lora", options: { r: 2, alpha: 4 }, on: "image" },
  "trained-tokens": { kind: "trained-tokens", options: { tokenIndices: [7, 3, 4], targetModules: ["embed_tokens", "lm_head"] } },
  ia3: { kind: "ia3", options: {} },
  pink: { kind: "pink", options: { hidden: 4 } },
  "pink in a tower": { kind: "pink", options: { hidden: 4, layers: [0] }, on: "image" },
  bottleneck: { kind: "bottleneck", options: { hidden: 4, dropout: 0.1 } },
  "llama-adapter-v1": { kind: "llama-adapter-v1", options: { prompts: 3, layers: 2 } },
  "llama-adapter-v1 with pictures": {
    kind: "llama-adapter-v1",
    more: { system: "llama-adapter", adapters: { "llama-adapter-v1": { prompts: 3, layers: 2 } } },
  },
  "llama-adapter-v2": { kind: "llama-adapter-v2", options: { prompts: 3, layers: 2, early: 0 } },
  lavin: { kind: "lavin", options: { hidden: 4 } },
  "adaption-prompt": { kind: "adaption-prompt", options: { prompts: 3, layers: 2 } },
  "lora whose rows have lengths": { kind: "lora", options: { r: 2, alpha: 4, dora: true, rsLora: true, targetModules: ["v_proj"] } },
  "prefix-tuning": { kind: "prefix-tuning", options: { tokens: 3 } },
  "prefix-tuning through layers": { kind: "prefix-tuning", options: { tokens: 3, projection: true, hidden: 5 } },
  "prompt-tuning": { kind: "prompt-tuning", options: { tokens: 3 } },
  "gated-cross-attention": {
    kind: "gated-cross-attention",
    more: { system: "flamingo", adapters: { "gated-cross-attention": { every: 1, heads: 2, dimHead: 4 } } },
  },
};

test("every kind is tried", () => {
  const tried = new Set<string>(Object.values(KINDS).map(({ kind }) => kind));
  assert.equal(
    adapterKindNames.filter((name) => !tried.has(name)),
    [],
  );
});

async function carrying({ kind, options, on, more }: Carried): Promise<{ model: AnyMAL; name: string }> {
  const model = await AnyMAL.assemble({
    ...{ llm: world.llm, device: here, quantization: "none", seed: 3, prompt: { system: "Look." } },
    modalities: { image: { encoder: world.clip, ...(!more && { projector: { type: "linear", tokens: 2 } }) } },
    ...more,
  });
  if (options) model.addAdapter(options, { kind, name: "it", ...(on && { on }) });
  return { model, name: [...model.adapters.keys()].find((one) => one !== "tokens") as string };
}

/** Of all that a run may move. */
async function numbers(model: AnyMAL): Promise<Map<string, string>> {
  const tensors = [
    ...model.projector("image").namedParameters("projector"),
    ...weightsOf(model.llm),
    ...[...model.adapters].flatMap(([name, one]) => [...one.namedParameters()].map(([key, p]) => [`${name}.${key}`, p] as const)),
  ];
  return new Map(await Promise.all(tensors.map(async ([name, p]) => [name, Buffer.from(await p.bytes()).toString("base64")] as const)));
}

/** Names whose numbers differ. */
const differing = (a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): string[] =>
  [...new Set([...a.keys(), ...b.keys()])].filter((name) => a.get(name) !== b.get(name));

/** The file with a key more, or a key less. */
async function rewritten(path: string, from: string, change: (names: string[]) => Iterable<[string, string]>): Promise<void> {
  using file = Checkpoint.open(from);
  const tensors = new Map(
    Array.from(change([...file.names()]), ([name, source]) => {
      const { dtype, shape } = file.entry(source);
      return [name, { dtype, shape, data: new Uint8Array(file.bytes(source)) }] as const;
    }),
  );
  await saveSafetensors(path, tensors);
}

for (const [what, carried] of Object.entries(KINDS))
  test(`${what}: a run that goes on is the run that was never stopped, and takes no other file`, async () => {
    const { model: whole, name } = await carrying(carried);
    const opens = ["projectors.image.*", `adapters.${name}.*`, ...(whole.adapters.has("tokens") ? ["tokens.*"] : [])];
    const options = {
      ...{ data: captions(2), batch: 4, microBatch: 4, steps: 4, warmupSteps: 0, schedule: "constant", learningRate: 1e-2, seed: 5 },
      ...{ lora: false, opens },
    } as const satisfies InstructOptions;
    const begun = await numbers(whole);
    await all(instruct(whole, options));
    const wanted = await numbers(whole);
    whole.dispose();
    const own = [...wanted.keys()].filter((key) => key.startsWith(`${name}.`));
    assert.ok(own.some((key) => wanted.get(key) !== begun.get(key)), "nothing of the adapter has moved"); // biome-ignore format: one line

    const output = world.path(what.replaceAll(" ", "-"));
    {
      const { model } = await carrying(carried);
      for await (const { step } of instruct(model, { ...options, output })) if (step === 2) break;
      model.dispose();
    }
    const { model } = await carrying(carried);
    try {
      const before = await numbers(model);
      const weights = join(output, "checkpoint", adapterFolder(name), adapterFilesOf(carried.kind)[1] as string);
      const good = world.path("good.safetensors");
      copyFileSync(weights, good);
      for (const [change, message] of [
        [(names: string[]) => names.slice(1).map((key): [string, string] => [key, key]), /without /],
        [(names: string[]) => [...names, "other.weight"].map((key): [string, string] => [key, names.includes(key) ? key : names[0]!]), /with other.weight left over/], // biome-ignore format: one line
      ] as const) {
        await rewritten(weights, good, change);
        const error = await rejection(() => all(instruct(model, { ...options, output, resume: true })));
        assert.is(error.code, "E_STATE", error.message);
        assert.match(error.message, message);
        assert.equal(differing(await numbers(model), before), []);
      }
      copyFileSync(good, weights);
      const steps = await all(instruct(model, { ...options, output, resume: true }));
      assert.ok(steps[0]!.step > 2 && steps.at(-1)!.step === 4, `steps ${steps.map(({ step }) => step)}`);
      assert.equal(differing(await numbers(model), wanted), []);
      assert.is(readFileSync(weights).equals(readFileSync(good)), false, "the end was saved");
    } finally {
      model.dispose();
    }
    using back = await AnyMAL.fromPretrained(output, { device: here });
    assert.equal(differing(await numbers(back), wanted), [], "loaded");
  });

test.run();
