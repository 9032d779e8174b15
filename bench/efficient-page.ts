// The tables of docs/efficient-training.md from the records of bench/results: what each switch of a training costs and saves, and how near plans came.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Figures } from "./contest.js";
import type { BenchRecord } from "./record.js";

/** What the bench `align-step` leaves, as far as it is told here. */
interface FirstSteps {
  cpu: string;
  commit: string;
  command: string;
  loading?: { "peak MiB": number; "planned MiB": number };
  rows: { "model MiB": number; "peak MiB": number; "planned MiB"?: number }[];
}

/** A record of `efficient` for each machine, and the first steps that were planned before they were made. */
export function efficientBlock(folder: string): string {
  const files = existsSync(folder) ? readdirSync(folder).sort() : [];
  const named = <T>(name: RegExp): T[] =>
    files.filter((file) => name.test(file)).map((file) => JSON.parse(readFileSync(join(folder, file), "utf8")) as T);
  const records = named<BenchRecord>(/^efficient-.*\.json$/);
  const steps = named<FirstSteps>(/^align-step-.*\.json$/).filter(({ rows }) => rows.at(-1)?.["planned MiB"]);
  return [...records.map(switchesOf), ...(steps.length ? [plannedSteps(steps)] : [])].join("\n\n");
}

function switchesOf(record: BenchRecord): string {
  const { machine, threads, clock, date, commit, command, rows } = record;
  const [plain] = rows;
  const seconds = clock === "cpu" ? "seconds of CPU time, in turns" : "in turns";
  const many = threads === 1 ? "1 thread" : `${threads} threads`;
  const epochs = plain?.samples === 1 ? "one epoch each, after one that does not count" : `medians of ${plain?.samples} epochs`;
  const head = `${machine.cpu}, ${many}, ${record.level}, ${date.slice(0, 10)}, commit ${commit}, load before ${record.load.before}: \`${command}\`; ${epochs}, ${seconds}.`;
  const lines = rows.map((row) => lineOf(row, plain as Figures));
  return [
    head,
    "",
    "| switch | tokens/s | times plain | peak MiB | of plain's | planned MiB | planned tokens/s |",
    "| --- | --- | --- | --- | --- | --- | --- |",
    ...lines,
  ].join("\n");
}

function lineOf({ case: name, median, rival, more }: Figures, plain: Figures): string {
  const peak = more["peak MiB"] ?? 0;
  const planned = more["planned MiB"] ?? 0;
  const share = `${Math.round((100 * peak) / (plain.more["peak MiB"] ?? peak))} %`;
  const cells = [name, median, rival ? rival.ratio.toFixed(2) : "", peak, share, `${planned} (${off(planned, peak)})`];
  return `| ${[...cells, Math.round(more["planned tokens/s"] ?? 0)].join(" | ")} |`;
}

const off = (planned: number, measured: number): string => {
  const percent = (100 * (planned / measured - 1)).toFixed(1);
  return `${percent.startsWith("-") ? percent.replace("-", "−") : `+${percent}`} %`;
};

function plannedSteps(all: readonly FirstSteps[]): string {
  const lines = all.map(({ cpu, commit, command, loading, rows }) => {
    const last = rows.at(-1) as FirstSteps["rows"][number];
    const [peak, planned] = [last["peak MiB"], last["planned MiB"] ?? 0];
    const load = loading
      ? `${loading["peak MiB"]} | ${loading["planned MiB"]} (${off(loading["planned MiB"], loading["peak MiB"])})`
      : " | ";
    return `| ${cpu}, ${commit}: \`${command}\` | ${last["model MiB"]} | ${load} | ${peak} | ${planned} (${off(planned, peak)}) |`;
  });
  return [
    "| first steps of stage 1 | model MiB | loading: peak MiB | planned | steps: peak MiB | planned |",
    "| --- | --- | --- | --- | --- | --- |",
    ...lines,
  ].join("\n");
}
