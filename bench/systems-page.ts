// The table of docs/systems.md from what `npm run systems` left in bench/results: of each system the newest record.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { RESULTS } from "./record.js";

interface Outcome {
  exact: number;
  blank: number;
  shuffled: number;
  trainedParameters: number;
  seeds?: number;
  more?: Readonly<Record<string, number>>;
}
interface SystemsRecord {
  date: string;
  machine: string;
  systems: Readonly<Record<string, Outcome>>;
}

export function systemsBlock(folder = RESULTS): string {
  const files = readdirSync(folder).filter((file) => /^systems-.*\.json$/.test(file));
  const records = files.map((file) => JSON.parse(readFileSync(join(folder, file), "utf8")) as SystemsRecord);
  const newest = new Map<string, Outcome>();
  for (const { systems } of records.sort((a, b) => a.date.localeCompare(b.date)))
    for (const [name, outcome] of Object.entries(systems)) newest.set(name, outcome);
  const percent = (share: number) => (100 * share).toFixed(1);
  const rows = [...newest]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, { exact, blank, shuffled, trainedParameters, seeds = 3, more = {} }]) => {
      const beside = Object.entries(more).map(([key, value]) => `${key} ${percent(value)}`);
      const cells = [
        name,
        seeds,
        percent(exact),
        percent(blank),
        percent(shuffled),
        percent(exact - Math.max(blank, shuffled)),
        trainedParameters,
      ];
      return `| ${[...cells, beside.join(", ")].join(" | ")} |`;
    });
  const head = ["system", "seeds", "exact, %", "blank", "shuffled", "exact less the better control", "trained numbers", "asked beside, %"];
  return [`| ${head.join(" | ")} |`, `| ${head.map(() => "---").join(" | ")} |`, ...rows].join("\n");
}
