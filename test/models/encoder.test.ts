// What holds for every encoder: AutoEncoder finds it, and its folder, written whole, gives it back.
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { tensorsMade } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";
import { AutoProcessor } from "../../lib/media/auto-processor.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { AutoEncoder } from "../../lib/models/auto-encoder.js";
import { ConfigError, readConfig } from "../../lib/models/config.js";
import { StateError } from "../../lib/nn/module.js";
import { Case, caseNames, here, largest } from "../case.js";
import { some } from "../some.js";

const KINDS = [
  ["clip-vision", "image", /^clip-vision/],
  ["clip-vision", "image", /^open-clip/],
  ["siglip-vision", "image", /^siglip/],
  ["dinov2", "image", /^dinov2/],
  ["video-mae", "video", /^videomae/],
  ["vi-clip", "video", /^viclip/],
  ["clap-audio", "audio", /^clap/],
  ["imu2clip", "imu", /^imu2clip/],
] as const;

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "anymal-folder-"));
  try {
    await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

for (const [kind, modality, pattern] of KINDS)
  for (const name of caseNames(pattern))
    test(`${name} is a ${kind}, and stays one when saved`, async () => {
      const { folder } = new Case(name);
      using encoder = await AutoEncoder.fromPretrained(folder, { device: here });
      assert.equal([encoder.kind, encoder.modality, encoder.dtype], [kind, modality, "f32"]);
      assert.is(encoder.device, here);
      assert.equal(encoder.trainable(), []);
      await withFolder(async (to) => {
        await saveModel(to, encoder, encoder.configJson());
        assert.equal((await readdir(to)).sort(), ["config.json", "model.safetensors"]);
        using again = await AutoEncoder.fromPretrained(to, { device: here });
        assert.equal(
          [again.kind, again.width, again.embedDim, again.classTokens],
          [kind, encoder.width, encoder.embedDim, encoder.classTokens],
        );
        assert.equal(again.configJson(), encoder.configJson());
        const [own, read] = [[...encoder.namedParameters()], new Map(again.namedParameters())];
        assert.is(own.length, read.size);
        for (const [key, tensor] of own) assert.equal(await read.get(key)!.bytes(), await tensor.bytes(), key);
      });
    });

test("saved in bf16 it takes half the room, says so, and is off by a bf16 rounding", async () => {
  const { folder } = new Case(caseNames(/^clip-vision/)[0] as string);
  using encoder = await AutoEncoder.fromPretrained(folder, { device: here });
  await withFolder(async (to) => {
    await saveModel(to, encoder, encoder.configJson(), { dtype: "bf16" });
    assert.is(readConfig(to).dtype, "bfloat16");
    using again = await AutoEncoder.fromPretrained(to, { device: here });
    assert.is(again.dtype, "bf16");
    const read = new Map(again.namedParameters());
    for (const [key, tensor] of encoder.namedParameters()) {
      const [want, got] = [await tensor.data(), await read.get(key)!.data()];
      const off = largest(Array.from(want, (v, i) => (v ? (got[i]! - v) / v : got[i]!)));
      assert.ok(off <= 2 ** -8, `${key}: off by ${off}`);
    }
    using checkpoint = Checkpoint.open(to);
    for (const entry of some(checkpoint.names())) assert.is(checkpoint.entry(entry).dtype, "BF16");
  });
});

test("saving over a sharded model leaves no index that would lead readers to the old weights", async () => {
  const { folder } = new Case(caseNames(/^imu2clip/)[0] as string);
  using encoder = await AutoEncoder.fromPretrained(folder, { device: here });
  await withFolder(async (to) => {
    await writeFile(join(to, "model.safetensors.index.json"), '{"weight_map":{}}');
    await saveModel(to, encoder, encoder.configJson());
    using again = await AutoEncoder.fromPretrained(to, { device: here });
    assert.is(again.kind, "imu2clip");
  });
});

test("a folder that cannot be written stays as it was, without temporary files", async () => {
  const { folder } = new Case(caseNames(/^imu2clip/)[0] as string);
  using encoder = await AutoEncoder.fromPretrained(folder, { device: here });
  await withFolder(async (to) => {
    await mkdir(join(to, "model.safetensors")); // a folder stands where the file is to go
    await writeFile(join(to, "config.json"), "as before");
    let failed = false;
    await saveModel(to, encoder, encoder.configJson()).catch(() => {
      failed = true;
    });
    assert.ok(failed);
    assert.equal((await readdir(to)).sort(), ["config.json", "model.safetensors"]);
    assert.is(await readFile(join(to, "config.json"), "utf8"), "as before");
  });
});

/** What the promise is rejected with; undefined when it is not. */
async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (e: unknown) => e,
  );
}

