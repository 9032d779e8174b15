// `anymal data referential`: annotations of places as questions and answers to train on.
import { type Command, InvalidArgumentError } from "commander";
import { REFERENTIAL_TASKS, type ReferentialTask } from "../data/referential/tasks.js";
import { command, EXIT, Interrupt, integer, print, printJson, tell } from "./output.js";
import { table } from "./table.js";

interface ReferentialFlags {
  images?: string;
  beside?: string;
  split?: string;
  task?: ReferentialTask[];
  most: number;
  seed: number;
  square?: boolean;
  json?: boolean;
}

const EXAMPLE = `
anymal data referential instances_train2014.json places.jsonl --images train2014 --square
anymal data referential relationships.json relations.jsonl --beside image_data.json --images visual-genome --task relation`;

export function referentialCommand(): Command {
  const about =
    "Writes questions about places, as Pink was trained on, from annotations: COCO's and Objects365's JSON, RefCOCO's refs as JSON, Visual Genome's objects, relationships and regions.";
  return command("referential", about, EXAMPLE)
    .argument("<annotations>", "the data set's file")
    .argument("<output>", "the rows to write, JSONL")
    .option("--images <folder>", "where the pictures lie (default: beside the annotations)")
    .option("--beside <file>", "Visual Genome: image_data.json; RefCOCO: instances.json")
    .option("--split <name>", "RefCOCO: only this split")
    .option("--task <name>", `one of ${REFERENTIAL_TASKS.join(", ")}; may come several times (default: all)`, task)
    .option("--most <n>", "questions of a task for one picture at most", integer(1), 2)
    .option("--seed <n>", "of the choice among them", integer(), 0)
    .option("--square", "places are those of pictures padded to squares, as Pink pads them")
    .option("--json", "JSON on standard output, for machines")
    .action(run);
}

function task(text: string, before: ReferentialTask[] = []): ReferentialTask[] {
  const found = REFERENTIAL_TASKS.find((one) => one === text);
  if (!found) throw new InvalidArgumentError(`Expected one of ${REFERENTIAL_TASKS.join(", ")}`);
  return [...before, found];
}

async function run(annotations: string, output: string, flags: ReferentialFlags): Promise<void> {
  using interrupt = new Interrupt();
  const { writeReferential } = await import("../data/referential/write.js");
  const { images, beside, split, task: tasks, most, seed, square, json } = flags;
  let bad = 0;
  const onProblem = ({ message }: Error) => {
    ++bad;
    tell(message);
  };
  const given = { beside, split, most, seed, square, ...(images !== undefined && { images }), ...(tasks && { tasks }) };
  const counts = await writeReferential(annotations, output, { ...given, onProblem, signal: interrupt.signal });
  const rows = Object.values(counts).reduce((a, b) => a + b, 0);
  if (json) printJson({ output, rows, tasks: counts, bad });
  else {
    print(`${output}: ${rows} rows`);
    table(Object.entries(counts).map(([name, n]) => [name, String(n)]));
  }
  if (bad) process.exitCode = EXIT.failed;
}
