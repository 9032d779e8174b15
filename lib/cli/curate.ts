// `anymal curate`: rows of a file without duplicates, without texts that do not fit their pictures, mended, and looked at by people.
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type Command, Option } from "commander";
import { isObject } from "../core/checks.js";
import { READERS, type ReaderName } from "../data/readers.js";
import { reasonOf } from "../media/error.js";
import type { MediaOptions } from "../media/media-options.js";
import type { CurateOptions, CurationReport } from "../train/curation/curate.js";
import type { CurationStep } from "../train/curation/step.js";
import { loadOptions, type ModelFlags, modelFlags } from "./flags.js";
import { ownKinds } from "./kinds.js";
import { confineFlags, mediaFlags } from "./media-flags.js";
import { command, EXIT, Interrupt, integer, list, number, print, printJson, tell, UsageError } from "./output.js";
import { table } from "./table.js";
import { column } from "./training-flags.js";

interface CurateFlags extends ModelFlags {
  as?: ReaderName;
  column?: Readonly<Record<string, string>>;
  duplicates?: "row" | "media";
  distance?: number;
  clip?: string;
  leastScore?: number;
  rules?: string;
  repair?: boolean;
  step?: string[];
  verdicts?: string;
  sheet?: string;
  mediaOption?: MediaOptions;
  confine?: boolean;
}

const EXAMPLE = `
anymal curate synthetic.jsonl --duplicates row --distance 4 --clip clip-vit-base-patch32 --least-score 0.28 --sheet look.html
anymal curate synthetic.curated.jsonl --verdicts synthetic.curated.verdicts.json`;

export function curateCommand(): Command {
  const about =
    "Writes the rows of a file that are worth training on into NAME.curated.jsonl beside it: steps in the order in which they stand here, each of which sees what those before it left. " +
    "Exits with 1 where rows cannot be read.";
  const made = modelFlags(command("curate", about, EXAMPLE), "with --repair: whose language model mends (or --llm alone)")
    .argument("<file>", "rows in any layout that training reads; not of media within the file")
    .addOption(new Option("--as <set>", "a published data set whose files are no rows yet").choices(Object.keys(READERS)))
    .option("--column <ours=theirs>", "a column's name where the data has another, e.g. image=picture_path; may come several times", column)
    .addOption(
      new Option("--duplicates <what>", "drops rows whose media and answers, or whose media alone, an earlier row has").choices([
        "row",
        "media",
      ]),
    )
    .option("--distance <n>", "with --duplicates: pictures are the same whose hashes of 64 bits differ in so many at most", integer(0))
    .option("--clip <folder>", "a CLIP that scores how well answers fit pictures")
    .option("--least-score <x>", "with --clip: rows of a lower cosine are dropped", number(-1, 1))
    .option("--rules <file>", 'JSON, a list of { pattern, flags, replace } or { pattern, flags, drop: "why" } for answers')
    .option("--step <file>", "a module of yours that exports steps, e.g. editPictures() that blurs faces; may come several times", list)
    .option("--repair", "the language model of --model or --llm writes every answer anew, as MiniGPT-4's second stage had it")
    .option("--verdicts <file>", "what a sheet has saved: rejected rows are dropped")
    .option("--sheet <file>", "a page on which people accept and reject the rows that are left");
  return confineFlags(mediaFlags(made)).action(run);
}

