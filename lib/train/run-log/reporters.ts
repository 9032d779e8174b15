// Which forms a run is told in: two files of lines always, what costs more when it is asked for.
import { writeReport } from "../report/run-report.js";
import { log, trainerLog } from "./log.js";
import type { Reporter } from "./reporter.js";
import { tensorboard } from "./tensorboard.js";

export const REPORTS = ["tensorboard", "html", "none", "all"] as const;
export type ReportName = (typeof REPORTS)[number];

/** Of a run in `folder` whose recipe.yaml says `recipe`. */
export function reportersOf(folder: string, to: ReportName | readonly ReportName[] = [], recipe: object): Reporter[] {
  return [
    log(folder),
    trainerLog(folder),
    ...(wants(to, "tensorboard") ? [tensorboard(folder, recipe)] : []),
    ...(wants(to, "html") ? [html(folder)] : []),
  ];
}

export const wants = (to: ReportName | readonly ReportName[] = [], name: ReportName): boolean =>
  [to].flat().some((one) => one === name || one === "all");

/** report.html, made anew after each look at rows that are held out; the stage makes it once more at its end. */
const html = (folder: string): Reporter => ({
  begin: async () => {},
  step: async () => {},
  evaluated: async () => void (await writeReport(folder)),
});