test("a folder of something else is refused by name", async () => {
  const { folder } = new Case(caseNames(/^llama2$/)[0] as string);
  const error = await rejection(AutoEncoder.fromPretrained(folder, { device: here }));
  assert.ok(error instanceof ConfigError && error.key === "model_type" && error.message.includes("imu2clip"), String(error));
  await withFolder(async (to) => {
    for (const text of ['{"model_type":"toString"}', '{"model_type":null}', '{"vision_config":null}', "{}", "[]", "null", "{", ""]) {
      await writeFile(join(to, "config.json"), text);
      assert.instance(await rejection(AutoEncoder.fromPretrained(to, { device: here })), ConfigError, text);
    }
  });
});

test("LLaVA's own checkpoints, which leave their tower out, say where it is", async () => {
  await withFolder(async (to) => {
    await writeFile(join(to, "config.json"), '{"model_type":"llava_llama","mm_vision_tower":"openai/clip-vit-large-patch14-336"}');
    const error = await rejection(AutoEncoder.fromPretrained(to, { device: here }));
    assert.ok(error instanceof ConfigError && /openai\/clip-vit-large-patch14-336/.test(error.message), String(error));
  });
});

test("by its id on the hub, from the cache, without a request", async () => {
  const { folder } = new Case(caseNames(/^clip-vision/)[0] as string);
  const before = { ...process.env };
  await withFolder(async (cache) => {
    const commit = "0123456789abcdef0123456789abcdef01234567";
    const model = join(cache, "models--someone--tiny-clip");
    await mkdir(join(model, "refs"), { recursive: true });
    await writeFile(join(model, "refs", "main"), commit);
    await cp(folder, join(model, "snapshots", commit), { recursive: true });
    Object.assign(process.env, { HF_HUB_CACHE: cache, HF_HUB_OFFLINE: "1" });
    try {
      using encoder = await AutoEncoder.fromPretrained("someone/tiny-clip", { device: here });
      using own = await AutoEncoder.fromPretrained(folder, { device: here });
      assert.equal(encoder.configJson(), own.configJson());
      assert.instance(await AutoProcessor.fromPretrained("someone/tiny-clip", { revision: commit }), ImageProcessor);
      for (const from of [AutoEncoder, AutoProcessor]) {
        const error = await rejection(from.fromPretrained("someone/else", { signal: new AbortController().signal }));
        assert.is((error as { code?: string }).code, "E_HUB_OFFLINE");
        assert.match(((await rejection(from.fromPretrained("/nowhere"))) as Error).message, /nowhere/);
      }
    } finally {
      for (const key of ["HF_HUB_CACHE", "HF_HUB_OFFLINE"]) {
        if (before[key] === undefined) delete process.env[key];
        else process.env[key] = before[key];
      }
    }
  });
});

