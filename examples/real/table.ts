// What all runs in a folder came to, as a table: each seed, and the mean.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Answers } from "./ask.js";

export interface Outcome extends Answers {
  seed: number;
  /** The speaker that no training heard. */
  unheard: string;
  /** Of each stage. */
  minutes: Record<string, number>;
  /** Shares of media whose nearest caption is the true one: what the encoder alone knows. */
  heard: number;
  seen: number;
}

type Cell = (outcome: Partial<Outcome>) => number | undefined;
const ROWS: readonly (readonly [string, Cell])[] = [
  ["digit: encoder alone, nearest caption", ({ heard }) => heard],
  ["digit: aligned, captions by generation", ({ aligned }) => aligned?.audio],
  ["**digit: instructed, answers by generation**", ({ instructed }) => instructed?.audio.exact],
  ["digit: blank sound", ({ instructed }) => instructed?.audio.blank],
  ["digit: another question's sound", ({ instructed }) => instructed?.audio.shuffled],
  ["picture: encoder alone, nearest caption", ({ seen }) => seen],
  ["picture: aligned, captions by generation", ({ aligned }) => aligned?.image],
  ["**picture: instructed, answers by generation**", ({ instructed }) => instructed?.image.exact],
  ["picture: blank picture", ({ instructed }) => instructed?.image.blank],
  ["picture: another question's picture", ({ instructed }) => instructed?.image.shuffled],
  ["sound and picture in one prompt: the digit asked", ({ mixed }) => mixed?.audio],
  ["sound and picture in one prompt: the picture asked", ({ mixed }) => mixed?.image],
  ["sound and picture in one prompt: both asked, both right", ({ mixed }) => mixed?.both],
];

/** Of the outcomes in `folder`'s runs, in percent. */
export function table(folder: string): string {
  const outcomes = readdirSync(folder)
    .map((name) => join(folder, name, "outcome.json"))
    .filter((file) => existsSync(file))
    .sort()
    .map((file): Partial<Outcome> => JSON.parse(readFileSync(file, "utf8")));
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const cells = (of: Cell, write: (value: number) => string) => {
    const all = outcomes.map(of);
    const known = all.filter((value) => value !== undefined);
    const mean = known.reduce((a, b) => a + b, 0) / known.length;
    return [...all, known.length ? mean : undefined].map((value) => (value === undefined ? "" : write(value)));
  };
  const minutes: Cell = ({ minutes }) => minutes && Object.values(minutes).reduce((a, b) => a + b, 0);
  return [
    line(["%", ...outcomes.map(({ seed, unheard }) => `seed ${seed}, ${unheard} unheard`), "mean"]),
    line(["---", ...outcomes.map(() => "---"), "---"]),
    ...ROWS.map(([name, of]) => line([name, ...cells(of, (share) => (100 * share).toFixed(1))])),
    line(["minutes", ...cells(minutes, (value) => value.toFixed(1))]),
  ].join("\n");
}
