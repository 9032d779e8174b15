// Rows of a file through steps that drop and mend them, into a file beside it; and what people said of them afterwards.
import { dirname, resolve } from "node:path";
import { AnymalError, expected } from "../../core/errors.js";
import { checkOptions } from "../../core/options.js";
import { anyReading, ROWS_OPTIONS, type RowsOptions, renamed } from "../../data/any-layout.js";
import { MediaFiles } from "../../data/media-files.js";
import type { ReaderName } from "../../data/readers.js";
import { recordChunks } from "../../data/record-chunks.js";
import { DataError } from "../../data/row.js";
import { RowsBeside } from "../../data/rows-beside.js";
import type { CurationItem, CurationStep } from "./step.js";

export interface CurateOptions extends Omit<RowsOptions, "onBadRow" | "onProblem" | "onLayout"> {
  /** In their order; each sees what those before it left. */
  steps: readonly CurationStep[];
  /** Reads the file of a published data set as rows (READERS). */
  as?: ReaderName | undefined;
  /** Told of every row that cannot be read. */
  onProblem?: (problem: AnymalError) => void;
  /** Told of every row that is kept, as it is written. */
  onKept?: (item: CurationItem) => void | Promise<void>;
}
const { onBadRow: _bad, onLayout: _layout, ...ROWS } = ROWS_OPTIONS;
const OPTIONS = [...Object.keys(ROWS), "steps", "as", "onKept"];

export interface CurationReport {
  file: string;
  /** Where the rows are that were kept. */
  output: string;
  /** Of the file, those that cannot be read among them. */
  rows: number;
  kept: number;
  bad: number;
  /** By step: how many rows it changed, and how many it dropped, by why. */
  steps: { name: string; changed: number; dropped: Record<string, number> }[];
}

/**
 * Writes the rows that every step keeps into NAME.curated.jsonl beside the file, since their paths begin there. Rejects with E_FILE where there is such a
 * file, with E_DATA where the data is of no use as a whole, and with what a step throws; nothing is left behind then.
 */
export async function curate(path: string, options: CurateOptions): Promise<CurationReport> {
  checkOptions("curate", options, OPTIONS);
  const { steps, as, onProblem, onKept, ...reading } = options;
  if (!Array.isArray(steps)) throw expected("E_VALUE", "curate: steps", "a list of steps", steps, "pass [duplicates()], say");
  const files = new MediaFiles(path, reading);
  const made = anyReading(path, files.kinds, reading);
  const root = resolve(reading.root ?? dirname(path));
  const place = { root, signal: reading.signal };
  const report: CurationReport = {
    ...{ file: path, output: "", rows: 0, kept: 0, bad: 0 },
    steps: steps.map(({ name }) => ({ name, changed: 0, dropped: {} })),
  };
  const itemOf = async (number: number, fields: CurationItem["fields"]): Promise<CurationItem> => ({
    number,
    fields,
    row: await made.row(path, { number, fields }, files),
  });
  const bad = (error: unknown): undefined => {
    if (!(error instanceof AnymalError) || error.code === "E_DATA") throw error;
    report.bad++;
    onProblem?.(error);
    return undefined;
  };
  const output = await RowsBeside.begin(path, "curated");
  report.output = output.path;
  try {
    const check: Parameters<typeof recordChunks>[1]["check"] = (records) => made.check(path, records);
    for await (const some of recordChunks(path, { kinds: files.kinds, as, signal: reading.signal, check })) {
      const read = await Promise.all(
        some.map(async (given) => {
          const { number, record } = await given;
          if (record instanceof DataError) return bad(record);
          return itemOf(number, renamed(record.fields, reading.columns)).catch(bad);
        }),
      );
      report.rows += some.length;
      let items = read.filter((item) => item !== undefined);
      for (const [i, step] of steps.entries()) {
        reading.signal?.throwIfAborted();
        if (items.length) items = await through(step, items, report.steps[i] as CurationReport["steps"][number], place, itemOf);
      }
      for (const item of items) {
        await output.add(path, item);
        await onKept?.(item);
      }
      report.kept += items.length;
    }
    await output.close();
  } catch (error) {
    await output.drop();
    throw error;
  }
  return report;
}

async function through(
  step: CurationStep,
  items: readonly CurationItem[],
  told: CurationReport["steps"][number],
  place: Parameters<CurationStep["look"]>[1],
  itemOf: (number: number, fields: CurationItem["fields"]) => Promise<CurationItem>,
): Promise<CurationItem[]> {
  const verdicts = await step.look(items, place);
  if (verdicts.length !== items.length)
    throw expected("E_VALUE", `curate: step ${step.name}`, `a verdict for each of ${items.length} rows`, verdicts.length);
  const left: CurationItem[] = [];
  for (const [i, item] of items.entries()) {
    const verdict = verdicts[i];
    if (verdict && "drop" in verdict) told.dropped[verdict.drop] = (told.dropped[verdict.drop] ?? 0) + 1;
    else if (verdict) {
      ++told.changed;
      left.push(await itemOf(item.number, verdict.fields));
    } else left.push(item);
  }
  return left;
}
