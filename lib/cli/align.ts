// `anymal align`: stage 1, one modality after the other.
import { type Command, Option } from "commander";
import type { Modality } from "../media/part.js";
import { kinds } from "./kinds.js";
import { command, Interrupt, list, UsageError } from "./output.js";
import { recipeKeys, type TrainingFlags, trainingFlags } from "./training-flags.js";

interface AlignFlags extends TrainingFlags {
  modality?: Modality;
  prompt?: string[];
}

const EXAMPLE = `
anymal align --llm models/llama-2-7b --encoder image=models/clip-vit-large-patch14 \\
  --modality image --data captions.jsonl --steps 1000 --batch 128 --output runs/align
anymal align --config recipe.yaml`;

export function alignCommand(): Command {
  const about = "Stage 1: trains the projection of a modality on captions; language model and encoder stay as they are.";
  const align = command("align", about, EXAMPLE)
    .addOption(new Option("--modality <name>", "which one; default: all that the recipe aligns").choices([...kinds().keys()]))
    .option("--prompt <text>", "what captions answer; may come several times", list);
  return trainingFlags(align).action(run);
}

async function run(flags: AlignFlags): Promise<void> {
  using interrupt = new Interrupt();
  const { join } = await import("node:path");
  const { align } = await import("../train/align.js");
  const { filesOf } = await import("../train/recipe-data.js");
  const { cacheOf, show, STOPPING, tellLayout, tellProblem, tellValidation } = await import("./training.js");
  const { checkPaths, openModel, trainingJob } = await import("./training-job.js");
  const job = await trainingJob("align", flags, (raw) => {
    const modalities = flags.modality ? [flags.modality] : Object.keys(raw.align ?? {});
    if (!modalities.length) throw new UsageError("anymal align", "--modality is needed, or a recipe with align");
    const own = (before: Record<string, unknown> = {}) => ({
      ...{ ...before, ...recipeKeys("align", flags, before) },
      ...(flags.prompt && { prompts: flags.prompt }),
    });
    return { ...raw, align: Object.fromEntries(modalities.map((modality) => [modality, own(raw.align?.[modality])])) };
  });
  const modalities = Object.keys(job.recipe.align) as Modality[];
  const resume = flags.resume ?? false;
  const folderOf = (modality: Modality) => (modalities.length > 1 ? join(job.output, modality) : job.output);
  const dataOf = (modality: Modality) => {
    const data = job.recipe.align[modality]?.data;
    if (!data || !filesOf(data).length) throw new UsageError("anymal align", `--data is needed: captions of ${modality}`);
    return data;
  };
  for (const modality of modalities) checkPaths(filesOf(dataOf(modality)), { output: folderOf(modality), resume });
  await using model = await openModel(job, modalities, flags, interrupt.signal);
  const cache = cacheOf(flags);
  interrupt.notice = STOPPING;
  for (const modality of modalities) {
    const output = folderOf(modality);
    const { media } = job.recipe;
    const options = {
      ...job.recipe.align[modality],
      ...(media && { media }),
      ...(flags.confine !== undefined && { confine: flags.confine }),
      ...(flags.localFilesOnly && { localFilesOnly: true }),
      modality,
      data: dataOf(modality),
      output,
      resume,
      cache,
      onProblem: tellProblem,
      onLayout: tellLayout,
      onValidation: tellValidation(flags.json),
    };
    await show(
      align(model, { ...options, signal: interrupt.signal }),
      { stage: "align", modality, output },
      interrupt,
      flags.json ?? false,
    );
  }
  if (modalities.length > 1) await model.save(job.output);
}
