// What pictures and sounds share: Python makes a file of a seed and says what it reads in it; the file is read here too.
import { type Seeded, seeded, type Target, type Verdict } from "../target.js";

export interface Read {
  kind: string;
  path: string;
  /** What the reference says no with. */
  refused?: string;
}
/** ALIKE and BOTH_REFUSE are agreement; all else says what differs. */
export const [ALIKE, BOTH_REFUSE] = ["the same", "both refuse"];

export function mediaTarget<R extends Read>(name: string, needs: string, judge: (read: R) => Promise<string>): Target {
  const compare = async (input: unknown, answer: unknown): Promise<Verdict> => {
    const { path, seed } = input as Seeded;
    const { value, error } = answer as { value?: R; error?: string };
    if (!value) return { agrees: false, what: "no case was made", details: `seed ${seed}: ${error}` };
    const verdict = await judge({ ...value, path }).catch((problem: Error) => `threw ${problem.stack}`);
    const agrees = verdict === ALIKE || verdict === BOTH_REFUSE;
    return agrees ? { agrees, what: verdict } : { agrees, what: value.kind, details: `${verdict} (seed ${seed}, ${path})` };
  };
  return { name, needs, script: `${name}.py`, cases: seeded, compare };
}
