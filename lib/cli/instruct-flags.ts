// What the command line says of stage 2, put into a recipe.
import type { Command } from "commander";
import type { Modality } from "../media/part.js";
import { integer, list, number, UsageError } from "./output.js";
import { projectorKeys, recipeKeys, type TrainingFlags } from "./training-flags.js";

export interface InstructFlags extends TrainingFlags {
  modality?: Modality[];
  lora: boolean;
  adapter?: string[];
  loraR?: number;
  loraAlpha?: number;
  loraDropout?: number;
  loraTarget?: string[];
  loraRs?: boolean;
  loraDora?: boolean;
}

export function instructFlags(command: Command): Command {
  return command
    .option("--modality <name>", "whose projections train; may come several times; default: all in the data", list)
    .option(
      "--adapter <kind>",
      "of a fresh model: put on the language model, and trained; e.g. prefix-tuning,tokens=20 or bottleneck; may come several times",
      list,
    )
    .option("--no-lora", "no branches of LoRA")
    .option("--lora-r <n>", "rank of the branches", integer(1))
    .option("--lora-alpha <x>", "their weight, times r", number())
    .option("--lora-dropout <x>", "on their input", number(0, 1))
    .option("--lora-target <name>", "a layer, e.g. q_proj, or all-linear; may come several times", list)
    .option("--lora-rs", "weighted by the root of their rank (rsLoRA)")
    .option("--lora-dora", "rows with lengths of their own (DoRA)");
}

function loraKeys(
  { lora, loraR: r, loraAlpha: alpha, loraDropout: dropout, loraTarget: targets, loraRs: rsLora, loraDora: dora }: InstructFlags,
  before: unknown,
): unknown {
  const given = {
    r,
    alpha,
    dropout,
    targetModules: targets?.length === 1 && targets[0] === "all-linear" ? "all-linear" : targets,
    rsLora,
    dora,
  };
  const changed = Object.entries(given).filter(([, value]) => value !== undefined);
  if (!lora && changed.length) throw new UsageError("anymal instruct", "--no-lora leaves nothing for the other --lora flags");
  if (!lora) return false;
  return changed.length ? { ...(before || {}), ...Object.fromEntries(changed) } : before;
}

/** The recipe with adapters beside LoRA, which the stage opens. */
function withAdapters<R extends Raw>(raw: R, flags: InstructFlags): R {
  const asked = (flags.adapter ?? []).map((text) => projectorKeys(text) as { type: string });
  if (!asked.length) return raw;
  if (flags.model)
    throw new UsageError("anymal instruct", "--adapter is for a fresh model, of --llm; one of --model goes on with what it carries");
  const adapters = Object.fromEntries(asked.map(({ type, ...options }) => [type, options]));
  const opens = [raw.instruct?.opens ?? "projectors.*", ...asked.map(({ type }) => `adapters.${type}.*`)].flat();
  const before = raw.model?.adapters as object | undefined;
  return { ...raw, model: { ...raw.model, adapters: { ...before, ...adapters } }, instruct: { ...raw.instruct, opens } };
}

interface Raw {
  model?: Record<string, unknown>;
  instruct?: Record<string, unknown>;
}

/** The recipe with what the flags change of it. */
export function instructed<R extends Raw>(raw: R, flags: InstructFlags): R {
  const lora = loraKeys(flags, raw.instruct?.lora);
  const own = {
    ...recipeKeys("instruct", flags, raw.instruct),
    ...(lora !== undefined && { lora }),
    ...(flags.modality && { modalities: flags.modality }),
  };
  return withAdapters({ ...raw, instruct: { ...raw.instruct, ...own } }, flags);
}
