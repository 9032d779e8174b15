// `anymal represent`: BLIP-2's first stage, from captions to a bridge on which a model is assembled.
import { type Command, Option } from "commander";
import type { ModalityOptions } from "../anymal/options.js";
import type { MediaOptions } from "../media/media-options.js";
import type { Modality } from "../media/part.js";
import type { QFormerOptions } from "../models/bridges/q-former.js";
import { perModality } from "./flags.js";
import { KINDS_FLAG, kinds } from "./kinds.js";
import { command, Interrupt, integer, list, UsageError } from "./output.js";
import { projectorKeys, recipeKeys, runFlags, stepFlags, type TrainingFlags } from "./training-flags.js";

interface RepresentFlags extends TrainingFlags {
  modality?: Modality;
  words?: string;
  embedDim?: number;
}

const EXAMPLE = `
anymal represent --encoder image=models/eva-clip-g --words models/bert-base-uncased \\
  --data captions.jsonl --steps 10000 --batch 256 --output runs/represent
anymal align --system blip-2 --llm models/opt-2.7b --encoder image=models/eva-clip-g \\
  --projector image=runs/represent --modality image --data captions.jsonl --output runs/align`;

export function representCommand(): Command {
  const about =
    "BLIP-2's first stage: a Q-Former learns from captions which rows of a frozen encoder text speaks of. There is no language model yet; the run's folder is the projector of one.";
  const represent = runFlags(command("represent", about, EXAMPLE))
    .addOption(new Option("--modality <name>", "of which kind the media are (default: image)").choices([...kinds().keys()]))
    .option("--encoder <modality=folder or id>", "the frozen encoder", perModality)
    .option("--words <folder or id>", "the tokenizer of captions, as that of bert-base-uncased")
    .option("--projector <modality=form>", "e.g. image=q-former,layers=4,width=256; default: BLIP-2's", perModality)
    .option("--embed-dim <n>", "width in which media and captions are compared (default: 256)", integer(1))
    .option("--device <name>", "cpu, cuda or auto (default: $ANYMAL_DEVICE, or cpu)")
    .addOption(new Option("--dtype <type>", "of the encoder").choices(["f32", "bf16"]))
    .option(`${KINDS_FLAG} <file>`, "a module of yours that exports kinds of media, made with mediaKind(); may come several times", list)
    .option("--local-files-only", "no request to the hub")
    .option("--json", "JSON on standard output, for machines");
  return stepFlags(represent).action(run);
}

const usage = (message: string) => new UsageError("anymal represent", message);

async function run(flags: RepresentFlags): Promise<void> {
  using interrupt = new Interrupt();
  const { FirstStage } = await import("../anymal/first-stage.js");
  const { mergedOptions } = await import("../media/media-options.js");
  const { mediaRecipe, modelRecipe, readYaml } = await import("../train/recipe.js");
  const { representMedia } = await import("../train/represent-media.js");
  const { filesOf } = await import("../train/recipe-data.js");
  const { representSection } = await import("../train/represent-recipe.js");
  const { loadOptions } = await import("./flags.js");
  const { ownKinds } = await import("./kinds.js");
  const { cacheOf, show, STOPPING, tellLayout, tellProblem } = await import("./training.js");
  const { checkPaths } = await import("./training-job.js");

  const file = ((flags.config && (await readYaml(flags.config))) ?? {}) as RawRecipe;
  const own = { modality: flags.modality, words: flags.words, embedDim: flags.embedDim };
  const given = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
  const section = { ...file.represent, ...recipeKeys("represent", flags, file.represent), ...given };
  const { recipe, modality, words, embedDim, data, modalityWeights, columns } = representSection(section);
  // A first stage has no language model: what is said of one is for the next stage.
  if (file.model) modelRecipe({ llm: "-", ...file.model }, "model", kinds());
  const said = file.model?.modalities?.[modality] ?? {};
  const encoder = flags.encoder?.[modality] ?? said.encoder;
  const asked = flags.projector?.[modality];
  const projector = asked === undefined ? said.projector : projectorKeys(asked);
  const output = flags.output ?? file.output;
  if (!output) throw usage("--output is needed: the folder for the run");
  if (!data || !filesOf(data).length) throw usage(`--data is needed: captions of ${modality}`);
  if (!encoder) throw usage(`--encoder ${modality}=FOLDER is needed`);
  if (!words) throw usage("--words is needed: the folder of the tokenizer of captions, as that of bert-base-uncased");
  if (typeof projector === "string") throw usage("--projector is what a fresh Q-Former is to be; the folder of one is for anymal align");
  const resume = flags.resume ?? false;
  checkPaths(filesOf(data), { output, resume });
  const media = flags.mediaOption ? mergedOptions(file.media, flags.mediaOption) : file.media;
  if (media) mediaRecipe(media, ownKinds());

  const { layer, select, pad } = said;
  const { signal, onProgress, localFilesOnly, device, dtype } = loadOptions(flags, interrupt.signal);
  using first = await FirstStage.assemble({
    ...{ modality, encoder, words, kinds: ownKinds(), seed: recipe.seed, signal, onProgress, localFilesOnly, device, dtype },
    ...{ projector: projector as QFormerOptions | undefined, layer, select, pad, embedDim },
  });
  interrupt.notice = STOPPING;
  const more = {
    ...(media && { media }),
    ...(columns && { columns }),
    ...(modalityWeights && { modalityWeights }),
    ...(flags.confine !== undefined && { confine: flags.confine }),
  };
  const told = { onProblem: tellProblem, onLayout: tellLayout };
  const options = { ...recipe, ...more, ...told, data, output, resume, cache: cacheOf(flags), signal: interrupt.signal };
  await show(representMedia(first, options), { stage: "represent", modality, output }, interrupt, flags.json ?? false);
}

interface RawRecipe {
  model?: {
    modalities?: Record<string, Partial<Pick<ModalityOptions, "layer" | "select" | "pad">> & { encoder?: string; projector?: unknown }>;
  };
  represent?: Record<string, unknown>;
  media?: MediaOptions;
  output?: string;
}