test("an aborted load rejects with its reason and leaves nothing", async () => {
  const { folder } = new Case(caseNames(/^clip-vision/)[0] as string);
  const reason = new Error("enough");
  assert.is(await rejection(AutoEncoder.fromPretrained(folder, { device: here, signal: AbortSignal.abort(reason) })), reason);
  const controller = new AbortController();
  const loading = AutoEncoder.fromPretrained(folder, { device: here, signal: controller.signal });
  controller.abort(reason);
  assert.is(await rejection(loading), reason);
});

test("devices by name; a device or a dtype that there is not is refused", async () => {
  const { folder } = new Case(caseNames(/^imu2clip/)[0] as string);
  using encoder = await AutoEncoder.fromPretrained(folder, { device: "cpu" });
  assert.is(encoder.kind, "imu2clip");
  const refused = async (options: object) => ((await rejection(AutoEncoder.fromPretrained(folder, options))) as { code?: string }).code;
  assert.is(await refused({ device: "abacus" }), "E_DEVICE");
  assert.is(await refused({ device: here, dtype: "f16" }), "E_DTYPE");
});

/** One encoder's folder with its weights under other names, beside others' weights. */
async function inside(
  name: string,
  config: (own: Record<string, unknown>) => Record<string, unknown>,
  rename: (name: string) => string,
  use: (folder: string) => Promise<void>,
): Promise<void> {
  const c = new Case(name);
  using checkpoint = Checkpoint.open(c.folder);
  using stranger = Tensor.zeros([2], { device: here });
  const tensors = [...checkpoint.names()].map((key) => [rename(key), checkpoint.load(key, here)] as const);
  await withFolder(async (folder) => {
    await saveSafetensors(join(folder, "model.safetensors"), [...tensors, ["language_model.norm.weight", stranger]]);
    await writeFile(join(folder, "config.json"), JSON.stringify(config(c.json())));
    await use(folder);
  });
  for (const [, tensor] of tensors) tensor.dispose();
}

const LLAVA = (own: Record<string, unknown>) => ({
  architectures: ["LlavaForConditionalGeneration"],
  model_type: "llava",
  vision_config: own.vision_config ?? own,
});
const INSIDE = [
  [/^clip-vision/, "model.vision_tower.vision_tower."],
  [/^clip-vision/, "vision_tower."],
  [/^siglip/, "model.vision_tower."],
  [/^dinov2/, "model.vision_tower."],
  [/^videomae/, "video_tower.videomae."],
] as const;
for (const [pattern, prefix] of INSIDE)
  for (const name of caseNames(pattern))
    test(`${name} is found at ${prefix}, and what is left over is told`, async () => {
      const { folder } = new Case(name);
      using alone = await AutoEncoder.fromPretrained(folder, { device: here });
      await inside(
        name,
        LLAVA,
        (key) => prefix + key,
        async (larger) => {
          using tower = await AutoEncoder.fromPretrained(larger, { device: here });
          assert.is(tower.kind, alone.kind);
          const left = [...alone.leftover.map((key) => prefix + key), "language_model.norm.weight"];
          assert.equal(tower.leftover.filter((key) => !/visual_projection/.test(key)).sort(), left.sort());
          const own = new Map(alone.namedParameters());
          for (const [key, tensor] of tower.namedParameters()) assert.equal(await tensor.bytes(), await own.get(key)!.bytes(), key);
        },
      );
    });

test("two towers in one checkpoint are refused, by name", async () => {
  const name = caseNames(/^dinov2$/)[0] as string;
  const c = new Case(name);
  using checkpoint = Checkpoint.open(c.folder);
  const tensors = [...checkpoint.names()].map((key) => [key, checkpoint.load(key, here)] as const);
  await withFolder(async (folder) => {
    await saveSafetensors(join(folder, "model.safetensors"), [...tensors, ...tensors.map(([key, t]) => [`teacher.${key}`, t] as const)]);
    await writeFile(join(folder, "config.json"), JSON.stringify(c.json()));
    const error = await rejection(AutoEncoder.fromPretrained(folder, { device: here }));
    assert.ok(error instanceof StateError && error.message.includes("teacher.embeddings.cls_token"), String(error));
  });
  for (const [, tensor] of tensors) tensor.dispose();
});

