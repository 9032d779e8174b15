// `anymal data check`: what data files hold, and what is wrong with which row, before anything is trained.
import { type Command, Option } from "commander";
import type { DataReport } from "../data/check-data.js";
import { READERS, type ReaderName } from "../data/readers.js";
import type { MediaOptions } from "../media/media-options.js";
import type { Modality } from "../media/part.js";
import { Downloads } from "./downloads.js";
import { type PerModality, perModality } from "./flags.js";
import { KINDS_FLAG, ownKinds } from "./kinds.js";
import { confineFlags, mediaFlags } from "./media-flags.js";
import { command, EXIT, Interrupt, integer, list, print, printJson, tell, UsageError } from "./output.js";
import { referentialCommand } from "./referential.js";
import { table } from "./table.js";
import { column, shares, weights } from "./training-flags.js";

interface CheckFlags {
  as?: ReaderName;
  split?: string;
  dataConfig?: string;
  localFilesOnly?: boolean;
  modality?: Modality;
  weight?: number[];
  modalityWeight?: Readonly<Record<string, number>>;
  column?: Readonly<Record<string, string>>;
  tokenizer?: string;
  mediaTokens?: PerModality<string>;
  maxLength?: number;
  splitSpecialTokens?: boolean;
  decode?: boolean;
  fix?: boolean;
  json?: boolean;
  mediaOption?: MediaOptions;
  confine?: boolean;
  most: number;
}

const EXAMPLE = `
anymal data check train.jsonl shards/00000.tar
anymal data check org/name --split validation
anymal data check clotho_captions_development.csv --as clotho
anymal data check train.csv --tokenizer models/llama-2-7b --media-tokens image=64 --max-length 2048 --fix`;

export function dataCommand(): Command {
  const data = command("data", "Looks at data for training.", EXAMPLE);
  const about = "Says what files of rows hold, and file, row and column of all that is wrong. Exits with 1 where something is.";
  const check = command("check", about, EXAMPLE)
    .argument("<files...>", "JSONL, JSON, CSV, TSV, Parquet, WebDataset's shards, or data sets of the hub as org/name[@revision]")
    .addOption(new Option("--as <set>", "a published data set whose files are no rows yet").choices(Object.keys(READERS)))
    .option("--split <name>", "of data sets of the hub; default: train")
    .option("--data-config <name>", "of data sets of the hub that have several")
    .option("--local-files-only", "no request to the hub")
    .option("--modality <name>", "whose captions, where rows name several")
    .option("--weight <x>", "of a mixture: share of the rows that the file in its place gets; as many as there are files", weights)
    .option("--modality-weight <kind=x>", "of a mixture: share of a kind of media, e.g. image=3; may come several times", shares)
    .option("--column <ours=theirs>", "a column's name where the data has another, e.g. image=picture_path; may come several times", column)
    .option("--tokenizer <folder>", "counts positions in place of characters, and finds rows that no prompt can be made of")
    .option("--media-tokens <kind=n>", "positions that a medium takes, e.g. image=64; may come several times", perModality)
    .option("--max-length <n>", "rows that are longer are counted, or wrong where no room is left for an answer", integer(2))
    .option("--split-special-tokens", "text that spells a control token is letters")
    .option("--decode", "reads every medium too")
    .option("--fix", "writes the good rows beside each file, as NAME.clean.jsonl")
    .option("--most <n>", "problems that are shown of a file", integer(0), 20)
    .option(`${KINDS_FLAG} <file>`, "a module of yours that exports kinds of media; may come several times", list)
    .option("--json", "JSON on standard output, for machines: a line a file");
  confineFlags(mediaFlags(check)).action(run);
  return data.addCommand(check).addCommand(referentialCommand());
}

