// Numbers that only a change of what is computed may move: the commands of a captured decode step, the bytes that a training step holds at its peak, and
// the bits of gradients. Whoever moves walls inside of the model runs this before and after.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import nodeGypBuild from "node-gyp-build";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { backward, type Device, device, seed, type Tensor } from "../../lib/index.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import type { Quantization } from "../../lib/nn/weights.js";
import { recordedCommands } from "../recorded.js";

const test = suite("instruments");
const root = fileURLToPath(new URL("../..", import.meta.url));
/** This repository's own, whatever set of cases the other tests run on. */
const folder = `${root}/test/fixtures/llama2`;
const FORMS: Record<string, Quantization | undefined> = { f32: undefined, nf4: { format: "nf4", doubleQuant: true } };

interface World {
  d: Device;
  llm: LlamaForCausalLM;
  adapter: LoraAdapter | undefined;
}

/** On one thread and at the level that every x86-64 has: neither bytes nor bits depend on the machine. */
async function inWorld(form: string, lora: boolean, use: (world: World) => Promise<void>): Promise<void> {
  await using d = device("cpu", { threads: 1, level: "generic" });
  const quantization = FORMS[form];
  seed(11);
  using llm = LlamaForCausalLM.fromPretrained(folder, { device: d, trainable: !lora, ...(quantization && { quantization }) });
  const adapter = lora ? LoraAdapter.apply(llm, { r: 4, alpha: 8, dropout: 0.25 }, { seed: 5 }) : undefined;
  await use({ d, llm, adapter });
}

/** Of the step that generate() records itself. */
async function commandsOfAStep({ d, llm }: World): Promise<number> {
  const recorded = await recordedCommands(d, () => llm.generate({ inputIds: [[1, 5, 7]] }, { maxNewTokens: 4, eosTokenId: [] }));
  assert.is(recorded.length, 1, "one step is recorded for all tokens");
  return recorded[0] as number;
}

/** Three layers. */
const COMMANDS: Record<string, number> = { f32: 47, "f32 with LoRA": 110, nf4: 38, "nf4 with LoRA": 38 };

for (const form of Object.keys(FORMS)) {
  for (const lora of [false, true]) {
    const name = `${form}${lora ? " with LoRA" : ""}`;
    test(`${name}: commands of a captured step`, () =>
      inWorld(form, lora, async (world) => {
        assert.is(await commandsOfAStep(world), COMMANDS[name]);
      }));
  }
}

/** Two rows of 40, the second of which is padded from 29 on. */
const ROWS = [40, 29].map((length, b) => Array.from({ length: 40 }, (_, t) => (t < length ? 1 + ((7 * t + 3 * b) % 50) : 0)));
const MASK = ROWS.map((row) => row.map((id) => (id ? 1 : 0)));
const LABELS = ROWS.map((row) => row.map((id, t) => (t < 2 || !id ? -100 : id)));

async function step({ d, llm }: World, recompute: boolean): Promise<number> {
  llm.gradientCheckpointing = recompute;
  seed(3);
  await d.synchronize();
  d.resetPeak();
  const before = d.memory().bytesInUse;
  using loss = llm.forward({ inputIds: ROWS, attentionMask: MASK }, { labels: LABELS, logits: false }).loss as Tensor;
  backward(loss);
  await d.synchronize();
  return d.memory().bytesPeak - before;
}

const PEAKS: Record<string, readonly [kept: number, recomputed: number]> = {
  f32: [1110496, 818048],
  "f32 with LoRA": [945152, 776640],
  "nf4 with LoRA": [881792, 556352],
};

/** sha256 of what a step leaves in the gradients, name by name. */
async function gradients({ llm }: World): Promise<string> {
  const hash = createHash("sha256");
  for (const [name, p] of llm.namedParameters()) if (p.grad) hash.update(`${name}\0`).update(new Uint8Array(await p.grad.bytes()));
  return hash.digest("hex").slice(0, 16);
}

/** As this compiler's loops round; another's may add in another order. */
const sameCompiler = process.arch === "x64" && readFileSync(nodeGypBuild.path(root)).includes("GCC: (Debian 12.2.0");
const GRADIENTS: Record<string, string> = {
  f32: "90d7cf64ef578d51",
  "f32 with LoRA": "b28e9ba92bfdae5b",
  "nf4 with LoRA": "933ccf4856d137c3",
};

for (const [form, lora] of [
  ["f32", false],
  ["f32", true],
  ["nf4", true],
] as const) {
  const name = `${form}${lora ? " with LoRA" : ""}`;
  test(`${name}: bytes of a training step at its peak, and the bits of its gradients`, async () => {
    const peaks: number[] = [];
    const hashes: string[] = [];
    for (const recompute of [false, true]) {
      await inWorld(form, lora, async (world) => {
        peaks.push(await step(world, recompute));
        hashes.push(await gradients(world));
      });
    }
    assert.equal(peaks, PEAKS[name]);
    assert.is(hashes[0], hashes[1], "recomputing changes no bit");
    if (sameCompiler) assert.is(hashes[0], GRADIENTS[name]);
  });
}

test.run();