test("a missing tensor is named; one too many among the blocks is refused", async () => {
  for (const [, , pattern] of KINDS) {
    const c = new Case(caseNames(pattern)[0] as string);
    using encoder = await AutoEncoder.fromPretrained(c.folder, { device: here });
    const tensors = [...encoder.namedParameters()];
    const [gone] = tensors[Math.floor(tensors.length / 2)]!;
    const block = tensors.findLast(([key]) => /(layers?|resblocks)\.\d+\./.test(key))?.[0];
    await withFolder(async (folder) => {
      const file = join(folder, "model.safetensors");
      await writeFile(join(folder, "config.json"), JSON.stringify(encoder.configJson()));
      await saveSafetensors(
        file,
        tensors.filter(([key]) => key !== gone),
      );
      const missing = (await rejection(AutoEncoder.fromPretrained(folder, { device: here }))) as Error;
      assert.match(missing?.message ?? "loaded", gone);
      if (!block) return;
      const extra = block.replace(/\.\d+\./, ".77.");
      await saveSafetensors(file, [...tensors, [extra, tensors[0]![1]]]);
      const error = await rejection(AutoEncoder.fromPretrained(folder, { device: here }));
      assert.ok(error instanceof StateError && error.message.includes(extra), String(error));
    });
  }
});

/** Every place in the config that holds a number or a flag, as a way to set it. */
function* places(json: Record<string, unknown>, path: string[] = []): Generator<string[]> {
  for (const [key, value] of Object.entries(json)) {
    if (typeof value === "number" || typeof value === "boolean" || Array.isArray(value)) yield [...path, key];
    else if (typeof value === "object" && value !== null && !key.startsWith("text"))
      yield* places(value as Record<string, unknown>, [...path, key]);
  }
}
function changed(json: Record<string, unknown>, [key, ...rest]: string[], value: unknown): Record<string, unknown> {
  const inner = json[key as string] as Record<string, unknown>;
  return { ...json, [key as string]: rest.length ? changed(inner, rest, value) : value };
}
const ABSURD = [0, -1, 1.5, 1e9, 2 ** 53, "8", true, [], [1e9, 1e9], {}, null];

for (const [kind, , pattern] of KINDS)
  test(`${kind}, ${pattern}: whatever number its config.json claims, it loads or says what is wrong, at once`, async () => {
    const c = new Case(caseNames(pattern)[0] as string);
    using source = await AutoEncoder.fromPretrained(c.folder, { device: here });
    await withFolder(async (folder) => {
      await saveModel(folder, source, source.configJson());
      const json = readConfig(folder);
      const tried = [...places(json)];
      assert.ok(tried.length > 3);
      for (const path of tried)
        for (const value of ABSURD) {
          await writeFile(join(folder, "config.json"), JSON.stringify(changed(json, path, value)));
          const before = tensorsMade();
          const outcome = await AutoEncoder.fromPretrained(folder, { device: here }).catch((e: unknown) => e);
          const what = `${path.join(".")} = ${JSON.stringify(value)}`;
          assert.ok(tensorsMade() - before < 2000, `${what} made ${tensorsMade() - before} tensors`);
          if (outcome instanceof Error) {
            const { code } = outcome as { code?: string };
            assert.ok(["E_CONFIG", "E_STATE", "E_SAFETENSORS"].includes(code ?? ""), `${what}: ${code} ${outcome.stack}`);
          } else {
            (outcome as { dispose(): void }).dispose();
          }
        }
    });
  });

test("after all that no tensor is left", async () => {
  await here.synchronize();
  assert.is(here.memory().tensors, 0);
  const one = Tensor.zeros([1], { device: here });
  assert.is(here.memory().tensors, 1);
  one.dispose();
});

test.run();
