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

const wants = (to: ReportName | readonly ReportName[] = [], name: ReportName): boolean =>
  [to].flat().some((one) => one === name || one === "all");

/** report.html, made anew after each look at rows that are held out, and at the end. */
const html = (folder: string): Reporter => ({
  begin: async () => {},
  step: async () => {},
  evaluated: async () => void (await writeReport(folder)),
  end: async () => void (await writeReport(folder).catch(() => undefined)), // it says nothing that is not in the logs
});
