// What becomes of looks at a model: lines of validation.jsonl and the best model in best/, where the run has a folder.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { placeFolder } from "../../io/placed.js";
import { writeNew } from "../../io/whole-file.js";
import { writeSamples } from "../report/samples.js";
import type { Kept, RunFolder } from "../run-folder.js";
import { RecipeError } from "../schema.js";
import { isLook } from "./judge.js";
import type { Looks } from "./validation.js";

export const BEST = "best";

/** Of a run in a folder; without one the looks are told to `tell` alone. */
export async function looksOf(run: RunFolder | undefined, kept: Kept, tell: Looks["tell"], signal?: AbortSignal): Promise<Looks> {
  if (!run) return { before: [], show: async () => {}, keepBest: async () => {}, write: async () => {}, tell };
  const best = join(run.folder, BEST);
  if (existsSync(best) && !existsSync(join(best, "anymal.json")))
    throw new RecipeError("output", `a folder in which ${BEST} is the run's own`, best, "it holds something else: take another folder");
  return {
    before: (await run.looks.read()).filter(isLook),
    show: (rows) => writeSamples(run.folder, rows, signal),
    async keepBest({ step, scores }) {
      await run.check();
      await placeFolder(best, async (fresh) => {
        await kept.write(fresh, best);
        await writeNew(join(fresh, "validation.json"), (file) => file.writeFile(`${JSON.stringify({ step, scores }, null, 2)}\n`));
      });
    },
    write: (look) => run.looks.append(look),
    async tell(report) {
      for (const reporter of run.reporters) await reporter.evaluated?.(report);
      await tell(report);
    },
  };
}
