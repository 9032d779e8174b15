// `anymal instruct`: stage 2.
import type { Command } from "commander";
import type { Recipe } from "../train/recipe.js";
import { type InstructFlags, instructed, instructFlags } from "./instruct-flags.js";
import { command, Interrupt, UsageError } from "./output.js";
import { trainingFlags } from "./training-flags.js";

const EXAMPLE = `
anymal instruct --model runs/align --data instruct.json --lora-r 64 --lora-alpha 16 --output runs/instruct
anymal instruct --config recipe.yaml`;

export function instructCommand(): Command {
  const about = "Stage 2: trains projections and LoRA on questions about media and their answers.";
  return trainingFlags(instructFlags(command("instruct", about, EXAMPLE))).action(run);
}

async function run(flags: InstructFlags): Promise<void> {
  using interrupt = new Interrupt();
  const { instruct } = await import("../train/instruct.js");
  const { filesOf } = await import("../train/recipe-data.js");
  const { cacheOf, show, STOPPING, tellLayout, tellProblem, tellValidation } = await import("./training.js");
  const { checkPaths, openModel, trainingJob } = await import("./training-job.js");
  const job = await trainingJob("instruct", flags, (raw) => instructed(raw, flags));
  const { data, ...options } = job.recipe.instruct as NonNullable<Recipe["instruct"]>;
  if (!data || !filesOf(data).length) throw new UsageError("anymal instruct", "--data is needed: conversations about media");
  const { output } = job;
  const resume = flags.resume ?? false;
  checkPaths(filesOf(data), { output, resume });
  await using model = await openModel(job, options.modalities ?? [], flags, interrupt.signal);
  interrupt.notice = STOPPING;
  const { media } = job.recipe;
  const steps = instruct(model, {
    ...options,
    ...(media && { media }),
    ...(flags.confine !== undefined && { confine: flags.confine }),
    ...(flags.localFilesOnly && { localFilesOnly: true }),
    data,
    output,
    resume,
    cache: cacheOf(flags),
    onProblem: tellProblem,
    onLayout: tellLayout,
    onValidation: tellValidation(flags.json),
    signal: interrupt.signal,
  });
  await show(steps, { stage: "instruct", output }, interrupt, flags.json ?? false);
}
