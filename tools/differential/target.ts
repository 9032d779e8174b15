// What is compared: how cases are made, what Python is asked, and what counts as the same.
import { join } from "node:path";
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

export interface Places {
  /** Files to begin from, where the caller has some. */
  material: string | undefined;
  /** An empty folder. */
  scratch: string;
}

export interface Target {
  readonly name: string;
  /** Python packages. */
  readonly needs: string;
  /** A file of python/, which answers each line of JSON with one. */
  readonly script: string;
  cases(random: Random, count: number, places: Places): Iterator<unknown>;
  /** What goes to Python; the case itself by default. */
  question?(input: unknown): unknown;
  /** `ask` puts another question to Python, such as what it reads in a file that was written here. */
  compare(input: unknown, theirs: unknown, ask: (question: unknown) => Promise<unknown>): Verdict | Promise<Verdict>;
}

/** A case that Python makes: of this seed, with files below this path. */
export interface Seeded {
  seed: number;
  path: string;
}
export function* seeded(random: Random, count: number, { scratch }: Places): Generator<Seeded> {
  for (let i = 0; i < count; ++i) yield { seed: random.bits(), path: join(scratch, `${i}`) };
}
