// What a run has logged of its steps and weights, and whether a replay's are the same.
import { isObject } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import type { ModelInTraining } from "../model-in-training.js";
import { JsonLines } from "../run-log/json-lines.js";
import { LOG } from "../run-log/log.js";
import type { TrainStep } from "../step-report.js";
import type { Observer, Standing } from "../trainee.js";
import type { ReplayedValue } from "./causes.js";
import { WEIGHTS, weightsHash } from "./weights-hash.js";

export interface ReplayDifference {
  /** Counted from 1; 0: before the first step. */
  step: number;
  what: ReplayedValue;
  /** What the run has logged; null for a loss or a norm that was no number. */
  logged: number | string | null;
  made: number | string | null;
}

type Line = Record<string, unknown>;

/** In the order in which one follows from the other. */
const VALUES: readonly (readonly [ReplayedValue, key: string, of: (step: TrainStep) => number | string])[] = [
  ["rows", "rows", ({ rowsDigest }) => rowsDigest],
  ["learning rate", "learning_rate", ({ learningRate }) => learningRate],
  ["loss", "loss", ({ loss }) => loss],
  ["gradient norm", "grad_norm", ({ gradNorm }) => gradNorm],
];

export class Recorded {
  private constructor(
    private readonly lines: ReadonlyMap<number, Line>,
    private readonly hashes: ReadonlyMap<number, string>,
  ) {}

  /** Rejects with E_FILE where the run has logged no step. */
  static async read(folder: string): Promise<Recorded> {
    const byStep = async (name: string) =>
      (await new JsonLines(folder, name, "step").read()).flatMap((line): [number, Line][] =>
        isObject(line) && Number.isSafeInteger(line.step) ? [[line.step as number, line]] : [],
      );
    const hashes = (await byStep(WEIGHTS)).flatMap(([step, { sha256 }]): [number, string][] =>
      typeof sha256 === "string" ? [[step, sha256]] : [],
    );
    const lines = await byStep(LOG);
    if (!lines.length) throw expected("E_FILE", folder, `a run with steps in ${LOG}`, "none", "train it first");
    return new Recorded(new Map(lines), new Map(hashes));
  }

  /** The last step of which something is known. */
  get last(): number {
    return [...this.lines.keys(), ...this.hashes.keys()].reduce((a, b) => Math.max(a, b), 0);
  }

  /** How a step differs from its line; undefined where it does not, or has none. */
  differing(report: TrainStep): ReplayDifference | undefined {
    const line = this.lines.get(report.step);
    for (const [what, key, of] of VALUES) {
      const [logged, made] = [line?.[key], finite(of(report))];
      if (logged !== undefined && logged !== made) return { step: report.step, what, logged: logged as number | string | null, made };
    }
    return undefined;
  }

  hasLine(step: number): boolean {
    return this.lines.has(step);
  }
  hashAt(step: number): string | undefined {
    return this.hashes.get(step);
  }
}

/** As JSON has it. */
const finite = (value: number | string): number | string | null => (typeof value === "number" && !Number.isFinite(value) ? null : value);

/** Hashes the weights where the run did, and ends the training where they differ, or after the step `until`. */
export class WeightsWatch implements Observer {
  difference: ReplayDifference | undefined;
  /** Steps after which they were the same. */
  readonly same: number[] = [];
  #over = false;

  constructor(
    private readonly recorded: Recorded,
    private readonly until: number,
    private readonly parameters: ModelInTraining["parameters"],
  ) {}

  get enough(): boolean {
    return this.#over;
  }
  due({ step }: Pick<Standing, "step">): boolean {
    return !this.#over && !this.same.includes(step) && (step >= this.until || this.recorded.hashAt(step) !== undefined);
  }
  async look({ step }: Pick<Standing, "step">): Promise<void> {
    const then = this.recorded.hashAt(step);
    this.#over = step >= this.until;
    if (then === undefined) return;
    const now = await weightsHash(this.parameters);
    if (now === then) this.same.push(step);
    else this.difference = { step, what: "weights", logged: then, made: now };
    this.#over ||= now !== then;
  }
}
