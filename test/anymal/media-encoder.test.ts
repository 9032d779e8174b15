// An encoder with its processor: which rows of which layers become features, and what a checkpoint keeps of the choice.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { ModalityOptions } from "../../lib/anymal/options.js";
import { square, type Toy, toy } from "./toy.js";

let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const assembled = (image: Partial<ModalityOptions>) =>
  AnyMAL.assemble(world.options({ modalities: { image: { encoder: world.clip, projector: { type: "linear" }, ...image } } }));

test("hidden states side by side, with the class token and without, and class rows one below the other", async () => {
  const part = square("red");
  for (const [options, shape, columns] of [
    [{ layer: [-1, 0, 1], select: "patch" }, [4, 48], ["2", "0", "1"]],
    [{ layer: [0, 2], select: "all" }, [5, 32], ["0", "2"]],
    [{ layer: [2, 1], select: "class" }, [2, 16], undefined],
    [{ layer: 1, select: "class" }, [1, 16], undefined],
  ] as const) {
    using model = await assembled(options);
    const { data, shape: got } = (await model.features([part]))[0]!;
    assert.equal(got, shape, JSON.stringify(options));
    const states = new Map<string, Float32Array>();
    for (const layer of [0, 1, 2]) {
      using one = await assembled({ layer, select: "all" });
      states.set(String(layer), (await one.features([part]))[0]!.data);
    }
    const want = columns
      ? Array.from({ length: shape[0] }, (_, row) =>
          columns.map((layer) => states.get(layer)!.slice((row + 5 - shape[0]) * 16, (row + 6 - shape[0]) * 16)),
        ).flat()
      : [options.layer].flat().map((layer) => states.get(String(layer))!.slice(0, 16));
    assert.equal(data, Float32Array.from(want.flatMap((row) => [...row])), JSON.stringify(options));
  }
});

test("a list of layers is saved and loaded, and names other features", async () => {
  using model = await assembled({ layer: [1, 2] });
  using other = await assembled({ layer: [2, 1] });
  assert.not.equal(await model.encoder("image").key(), await other.encoder("image").key());
  assert.is(model.encoder("image").width, 32);
  await model.save(world.path("listed"));
  using again = await AnyMAL.fromPretrained(world.path("listed"), { device: model.device });
  assert.equal(again.encoder("image").setup, model.encoder("image").setup);
  assert.is(await again.encoder("image").key(), await model.encoder("image").key());
});

test("whatever changes the features is in the key", async () => {
  const keys: unknown[] = [];
  for (const [image, more] of [
    [{}, {}],
    [{ pad: true }, {}],
    [{ layer: -2 }, {}],
    [{ select: "all" }, {}],
    [{ projector: { type: "linear", mode: "pooled", tokens: 2 } }, {}],
    [{}, { dtype: "bf16" }],
  ] as const) {
    const modalities = { image: { encoder: world.clip, projector: { type: "linear" as const }, ...image } };
    using model = await AnyMAL.assemble(world.options({ modalities, ...more }));
    keys.push(await model.encoder("image").key());
  }
  assert.is(new Set(keys).size, keys.length, keys.join("\n"));
});

test("layers that fit nothing are refused by name", async () => {
  const refused = async (image: object) => {
    try {
      (await assembled(image)).dispose();
    } catch (error) {
      return (error as { code?: string }).code;
    }
    return undefined;
  };
  for (const layer of [[], [0.5], "-1", [[1]], 4096, [-2, null]]) assert.is(await refused({ layer }), "E_VALUE", JSON.stringify(layer));
  const pooled = { type: "linear", mode: "pooled" };
  assert.is(await refused({ layer: [0, 1], select: "pooled", projector: pooled }), "E_MODALITY");
  using world2 = await AnyMAL.assemble(world.options({ modalities: { imu: { encoder: world.imu, projector: { type: "linear" } } } }));
  assert.ok(world2);
  try {
    (
      await AnyMAL.assemble(world.options({ modalities: { imu: { encoder: world.imu, select: "class", projector: { type: "linear" } } } }))
    ).dispose();
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code?: string }).code, "E_MODALITY");
  }
});

test("the key of features follows what stands on the encoder and what was done to its weights, by content", async () => {
  const lora = { r: 2, alpha: 4, targetModules: ["q_proj"] };
  using model = await assembled({});
  const image = model.encoder("image");
  const bare = await image.key();
  assert.is(typeof bare, "string");
  const put = (config: object) => model.addAdapter({ ...lora, ...config }, { on: "image", seed: 1 });
  const adapter = put({});
  assert.is(await image.key(), undefined, "an encoder that trains names nothing");
  adapter.train(false);
  const fresh = await image.key();
  assert.ok(fresh !== bare && fresh?.startsWith(bare as string));
  adapter.enabled = false;
  assert.is(await image.key(), bare);
  adapter.enabled = true;
  assert.is(await image.key(), fresh);

  // Numbers of a branch that are written by whomever, another scale of the same branch, the same again.
  const [, layer] = [...adapter.layers][0]!;
  layer.loraB.write(new Float32Array(layer.loraB.size).fill(0.5));
  const written = await image.key();
  assert.not.equal(written, fresh);
  adapter.unload();
  assert.is(await image.key(), bare);
  const scaled = put({ alpha: 8 }).train(false);
  assert.ok(![bare, fresh].includes(await image.key()));
  scaled.unload();
  const same = put({}).train(false);
  assert.is(await image.key(), fresh);

  // Added into the weights it is no branch any more, and no weight of the folder.
  const [, again] = [...same.layers][0]!;
  again.loraB.write(new Float32Array(again.loraB.size).fill(0.5));
  same.merge();
  const merged = await image.key();
  assert.ok(![bare, fresh, written].includes(merged) && merged?.startsWith(bare as string));
  assert.is(await image.key(), merged);
});

test("an encoder whose own weights were trained is not that of its folder any more", async () => {
  using model = await assembled({});
  const image = model.encoder("image");
  const bare = await image.key();
  image.encoder.requiresGrad(true);
  assert.is(await image.key(), undefined);
  const [made] = await image.process([square("red")]);
  const [kept] = await model.features([square("red")]);
  assert.equal(made!.shape, kept!.shape);
  const weight = [...image.encoder.parameters()].find((tensor) => tensor.rank === 2)!;
  weight.write(new Float32Array(weight.size).fill(0.1));
  image.encoder.requiresGrad(false);
  const trained = await image.key();
  assert.not.equal(trained, bare);
  assert.is(await image.key(), trained);
});

test.run();
