// The event loop's longest stall while a model trains: a frozen LLaMA in NF4, a Perceiver resampler and LoRA, AdamW in 8 bit. A timer of one
// millisecond runs beside the training; what it is late by is what a server in the same process would be late by.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setImmediate } from "node:timers/promises";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { backwardAsync, type Device, device, Tensor } from "../../lib/index.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";
import { type AnyMALBatch, AnyMALNetwork } from "../../lib/models/anymal.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { parseLlamaConfig } from "../../lib/models/llama-config.js";
import { ResamplerProjector } from "../../lib/models/projector.js";
import { Weights } from "../../lib/nn/weights.js";
import { AdamW } from "../../lib/train/optimizer.js";
import { median, type Row, type SuiteOptions } from "../suite.js";

const CONFIG = {
  model_type: "llama",
  hidden_size: 512,
  intermediate_size: 1408,
  num_hidden_layers: 8,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  vocab_size: 8192,
  max_position_embeddings: 1024,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: "silu",
  tie_word_embeddings: false,
};
const ENCODER = { dim: 256, cells: 65 };
const [BATCH, WORDS] = [8, 96];
const [WARM_UP, STEPS] = [5, 40];

/** A checkpoint on disk, so that the model is quantised as it is loaded. */
async function checkpointFolder(d: Device): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "anymal-bench-"));
  const fresh = new LlamaForCausalLM(Weights.fresh({ device: d, trainable: false, dtype: "bf16" }), parseLlamaConfig(CONFIG));
  await saveSafetensors(join(folder, "model.safetensors"), new Map(fresh.namedParameters()));
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...CONFIG, dtype: "bfloat16" }));
  fresh.dispose();
  return folder;
}

export default async function loopLag({ level, threads }: SuiteOptions): Promise<Row[]> {
  await using d = device("cpu", { ...(level && { level }), ...(threads && { threads }) });
  const folder = await checkpointFolder(d);
  const llm = LlamaForCausalLM.fromPretrained(folder, { device: d, dtype: "bf16", quantization: { format: "nf4", doubleQuant: true } });
  rmSync(folder, { recursive: true });
  const resampler = { form: "flamingo", dim: ENCODER.dim, depth: 4, heads: 4, dimHead: 64, latents: 32, frames: 4 } as const;
  const projector = new ResamplerProjector(Weights.fresh({ device: d, dtype: "bf16" }), resampler, CONFIG.hidden_size);
  const model = new AnyMALNetwork(llm, { image: projector });
  const lora = LoraAdapter.apply(llm, { r: 16, alpha: 32, dropout: 0.05 });
  using features = Tensor.full([BATCH, ENCODER.cells, ENCODER.dim], 0.5, { device: d, dtype: "bf16" });
  const ids = Array.from({ length: WORDS }, (_, i) => (i * 7919) % CONFIG.vocab_size);
  const batch: AnyMALBatch = {
    rows: Array.from({ length: BATCH }, (_, item) => [
      { modality: "image", item },
      { ids, labels: ids },
    ]),
    features: { image: features },
  };
  const parameters = [...projector.namedParameters("projector"), ...lora.namedParameters()];
  using optimizer = new AdamW([{ parameters }], { maxGradNorm: 1, moments: "8bit" });

  const sections: number[] = [];
  const whole: number[] = [];
  /** Work of JavaScript between two turns of the event loop. */
  const section = async (work: () => void) => {
    await setImmediate();
    const start = performance.now();
    work();
    sections.push(performance.now() - start);
  };
  const delay = monitorEventLoopDelay({ resolution: 1 });
  for (let step = -WARM_UP; step < STEPS; ++step) {
    if (step === 0) {
      delay.enable();
      sections.length = 0;
    }
    const start = performance.now();
    let loss: Tensor | undefined;
    await section(() => {
      loss = model.forward(batch).loss;
    });
    await setImmediate();
    await backwardAsync(loss as Tensor);
    await section(() => {
      optimizer.step(1e-4).dispose();
      optimizer.zeroGrad();
    });
    await loss?.item();
    loss?.dispose();
    if (step >= 0) whole.push(performance.now() - start);
  }
  delay.disable();
  const seconds = median(whole) / 1000;
  const row: Row = {
    steps: STEPS,
    "tokens/s": Math.round((BATCH * (WORDS + resampler.latents)) / seconds),
    "step ms": Number((seconds * 1000).toFixed(1)),
    "longest forward ms": Number(Math.max(...sections).toFixed(2)),
    "longest stall ms": Number((delay.max / 1e6).toFixed(2)),
    "99 % stall ms": Number((delay.percentile(99) / 1e6).toFixed(2)),
    "peak MiB": Math.round(d.memory().bytesPeak / 2 ** 20),
  };
  console.log(d.describe());
  for (const [key, value] of Object.entries(row)) console.log(`${key.padEnd(22)} ${value}`);
  return [row];
}
