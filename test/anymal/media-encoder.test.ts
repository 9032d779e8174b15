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
  assert.not.equal(model.encoder("image").key, other.encoder("image").key);
  assert.is(model.encoder("image").width, 32);
  await model.save(world.path("listed"));
  using again = await AnyMAL.fromPretrained(world.path("listed"), { device: model.device });
  assert.equal(again.encoder("image").setup, model.encoder("image").setup);
  assert.is(again.encoder("image").key, model.encoder("image").key);
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

test.run();
