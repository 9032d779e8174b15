// `anymal bootstrap`: boxes that people drew, in a model's words, as far as the words lead the model back to the boxes.
import type { Command } from "commander";
import type { BootstrapReport } from "../train/bootstrap.js";
import { type AnnotationFlags, annotationFlags } from "./annotation-flags.js";
import { loadOptions, type ModelFlags, modelFlags } from "./flags.js";
import { command, EXIT, Interrupt, integer, number, print, printJson, tell, UsageError } from "./output.js";
import { table } from "./table.js";

interface BootstrapFlags extends ModelFlags, AnnotationFlags {
  output?: string;
  threshold: number;
  batch: number;
  square?: boolean;
}

const EXAMPLE = `
anymal bootstrap --model runs/pink --annotations zhiyuan_objv2_train.json --images objects365/train --output bootstrapped.jsonl
anymal instruct --model runs/pink --data bootstrapped.jsonl --output runs/pink-2`;

export function bootstrapCommand(): Command {
  const about =
    "Pink's self-consistent bootstrapping: the model describes each box, is asked where that is, and pairs whose boxes agree become rows to train on.";
  return annotationFlags(modelFlags(command("bootstrap", about, EXAMPLE), "a model that was trained on places"))
    .option("--output <file>", "the rows to write, JSONL")
    .option("--threshold <iou>", "IoU from which on a pair is kept", number(0, 1), 0.5)
    .option("--batch <n>", "questions together", integer(1), 32)
    .option("--square", "places are those of pictures padded to squares (default: as the model pads them)")
    .option("--no-square", "places are those of pictures as they are")
    .action(run);
}

async function run(flags: BootstrapFlags): Promise<void> {
  const { model: folder, annotations, output, images, beside, split, threshold, batch, square } = flags;
  if (!folder || !annotations || !output) throw new UsageError("anymal bootstrap", "--model, --annotations and --output are needed");
  using interrupt = new Interrupt();
  const { AnyMAL } = await import("../anymal/anymal.js");
  const { bootstrap } = await import("../train/bootstrap.js");
  await using model = await AnyMAL.fromPretrained(folder, loadOptions(flags, interrupt.signal));
  const onProblem = ({ message }: Error) => tell(message);
  const given = { annotations, output, beside, split, square, threshold, batch, ...(images !== undefined && { images }) };
  const report = await bootstrap(model, { ...given, onProblem, signal: interrupt.signal });
  if (flags.json) printJson({ output, ...report });
  else show(output, report);
  if (report.unasked) process.exitCode = EXIT.failed;
}

function show(output: string, { pictures, boxes, speechless, malformed, kept, keptPictures, unasked }: BootstrapReport): void {
  print(`${output}: ${2 * kept} rows`);
  table([
    ["boxes", `${boxes} in ${pictures} pictures`],
    ["found again", `${kept}, in ${keptPictures} pictures`],
    ["without words", String(speechless)],
    ["without a box", String(malformed)],
    ["not asked", String(unasked)],
  ]);
}