async function run(file: string, flags: CurateFlags): Promise<void> {
  using interrupt = new Interrupt();
  const { clip, leastScore, distance, duplicates, repair, model, llm } = flags;
  const wrong = (text: string) => new UsageError("anymal curate", text);
  if ((clip === undefined) !== (leastScore === undefined)) throw wrong("--clip and --least-score go together");
  if (distance !== undefined && !duplicates) throw wrong("--distance needs --duplicates");
  if (repair && (model ?? llm) === undefined) throw wrong("--repair needs --model or --llm");
  const { curate } = await import("../train/curation/curate.js");
  const { CurationSheet } = await import("../train/curation/sheet.js");
  const sheet = flags.sheet === undefined ? undefined : new CurationSheet();
  const held: { dispose(): void }[] = [];
  try {
    const steps = await stepsOf(flags, held, interrupt.signal);
    if (!steps.length && !sheet) throw wrong("which step? Say --duplicates, --clip, --rules, --step, --repair, --verdicts or --sheet");
    const given: CurateOptions = {
      ...{ steps, kinds: ownKinds(), signal: interrupt.signal, as: flags.as },
      ...(flags.column && { columns: flags.column }),
      ...(flags.mediaOption && { media: flags.mediaOption }),
      ...(flags.confine !== undefined && { confine: flags.confine }),
      ...(sheet && { onKept: (item) => sheet.add(item, interrupt.signal) }),
      onProblem: ({ message }) => tell(message),
    };
    const report = await curate(file, given);
    await sheet?.write(flags.sheet as string, report.output);
    if (flags.json) printJson({ ...report, ...(flags.sheet && { sheet: flags.sheet }) });
    else show(report, flags.sheet);
    if (report.bad) process.exitCode = EXIT.failed;
  } finally {
    for (const one of held) one.dispose();
  }
}

/** In the order of the help. What they hold is put into `held`. */
async function stepsOf(flags: CurateFlags, held: { dispose(): void }[], signal: AbortSignal): Promise<CurationStep[]> {
  const steps: CurationStep[] = [];
  const { duplicates: by, distance, clip, leastScore, rules, repair, verdicts } = flags;
  if (by) {
    const { duplicates } = await import("../train/curation/duplicates.js");
    steps.push(duplicates({ by, ...(distance !== undefined && { distance }) }));
  }
  if (clip !== undefined) {
    const { ClipScorer, scoreFilter } = await import("../train/curation/clip-score.js");
    const { deviceOf } = await import("../models/loading.js");
    const scorer = ClipScorer.fromPretrained(clip, { device: await deviceOf(flags.device), ...(flags.dtype && { dtype: flags.dtype }) });
    held.push(scorer);
    steps.push(scoreFilter(scorer, { least: leastScore as number }));
  }
  if (rules !== undefined) {
    const { readRules, repairRules } = await import("../train/curation/repair.js");
    steps.push(repairRules(await readRules(rules)));
  }
  for (const file of flags.step ?? []) steps.push(...(await ownSteps(file)));
  if (repair) {
    const { AnyMAL } = await import("../anymal/anymal.js");
    const { repairBy } = await import("../train/curation/repair.js");
    const loading = loadOptions(flags, signal);
    const model = await (flags.model === undefined
      ? AnyMAL.assemble({ ...loading, llm: flags.llm as string, modalities: {} })
      : AnyMAL.fromPretrained(flags.model, loading));
    held.push(model);
    steps.push(repairBy(model));
  }
  if (verdicts !== undefined) {
    const { asJudged, readVerdicts } = await import("../train/curation/sheet.js");
    steps.push(asJudged(await readVerdicts(verdicts)));
  }
  return steps;
}

/** What a module of the user's exports. */
async function ownSteps(file: string): Promise<CurationStep[]> {
  const wrong = (got: string) =>
    new UsageError(
      "anymal curate",
      `--step ${file}: expected a module that exports steps, { name, look }, as editPictures() makes them, got: ${got}`,
    );
  if (!existsSync(file)) throw wrong("no such file");
  const module: object = await import(pathToFileURL(resolve(file)).href).catch((cause) => {
    throw wrong(reasonOf(cause));
  });
  const steps = Object.values(module).filter(isStep);
  if (!steps.length) throw wrong("it exports none");
  return steps;
}
const isStep = (one: unknown): one is CurationStep => isObject(one) && typeof one.name === "string" && typeof one.look === "function";

function show({ output, rows, kept, bad, steps }: CurationReport, sheet: string | undefined): void {
  print(`${output}: ${kept} of ${rows} rows`);
  table([
    ...(bad ? [["cannot be read", String(bad), ""]] : []),
    ...steps.flatMap(({ name, changed, dropped }) => [
      ...(changed ? [[name, String(changed), "changed"]] : []),
      ...Object.entries(dropped).map(([why, n]) => [name, String(n), `dropped: ${why}`]),
    ]),
  ]);
  if (sheet !== undefined) print(`${sheet}: open it in a browser, and pass what it saves as --verdicts`);
}
