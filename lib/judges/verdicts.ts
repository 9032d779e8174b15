// Verdicts of people on pairs of answers: win rates, and AnyMAL's rubric (arXiv 2309.16058, Table 3): objects recognised 0 to 2, response accurate 0 or 2,
// integrity 0 or 2.
import { is, isObject, type Schema, shown } from "../core/checks.js";
import { expected } from "../core/errors.js";
import { parseShallow } from "../core/json.js";
import { readPlain } from "../core/plain-file.js";
import type { JudgeKey } from "./pairs.js";

export const RUBRIC = {
  recognition: { about: "What is in the picture, film or sound is named rightly", points: [0, 1, 2] },
  accuracy: { about: "The response is right", points: [0, 2] },
  integrity: { about: "The response is whole, and free of what should not be said", points: [0, 2] },
} as const;
export type RubricName = keyof typeof RUBRIC;
export const RUBRIC_NAMES = Object.keys(RUBRIC) as readonly RubricName[];

export type Better = "left" | "tie" | "right";
export type Points = Partial<Record<RubricName, number>>;
export interface Verdict {
  better: Better;
  left?: Points;
  right?: Points;
}
/** What a sheet hands back. */
export interface JudgeVerdicts {
  sheet: string;
  judge: string;
  /** By pair; those that are not judged are absent. */
  verdicts: Record<string, Verdict>;
}

/** A share with the interval that holds it with 95 in 100 (Wilson's, of as many as there are pairs). */
export interface Share {
  share: number;
  low: number;
  high: number;
}
export interface JudgeReport {
  a: string;
  b: string;
  task: string;
  /** Pairs that somebody has judged, and how many there were. */
  pairs: number;
  of: number;
  judges: string[];
  win: Share;
  tie: Share;
  lose: Share;
  /** Means of points, as shares of the most; undefined where nobody gave any. */
  rubric: Record<RubricName, { a: Share | undefined; b: Share | undefined }>;
  /** Of two judges' verdicts on one pair, the share that are alike; undefined with one judge. */
  agreement: number | undefined;
}

const Z = 1.959963984540054;

/** Wilson's interval of a mean of n values from 0 to 1. For values between them it is wider than need be. */
export function shareOf(values: readonly number[]): Share {
  const n = values.length;
  const share = values.reduce((a, b) => a + b, 0) / n;
  const middle = (share + Z ** 2 / (2 * n)) / (1 + Z ** 2 / n);
  const half = (Z / (1 + Z ** 2 / n)) * Math.sqrt((share * (1 - share)) / n + Z ** 2 / (4 * n ** 2));
  return { share, low: Math.max(0, Math.min(share, middle - half)), high: Math.min(1, Math.max(share, middle + half)) };
}

/** Several judges' verdicts on a pair count as their mean. Throws E_DATA on verdicts of another sheet, and where there are none. */
export function scoreVerdicts(key: JudgeKey, all: readonly JudgeVerdicts[]): JudgeReport {
  const byPair = new Map<string, Verdict[]>();
  for (const { sheet, judge, verdicts } of all) {
    if (sheet !== key.sheet)
      throw expected("E_DATA", `verdicts of ${judge}`, `those of sheet ${key.sheet}`, sheet, "name the key that belongs to it");
    for (const [id, verdict] of Object.entries(verdicts)) {
      if (!Object.hasOwn(key.sides, id))
        throw expected("E_DATA", `verdicts of ${judge}`, "pairs of the sheet", id, "name the key that belongs to it");
      byPair.set(id, [...(byPair.get(id) ?? []), verdict]);
    }
  }
  if (!byPair.size) throw expected("E_DATA", "verdicts", "at least one pair that is judged", "none", "judge some, and save");
  const sideOf = (id: string) => key.sides[id] as "left" | "right";
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const rate = (is: (verdict: Verdict, side: "left" | "right") => boolean): Share =>
    shareOf(Array.from(byPair, ([id, own]) => mean(own.map((verdict) => Number(is(verdict, sideOf(id)))))));
  const points = (name: RubricName, whose: "a" | "b"): Share | undefined => {
    const most = Math.max(...RUBRIC[name].points);
    const values = [...byPair].flatMap(([id, own]) => {
      const side = (whose === "a") === (sideOf(id) === "left") ? "left" : "right";
      const given = own.flatMap((verdict) => verdict[side]?.[name] ?? []);
      return given.length ? [mean(given) / most] : [];
    });
    return values.length ? shareOf(values) : undefined;
  };
  const couples = [...byPair.values()].flatMap((own) =>
    own.flatMap((one, i) => own.slice(i + 1).map((other) => Number(one.better === other.better))),
  );
  return {
    ...{ a: key.a, b: key.b, task: key.task, pairs: byPair.size, of: Object.keys(key.sides).length },
    judges: [...new Set(all.map(({ judge }) => judge))],
    win: rate(({ better }, side) => better === side),
    tie: rate(({ better }) => better === "tie"),
    lose: rate(({ better }, side) => better !== "tie" && better !== side),
    rubric: Object.fromEntries(RUBRIC_NAMES.map((name) => [name, { a: points(name, "a"), b: points(name, "b") }])) as JudgeReport["rubric"],
    agreement: couples.length ? mean(couples) : undefined,
  };
}

const VERDICTS: Schema = { sheet: is.text, judge: { wanted: "a text", fits: (v) => typeof v === "string" }, verdicts: is.object };
const KEY: Schema = { sheet: is.text, task: is.text, a: is.text, b: is.text, sides: is.object };
const LARGEST = 64 << 20;

/** A file that a sheet has saved. Rejects with E_DATA where it is another. */
export const readVerdicts = async (path: string): Promise<JudgeVerdicts> => {
  const value = await read(path, VERDICTS, "verdicts as the sheet saves them");
  for (const [id, verdict] of Object.entries(value.verdicts as object))
    if (!isVerdict(verdict))
      throw expected("E_DATA", path, "verdicts of a sheet", `${id}: ${shown(verdict, 80)}`, "save it again from the sheet");
  return value as unknown as JudgeVerdicts;
};
/** key.json, which lies beside a sheet. Rejects with E_DATA where it is another file. */
export const readKey = async (path: string): Promise<JudgeKey> => {
  const what = "the key that was written beside the sheet";
  const value = await read(path, KEY, what);
  for (const [id, side] of Object.entries(value.sides as object))
    if (side !== "left" && side !== "right")
      throw expected("E_DATA", path, what, `${id}: ${shown(side, 80)}`, "take the file as it was written");
  return value as unknown as JudgeKey;
};

async function read(path: string, schema: Schema, what: string): Promise<Record<string, unknown>> {
  let value: unknown;
  try {
    value = parseShallow((await readPlain(path, { most: LARGEST })).toString("utf8"));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  const wrong = isObject(value)
    ? Object.keys(schema).find((name) => !schema[name]?.fits((value as Record<string, unknown>)[name]))
    : "an object";
  if (wrong !== undefined || !isObject(value)) throw expected("E_DATA", path, what, `no ${wrong} in it`, "name the file that was saved");
  return value;
}

function isVerdict(value: unknown): value is Verdict {
  if (!isObject(value) || !is.oneOf("left", "tie", "right").fits(value.better)) return false;
  const fits = (points: unknown) =>
    points === undefined ||
    (isObject(points) &&
      Object.entries(points).every(([name, given]) =>
        (RUBRIC as Record<string, { points: readonly unknown[] }>)[name]?.points.includes(given),
      ));
  return fits(value.left) && fits(value.right);
}
