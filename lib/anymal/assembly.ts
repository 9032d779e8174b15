// A language model and encoders with fresh projections between them: where training begins.
import { openCausalLM } from "../models/auto-causal-lm.js";
import { makeBridge } from "../models/bridges/index.js";
import { openBridge } from "../models/bridges/kind.js";
import { deviceOf, quantizationOf } from "../models/loading.js";
import { Weights } from "../nn/weights.js";
import { DEFAULT_SYSTEM, systemOf } from "../systems/index.js";
import type { System } from "../systems/system.js";
import { Tokenizer } from "../text/tokenizer.js";
import type { MediaPlan, Plan } from "./build.js";
import { freshEncoders } from "./encoders.js";
import { type AssembleOptions, checkAssembly, type PromptFormat } from "./options.js";
import { openSource } from "./source.js";

/** Between the seeds of one model's projections. */
const SEEDS_APART = 1_000_003;

export async function assembly(given: AssembleOptions): Promise<Plan> {
  const known = checkAssembly(given);
  const { modalities, kinds = [], system: name = DEFAULT_SYSTEM, seed = 0, quantization: _, prompt: __, ...options } = given;
  const system = systemOf(name);
  const { quantization, prompt } = completedBy(system, given);
  const { dtype, signal } = options;
  const device = await deviceOf(options.device);
  const form = quantizationOf(quantization);
  const llmSource = await openSource(options.llm, options);
  const encoders = await freshEncoders(modalities, known, device, dtype, system, options);
  const tokenizer = await Tokenizer.load(llmSource.folder, { signal });
  return {
    ...{ system: system.name, tokenizer, llmSource, quantization: form, prompt, kinds, signal, adapters: [] },
    openLlm: () => openCausalLM(llmSource.folder, { device, ...(dtype && { dtype }), ...(form && { quantization: form }) }, signal),
    media: encoders.map(
      (encoder, i): MediaPlan => ({
        ...encoder,
        calibrated: false,
        projector: (setup, llm) => {
          const at = Weights.fresh({ device, dtype: llm.dtype, trainable: true, seed: seed + i * SEEDS_APART });
          const projector = makeBridge(at, setup.projector, llm.config.hiddenSize);
          openBridge(projector, false);
          return projector;
        },
      }),
    ),
  };
}

/** The prompt's format, and how the language model is held. */
function completedBy(
  system: System,
  { prompt = {}, quantization = system.quantization ?? "nf4" }: Pick<AssembleOptions, "prompt" | "quantization">,
): { prompt: PromptFormat; quantization: NonNullable<AssembleOptions["quantization"]> } {
  const { id: _, ...written } = system.written;
  const own: PromptFormat = {
    ...(system.prompt !== undefined && { system: system.prompt }),
    ...(Object.keys(written).length && { written }),
  };
  const given = Object.fromEntries(Object.entries(prompt).filter(([, value]) => value !== undefined));
  return { prompt: { ...own, ...given }, quantization };
}
