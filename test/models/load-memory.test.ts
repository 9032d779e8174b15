// What loading takes: at no moment more than the loaded model and two of its largest tensors, in any form, from shards in any storage; and no pages of
// the files held as the process's own.
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { device, Tensor } from "../../lib/index.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { SafetensorsFile } from "../../lib/io/safetensors.js";
import { fileDTypeBytes } from "../../lib/io/safetensors-header.js";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import type { Quantization } from "../../lib/nn/weights.js";
import { randomCheckpoint } from "../../tools/random-checkpoint/make.js";

const test = suite("memory of loading");
const SHAPE = { hidden: 256, intermediate: 704, layers: 3, heads: 4, kvHeads: 2, vocabulary: 500, shardBytes: 6e5, seed: 3 };
const FORMS: (Quantization | undefined)[] = [
  { format: "nf4" },
  { format: "nf4", doubleQuant: true },
  { format: "fp4" },
  { format: "fp4", doubleQuant: true },
  { format: "int8" },
  undefined,
];
/** Buffers come in sizes of at most an eighth more than was asked for (native/memory.cc). */
const SIZE_CLASS = 9 / 8;

let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-load-"));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

for (const stored of ["bf16", "f16", "f32"] as const) {
  for (const dtype of ["bf16", "f32"] as const) {
    test(`${stored} on disk, ${dtype} in memory`, async () => {
      const weights = (await randomCheckpoint(folder, { ...SHAPE, dtype: stored })) / (stored === "f32" ? 4 : 2);
      assert.ok(readdirSync(folder).filter((name) => name.endsWith(".safetensors")).length > 3, "several shards");
      const largest = largestTensor(folder, dtype === "f32" ? 4 : 2);
      for (const quantization of FORMS) {
        await using d = device("cpu", { threads: 2 });
        const model = await AutoModelForCausalLM.fromPretrained(folder, { device: d, dtype, ...(quantization && { quantization }) });
        const { bytesInUse, bytesPeak } = d.memory();
        const what = `${JSON.stringify(quantization)}: ${bytesInUse} in use, ${bytesPeak} at the peak, ${largest} the largest`;
        assert.ok(bytesPeak <= bytesInUse + 2 * largest * SIZE_CLASS, what);
        if (quantization) assert.ok(bytesPeak < weights * (dtype === "f32" ? 4 : 2), `${what}: as if all had been dense at once`);
        model.dispose();
        await d.synchronize();
        assert.is(d.memory().bytesInUse, 0, "what was loaded is freed");
      }
    });
  }
}

test("half precision is what its numbers are, and rounded once to bf16", async () => {
  await randomCheckpoint(folder, { ...SHAPE, layers: 1, dtype: "f16" });
  using checkpoint = Checkpoint.open(folder);
  const d = device("cpu");
  const name = "model.embed_tokens.weight";
  using wide = checkpoint.load(name, d);
  assert.is(wide.dtype, "f32");
  const halves = new Uint16Array(checkpoint.bytes(name));
  const values = await wide.data();
  for (const [i, bits] of halves.entries()) {
    const exponent = (bits >> 10) & 31;
    const size = exponent ? (1 + (bits & 1023) / 1024) * 2 ** (exponent - 15) : (bits & 1023) * 2 ** -24;
    if (values[i] !== (bits & 0x8000 ? -size : size)) assert.unreachable(`${i}: ${values[i]}`);
  }
  using once = checkpoint.load(name, d, { dtype: "bf16" });
  using twice = Tensor.from(values as Float32Array, wide.shape, { device: d, dtype: "bf16" });
  assert.equal(new Uint8Array(await once.bytes()), new Uint8Array(await twice.bytes()));
});

test("codes do not depend on whether bf16 was widened before", async () => {
  await randomCheckpoint(folder, { ...SHAPE, layers: 1 });
  const d = device("cpu");
  const name = "model.layers.0.mlp.down_proj.weight";
  using checkpoint = Checkpoint.open(folder);
  for (const quantization of [{ format: "nf4", doubleQuant: true }, { format: "int8" }] as Quantization[]) {
    using model = await AutoModelForCausalLM.fromPretrained(folder, { device: d, dtype: "f32", quantization });
    const [, layer] = [...model.namedModules()].find(([path]) => `${path}.weight` === name) as [string, QuantizedLinear];
    assert.ok(layer instanceof QuantizedLinear);
    using dense = checkpoint.load(name, d, { dtype: "f32" });
    const want = QuantizedWeight.quantize(dense, quantization);
    for (const [i, tensor] of layer.weight.tensors().entries())
      assert.equal(new Uint8Array(await tensor.bytes()), new Uint8Array(await (want.tensors()[i] as Tensor).bytes()));
    want.dispose();
  }
});

// Linux tells which pages of a file a process holds.
const told = existsSync("/proc/self/smaps");
(told ? test : test.skip)("reading a file leaves none of its pages in the process", async () => {
  await randomCheckpoint(folder, { ...SHAPE, hidden: 1024, intermediate: 2816, heads: 16, kvHeads: 16, layers: 2, shardBytes: 5e9 });
  const child = `
    import { readFileSync } from "node:fs";
    import { device } from ${JSON.stringify(new URL("../../lib/core/device.ts", import.meta.url).href)};
    import { Checkpoint } from ${JSON.stringify(new URL("../../lib/io/checkpoint.ts", import.meta.url).href)};
    const pages = () => {
      let [ours, bytes] = [false, 0];
      for (const line of readFileSync("/proc/self/smaps", "utf8").split("\\n")) {
        if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) ours = line.includes(process.argv[1]);
        else if (ours && line.startsWith("Rss:")) bytes += 1024 * Number.parseInt(line.slice(4));
      }
      return bytes;
    };
    const checkpoint = Checkpoint.open(process.argv[1]);
    const d = device("cpu");
    let bytes = 0;
    let most = 0;
    for (const name of checkpoint.names()) {
      const tensor = checkpoint.load(name, d);
      await d.synchronize();
      tensor.dispose();
      bytes += checkpoint.entry(name).bytes;
      most = Math.max(most, pages());
    }
    console.log(JSON.stringify({ bytes, most }));`;
  const run = promisify(execFile)(process.execPath, ["--import", "tsx", "--input-type=module", "--eval", child, folder]);
  const { bytes, most } = JSON.parse((await run).stdout) as { bytes: number; most: number };
  assert.ok(bytes > 50e6 && most < bytes / 8, `${most} bytes of pages of ${bytes} that were read`);
});

function largestTensor(path: string, width: number): number {
  let largest = 0;
  for (const name of readdirSync(path)) {
    if (!name.endsWith(".safetensors")) continue;
    using file = new SafetensorsFile(join(path, name));
    for (const { shape, dtype } of file.entries.values())
      largest = Math.max(largest, shape.reduce((a, b) => a * b, 1) * Math.max(width, fileDTypeBytes(dtype)));
  }
  return largest;
}

test.run();
