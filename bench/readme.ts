// The README's tables from the records of bench/results: what stands between the two marks is made here and nowhere else. Groups of many rows are told by
// their median and their worst.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Figures } from "./contest.js";
import { efficientBlock } from "./efficient-page.js";
import { type BenchRecord, RESULTS, SCHEMA } from "./record.js";
import { systemsBlock } from "./systems-page.js";

const README = fileURLToPath(new URL("../README.md", import.meta.url));
const EFFICIENT = fileURLToPath(new URL("../docs/efficient-training.md", import.meta.url));
const SYSTEMS = fileURLToPath(new URL("../docs/systems.md", import.meta.url));
const [BEGIN, END] = ["<!-- made by npm run bench -- readme -->", "<!-- made until here -->"];
/** Its page is docs/efficient-training.md. */
const OWN_PAGE = "efficient";
/** A group of more is told by two of them. */
const MOST_ROWS = 4;
const ORDER = ["decode", "prefill", "train-step", "demo", "encode", "linear", "attention", "memory", "busy"];

export function writeReadme(folder = RESULTS): void {
  writeFileSync(README, withBlock(readFileSync(README, "utf8"), blockOf(recordsIn(folder))));
  writeFileSync(EFFICIENT, withBlock(readFileSync(EFFICIENT, "utf8"), efficientBlock(folder)));
  writeFileSync(SYSTEMS, withBlock(readFileSync(SYSTEMS, "utf8"), systemsBlock(folder)));
}

/** Records of the present form, by the wall's clock; a folder's other files are left alone. */
export function recordsIn(folder: string): BenchRecord[] {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder).filter((file) => file.endsWith(".json"));
  const all = files.sort().map((file) => JSON.parse(readFileSync(join(folder, file), "utf8")) as BenchRecord);
  return all
    .filter(({ schema, clock, suite }) => schema === SCHEMA && clock === "wall" && suite !== OWN_PAGE)
    .sort((a, b) => ORDER.indexOf(a.suite) - ORDER.indexOf(b.suite));
}

/** The README with `block` between its marks. */
export function withBlock(readme: string, block: string): string {
  const [from, to] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (from < 0 || to < from) throw new Error(`expected the marks ${BEGIN} and ${END}, in this order`);
  return `${readme.slice(0, from + BEGIN.length)}\n${block}\n${readme.slice(to)}`;
}
export function blockIn(readme: string): string {
  return readme.slice(readme.indexOf(BEGIN) + BEGIN.length, readme.indexOf(END)).trim();
}

export function blockOf(records: readonly BenchRecord[]): string {
  if (!records.length)
    return "No results are kept in the form of [bench/schema.json](bench/schema.json) yet: `npm run bench -- all` makes them.";
  const machines = grouped(records, ({ machine: { cpu, cores } }) => `${cpu}, ${cores} cores`);
  return [...machines].map(([machine, own]) => sectionOf(machine, own)).join("\n\n");
}

function sectionOf(machine: string, records: readonly BenchRecord[]): string {
  const latest = records
    .map(({ date }) => date)
    .sort()
    .at(-1) as string;
  const commits = [...new Set(records.map(({ commit }) => commit))].join(", ");
  const threads = [...new Set(records.map(({ threads }) => threads))].join(" or ");
  const load = Math.max(...records.map(({ load }) => load.before));
  const head = `${machine}, ${threads} ${threads === "1" ? "thread" : "threads"}, ${latest.slice(0, 10)}, commit ${commits}; load before at most ${load}. Medians; a ratio is how many times as fast ours is, in turns.`;
  return [`${head} ${peaks(records)}`.trim(), ratios(records), shares(records)].filter(Boolean).join("\n\n");
}

/** What shares are of; each suite measures its own. */
function peaks(records: readonly BenchRecord[]): string {
  const levels = grouped(
    records.flatMap((record) => Object.entries(record.peaks)),
    ([level]) => level,
  );
  const range = (values: readonly number[], digits: number) => {
    const [least, most] = [Math.min(...values), Math.max(...values)].map((value) => (value / 1e9).toFixed(digits));
    return least === most ? least : `${least} to ${most}`;
  };
  const said = [...levels].map(([level, all]) => {
    const [f32, bf16, bandwidth] = (["f32", "bf16", "bandwidth"] as const).map((of) => all.map(([, measured]) => measured[of]));
    return `${level}: ${range(f32 ?? [], 0)} GFLOP/s in f32, ${range(bf16 ?? [], 0)} in bf16, ${range(bandwidth ?? [], 1)} GB/s`;
  });
  return said.length ? `Peaks, measured in the same runs: ${said.join("; ")}.` : "";
}

