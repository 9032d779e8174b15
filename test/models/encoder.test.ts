// What holds for every encoder: AutoEncoder finds it, and its folder, written whole, gives it back.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Tensor } from "../../lib/core/tensor.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { AutoEncoder } from "../../lib/models/auto-encoder.js";
import { ConfigError, readConfig } from "../../lib/models/config.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { Case, caseNames, cpu, largest } from "../case.js";

const KINDS = [
  ["clip-vision", "image", /^clip-vision/],
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
      using encoder = AutoEncoder.fromPretrained(folder, { device: cpu });
      assert.equal([encoder.kind, encoder.modality, encoder.dtype], [kind, modality, "f32"]);
      assert.is(encoder.device, cpu);
      assert.equal(encoder.trainable(), []);
      await withFolder(async (to) => {
        await saveModel(to, encoder, encoder.configJson());
        assert.equal((await readdir(to)).sort(), ["config.json", "model.safetensors"]);
        using again = AutoEncoder.fromPretrained(to, { device: cpu });
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
  using encoder = AutoEncoder.fromPretrained(folder, { device: cpu });
  await withFolder(async (to) => {
    await saveModel(to, encoder, encoder.configJson(), { dtype: "bf16" });
    assert.is(readConfig(to).dtype, "bfloat16");
    using again = AutoEncoder.fromPretrained(to, { device: cpu });
    assert.is(again.dtype, "bf16");
    const read = new Map(again.namedParameters());
    for (const [key, tensor] of encoder.namedParameters()) {
      const [want, got] = [await tensor.data(), await read.get(key)!.data()];
      const off = largest(Array.from(want, (v, i) => (v ? (got[i]! - v) / v : got[i]!)));
      assert.ok(off <= 2 ** -8, `${key}: off by ${off}`);
    }
    using checkpoint = Checkpoint.open(to);
    for (const entry of checkpoint.names()) assert.is(checkpoint.entry(entry).dtype, "BF16");
  });
});

test("saving over a sharded model leaves no index that would lead readers to the old weights", async () => {
  const { folder } = new Case(caseNames(/^imu2clip/)[0] as string);
  using encoder = AutoEncoder.fromPretrained(folder, { device: cpu });
  await withFolder(async (to) => {
    await writeFile(join(to, "model.safetensors.index.json"), '{"weight_map":{}}');
    await saveModel(to, encoder, encoder.configJson());
    using again = AutoEncoder.fromPretrained(to, { device: cpu });
    assert.is(again.kind, "imu2clip");
  });
});

test("a folder that cannot be written stays as it was, without temporary files", async () => {
  const { folder } = new Case(caseNames(/^imu2clip/)[0] as string);
  using encoder = AutoEncoder.fromPretrained(folder, { device: cpu });
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

test("a quantised model is not saved without its weights", async () => {
  const { folder } = new Case(caseNames(/^llama2$/)[0] as string);
  using llm = LlamaForCausalLM.fromPretrained(folder, { device: cpu, quantization: { format: "nf4", block: 64 } });
  await withFolder(async (to) => {
    try {
      await saveModel(to, llm, {});
      assert.unreachable();
    } catch (error) {
      assert.is((error as { code?: string }).code, "E_STATE");
    }
    assert.equal(await readdir(to), []);
  });
});

test("a folder of something else is refused by name", async () => {
  const { folder } = new Case(caseNames(/^llama2$/)[0] as string);
  assert.throws(
    () => AutoEncoder.fromPretrained(folder, { device: cpu }),
    (e: unknown) => e instanceof ConfigError && e.key === "model_type" && e.message.includes("imu2clip"),
  );
  await withFolder(async (to) => {
    for (const text of ['{"model_type":"toString"}', '{"model_type":null}', "{}", "[]", "null", "{", ""]) {
      await writeFile(join(to, "config.json"), text);
      assert.throws(
        () => AutoEncoder.fromPretrained(to, { device: cpu }),
        (e: unknown) => e instanceof ConfigError,
        text,
      );
    }
    assert.throws(
      () => AutoEncoder.fromPretrained(join(to, "nowhere"), { device: cpu }),
      (e: unknown) => e instanceof ConfigError && e.message.includes("nowhere"),
    );
  });
});

test("after all that no tensor is left", async () => {
  await cpu.synchronize();
  assert.is(cpu.memory().tensors, 0);
  const one = Tensor.zeros([1], { device: cpu });
  assert.is(cpu.memory().tensors, 1);
  one.dispose();
});

test.run();
