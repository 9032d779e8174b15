// A sweep as people read it: a table for each group of settings, means over seeds with how far they lie apart, and a chart.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { onFile } from "../../core/file-error.js";
import { writeWhole } from "../../io/whole-file.js";
import { escaped } from "../report/svg.js";
import type { SweepResult, SweepRow } from "./sweep.js";

type Figure = Exclude<keyof SweepResult, "seed">;

/** Mean, and the standard deviation of a sample; 0 of one run. */
export function spread(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0 };
}

const of = ({ runs }: SweepRow, figure: Figure) => spread(runs.map((run) => run[figure]));
const share = ({ mean, deviation }: ReturnType<typeof spread>): string =>
  deviation ? `${(100 * mean).toFixed(1)} ± ${(100 * deviation).toFixed(1)}` : (100 * mean).toFixed(1);

/** Groups in the order in which they come. */
function groupsOf(rows: readonly SweepRow[]): Map<string, SweepRow[]> {
  const groups = new Map<string, SweepRow[]>();
  for (const row of rows.filter(({ runs }) => runs.length)) groups.set(row.group, [...(groups.get(row.group) ?? []), row]);
  return groups;
}

/** Markdown: percents of exact answers, mean and standard deviation over the seeds. */
export function sweepTable(rows: readonly SweepRow[]): string {
  const lines = [...groupsOf(rows)].flatMap(([group, own]) => [
    `### ${group}`,
    "",
    "| setting | seeds | exact, % | blank, % | shuffled, % | minutes | peak, MiB |",
    "| --- | --- | --- | --- | --- | --- | --- |",
    ...own.map((row) =>
      [
        "",
        row.name.replaceAll("|", "\\|"),
        row.runs.length,
        share(of(row, "exact")),
        share(of(row, "blank")),
        share(of(row, "shuffled")),
        of(row, "minutes").mean.toFixed(1),
        (of(row, "peakBytes").mean / 2 ** 20).toFixed(1),
        "",
      ]
        .join(" | ")
        .trim(),
    ),
    "",
  ]);
  return lines.join("\n");
}

const [LABELS, WIDTH, BAR] = [190, 560, 26];

/** A bar for each setting's exact answers, a line for how far its seeds lie apart, and a mark where the better control is. */
export function sweepChart(group: string, rows: readonly SweepRow[]): string {
  const x = (value: number) => LABELS + value * (WIDTH - LABELS - 60);
  const bars = rows.map((row, i) => {
    const { mean, deviation } = of(row, "exact");
    const control = Math.max(of(row, "blank").mean, of(row, "shuffled").mean);
    const middle = 12 + i * BAR + BAR / 2;
    const [low, high] = [Math.max(0, mean - deviation), Math.min(1, mean + deviation)];
    return [
      `<text x="${LABELS - 8}" y="${middle}" dy=".35em" text-anchor="end">${escaped(row.name)}</text>`,
      `<rect x="${x(0)}" y="${middle - 8}" width="${x(mean) - x(0)}" height="16" fill="#4878a8"/>`,
      `<path d="M${x(low)} ${middle}H${x(high)}M${x(low)} ${middle - 4}v8M${x(high)} ${middle - 4}v8" stroke="#202020" fill="none"/>`,
      `<path d="M${x(control)} ${middle - 8}v16" stroke="#c04040" stroke-width="2"/>`,
      `<text x="${x(high) + 6}" y="${middle}" dy=".35em">${escaped((100 * mean).toFixed(1))} %</text>`,
    ].join("");
  });
  const height = 24 + rows.length * BAR;
  const about = `${group}: exact answers, red lines mark the better control`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12" role="img" aria-label="${escaped(about)}"><rect width="${WIDTH}" height="${height}" fill="#ffffff"/>${bars.join("")}</svg>\n`;
}

/** sweep.json, sweep.md, and GROUP.svg for each group, into `folder`, which is made. */
export async function writeSweep(folder: string, rows: readonly SweepRow[]): Promise<void> {
  await onFile("to be written", folder, () => mkdir(folder, { recursive: true }));
  await writeWhole(join(folder, "sweep.json"), `${JSON.stringify(rows, null, 2)}\n`);
  await writeWhole(join(folder, "sweep.md"), sweepTable(rows));
  for (const [group, own] of groupsOf(rows))
    await writeWhole(join(folder, `${group.replace(/[^\w.-]+/g, "-")}.svg`), sweepChart(group, own));
}