interface Line extends Figures {
  suite: string;
}
const linesOf = (records: readonly BenchRecord[]): Line[] => records.flatMap(({ suite, rows }) => rows.map((row) => ({ suite, ...row })));
/** What a case begins with: the storage, the stage, the encoder. */
const kindOf = ({ case: name }: Figures): string => `${name.split(",")[0]}${name.includes("LoRA") ? " with LoRA" : ""}`;
const groupsOf = (lines: readonly Line[], key: (line: Line) => string): Line[][] => [...grouped(lines, key).values()];

function grouped<T>(all: readonly T[], key: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) groups.set(key(one), [...(groups.get(key(one)) ?? []), one]);
  return groups;
}

function ratios(records: readonly BenchRecord[]): string {
  const lines = linesOf(records).filter(({ rival, suite }) => rival || suite === "demo");
  const groups = groupsOf(lines, (line) => [line.suite, line.level, line.rival?.name, kindOf(line)].join("|"));
  const rows = groups.flatMap((group) => representative(group, ({ rival }) => rival?.ratio ?? 0));
  if (!rows.length) return "";
  const body = rows.map(({ line: { suite, level, case: name, unit, median, rival, more }, mark }) => {
    const own = `${median} ${unit}`;
    const theirs = rival ? `${rival.median} ${unit} (${rivalOf(rival)})` : restOf(more);
    return `| ${suite}: ${name}${mark} | ${level} | ${own} | ${theirs} | ${rival ? rival.ratio.toFixed(2) : ""} |`;
  });
  return ["| case | level | ours | rival | ratio |", "| --- | --- | --- | --- | --- |", ...body].join("\n");
}

/** Of another way through this library the commit is told above. */
const rivalOf = ({ name, version }: NonNullable<Figures["rival"]>): string => (name.startsWith("anymal") ? name : `${name} ${version}`);

const restOf = (more: Record<string, number>): string =>
  Object.entries(more)
    .filter(([key]) => key.includes("%"))
    .map(([key, value]) => `${key}: ${value}`)
    .join("; ");

function shares(records: readonly BenchRecord[]): string {
  // A case that stands beside several rivals counts once.
  const seen = new Set<string>();
  const lines = linesOf(records).filter((line) => {
    const key = [line.suite, line.level, line.case].join("|");
    return line.share !== null && !seen.has(key) && seen.add(key);
  });
  const groups = groupsOf(lines, (line) => [line.suite, line.level, kindOf(line), line.of].join("|"));
  const body = groups.map((group) => {
    const sorted = [...group].sort((a, b) => (a.share as number) - (b.share as number));
    const [worst, middle] = [sorted[0] as Line, sorted[Math.floor(sorted.length / 2)] as Line];
    const rest = worst.case.split(",").slice(1).join(",").trim();
    const at = group.length > 1 && rest ? ` (${rest})` : "";
    return `| ${worst.suite}: ${kindOf(worst)} | ${worst.level} | ${worst.of} | ${group.length} | ${percent(middle)} | ${percent(worst)}${at} |`;
  });
  if (!body.length) return "";
  return ["| case | level | share of | cases | median | worst |", "| --- | --- | --- | --- | --- | --- |", ...body].join("\n");
}
const percent = ({ share }: Figures): string => `${Math.round(100 * (share as number))} %`;

function representative(group: readonly Line[], of: (line: Line) => number): { line: Line; mark: string }[] {
  if (group.length <= MOST_ROWS) return group.map((line) => ({ line, mark: "" }));
  const sorted = [...group].sort((a, b) => of(a) - of(b));
  const middle = sorted[Math.floor(sorted.length / 2)] as Line;
  return [
    { line: middle, mark: ` (median of ${group.length})` },
    { line: sorted[0] as Line, mark: " (worst)" },
  ];
}