async function run(files: readonly string[], flags: CheckFlags): Promise<void> {
  using interrupt = new Interrupt();
  const { checkData } = await import("../data/check-data.js");
  const { tokenizer: folder, mediaTokens = {}, modality, column: columns, mediaOption: media, confine, json = false } = flags;
  const { maxLength, splitSpecialTokens, decode = false, fix = false } = flags;
  const tokenizer = folder === undefined ? undefined : (await import("../text/tokenizer.js")).Tokenizer.fromPretrained(folder);
  const { weight, modalityWeight } = flags;
  if (weight && weight.length !== files.length)
    throw new UsageError("anymal data check", `a --weight is needed for each file: there are ${weight.length} for ${files.length}`);
  const sets: DataReport[][] = [];
  let bad = false;
  const { as } = flags;
  const look = async (file: string): Promise<DataReport> => {
    const report = await checkData(file, {
      ...{ kinds: ownKinds(), signal: interrupt.signal, decode, fix, as },
      ...(tokenizer && { tokenizer, mediaLength: (part) => Number(mediaTokens[part.modality] ?? 0) }),
      ...(modality && { modality }),
      ...(columns && { columns }),
      ...(media && { media }),
      ...(confine !== undefined && { confine }),
      ...(maxLength !== undefined && { maxLength }),
      ...(splitSpecialTokens && { splitSpecialTokens }),
    });
    bad ||= report.problems.length > 0;
    if (json) printJson(report);
    else show(report, flags.most);
    return report;
  };
  for (const name of files) {
    const set: DataReport[] = [];
    for (const file of await filesOf(name, flags, interrupt.signal)) set.push(await look(file));
    sets.push(set);
  }
  if (bad) process.exitCode = EXIT.failed;
  if (weight || modalityWeight) await showMixture(files, sets, weight, modalityWeight, json);
}

/** What a data set of the hub stands for. */
async function filesOf(
  name: string,
  { fix, split, dataConfig: config, localFilesOnly }: CheckFlags,
  signal: AbortSignal,
): Promise<string[]> {
  const { hubDataId, resolveData } = await import("../data/hub-data.js");
  const id = hubDataId(name);
  if (id === undefined) return [name];
  if (fix)
    throw new UsageError(
      "anymal data check",
      `--fix writes beside the files, and those of ${name} lie in the hub's cache; copy them first`,
    );
  const { onProgress } = new Downloads();
  return resolveData(id, { split, config, localFilesOnly, signal, onProgress });
}

/** Which rows a training would read how often. */
async function showMixture(
  names: readonly string[],
  reports: readonly (readonly DataReport[])[],
  weight: CheckFlags["weight"],
  kinds: CheckFlags["modalityWeight"],
  json: boolean,
) {
  const { sharesOf, weightsOf } = await import("../data/mixture.js");
  const sets = reports.map((files, i) => {
    const own = [...new Set(files.flatMap(({ media }) => Object.keys(media).filter((name) => media[name as Modality])))];
    const rows = files.reduce((n, file) => n + file.rows, 0);
    return { rows, weight: weight?.[i], kind: own.length ? own.join(" and ") : "text" };
  });
  const all = weightsOf(sets, kinds) as number[];
  const mixture = sharesOf(sets, all).map((part, i) => ({ file: names[i] as string, ...part }));
  if (json) return printJson({ mixture });
  print("\nthe mixture: share of the rows, and how often a file is gone through while as many rows are read as all files have");
  table(mixture.map(({ file, share, passes }) => [`${(100 * share).toFixed(1)} %`, `${passes.toPrecision(3)} times`, file]));
}

function show(report: DataReport, most: number): void {
  const { file, rows, bad, layouts, exchanges, media, tokens, causes, longest, meanLength, cut, problems, clean } = report;
  const counts = (all: Readonly<Record<string, number>>) =>
    Object.entries(all)
      .filter(([, n]) => n)
      .map(([name, n]) => `${n} ${name}`)
      .join(", ");
  // A file that could not be opened has no rows to count.
  const unread = !rows && !bad && problems.length > 0;
  if (!unread) print(`${file}: ${rows} good rows, ${bad} bad ones`);
  const facts: [string, string][] = [
    ["layout", counts(layouts as Record<string, number>)],
    ["answers", String(exchanges)],
    ["media", counts(media) || "none"],
    ["tokens", counts(tokens)],
    ["longest", longest.length ? `${longest.length} ${longest.unit}, ${longest.where}` : ""],
    ["mean", longest.length ? `${meanLength.toFixed(1)} ${longest.unit}` : ""],
    ["cut", cut ? `${cut} rows are longer than --max-length` : ""],
    ["written", clean ?? ""],
  ];
  if (!unread) table(facts.filter(([, value]) => value));
  if (!problems.length) return;
  if (!unread) {
    print("\nwhat is wrong, by cause");
    table(Object.entries(causes).map(([cause, n]) => [String(n), cause]));
    print("");
  }
  for (const { message, column: name } of problems.slice(0, most)) tell(`${message}${name === undefined ? "" : ` [column ${name}]`}`);
  const left = Object.values(causes).reduce((a, b) => a + b, 0) - Math.min(most, problems.length);
  if (left) tell(`and ${left} more; --json has a thousand`);
}
