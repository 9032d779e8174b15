// What is compared: how cases are made, what Python is asked, and what counts as the same.
import type { Random } from "../fuzz/random.js";

export interface Verdict {
  agrees: boolean;
  /** A line of the table of counts; deliberate differences have one of their own. */
  what: string;
  /** For a disagreement: all that is needed to see it again. */
  details?: string;
  /** For an agreement that a test could hold on to. */
  keep?: unknown;
}

export interface Target {
  readonly name: string;
  /** Python packages. */
  readonly needs: string;
  /** A file of python/, which answers each line of JSON with one. */
  readonly script: string;
  /** `material`: a folder of files to begin from, where the caller has one. */
  cases(random: Random, count: number, material: string | undefined): Iterator<unknown>;
  /** What goes to Python; the case itself by default. */
  question?(input: unknown): unknown;
  compare(input: unknown, theirs: unknown): Verdict | Promise<Verdict>;
}
