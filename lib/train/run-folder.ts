// A run's folder: recipe.yaml as used, log.jsonl, and checkpoint/, which is the trained model together with what it takes to go on as if nothing had
// happened: the optimiser's moments and the number of steps. The order of rows and every draw follow from the seed and the step.
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { CheckpointError } from "../anymal/checkpoint-error.js";
import { checkpointFolder } from "../anymal/manifest.js";
import { shown } from "../core/checks.js";
import { onFile } from "../core/file-error.js";
import { parseShallow } from "../core/json.js";
import { readPlain } from "../core/plain-file.js";
import { built } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { Checkpoint } from "../io/checkpoint.js";
import { FolderLock } from "../io/folder-lock.js";
import { placeFolder } from "../io/placed.js";
import { saveSafetensors } from "../io/safetensors.js";
import { clearRubbish, writeNew, writeWhole } from "../io/whole-file.js";
import { LARGEST as LARGEST_RECIPE, parseYaml } from "../io/yaml.js";
import { writeRecipe } from "./recipe.js";
import { noteSitting, ORIGIN, type OriginParts, START } from "./replay/origin.js";
import { WEIGHTS, weightsHash } from "./replay/weights-hash.js";
import { JsonLines } from "./run-log/json-lines.js";
import { LOG, TRAINER_LOG } from "./run-log/log.js";
import type { Reporter } from "./run-log/reporter.js";
import { is, isObject, RecipeError } from "./schema.js";
import type { TrainStep } from "./step-report.js";
import type { Keeper, RunNumbers, Stateful } from "./trainee.js";
import { VALIDATION } from "./validation/judge.js";

export const RECIPE = "recipe.yaml";
const CHECKPOINT = "checkpoint";
const STATE = "trainer_state.json";
/** Bytes: a state has a number for each parameter at most. */
const LARGEST_STATE = 16 * 2 ** 20;
/** May differ between a run and its continuation: they change nothing of what is computed. */
const FREE = ["logEvery", "saveEvery", "onBadRow", "gradientCheckpointing", "reportTo", "validation", "onDiverged", "normLimit"];
/** So may this one where nothing is drawn: dropout's numbers are counted by micro-batch. */
const MICRO_BATCH = "microBatch";

/** What a killed process may have left half written. */
const RUBBISH = [CHECKPOINT, "best", START, RECIPE, LOG, TRAINER_LOG, VALIDATION, ORIGIN, WEIGHTS];

interface TrainerState extends RunNumbers {
  /** Rows of the data. */
  rows: number;
  secondsElapsed: number;
}

interface OpenOptions {
  /** Of the data. */
  rows: number;
  /** Of the whole run. */
  steps: number;
  /** The training in a word, for who finds the folder taken. */
  what: string;
  resume: boolean;
  /** Does training draw numbers, as dropout does? */
  draws: boolean;
  /** Who writes down what the run tells, in this folder. */
  reporters: readonly Reporter[];
  /** The file without which a folder is no checkpoint of this run. Default: a model's anymal.json. */
  mark?: string;
}

type Parameters = Iterable<readonly [string, Tensor]>;

/** What a run trains, as its checkpoint holds it. */
export interface Kept {
  /** Its files into a new folder, which will lie at `target`. */
  write(folder: string, target: string): Promise<void>;
  /** Takes over what the run in this folder has saved. */
  restore(run: string): Promise<void>;
}

export class RunFolder {
  /** What earlier sittings of this run took. */
  secondsBefore = 0;
  /** What validation has found. */
  readonly looks: JsonLines;
  #state: TrainerState | undefined;
  #begun = false;
  readonly #weights: JsonLines;

  private constructor(
    readonly folder: string,
    private readonly rows: number,
    private readonly lock: FolderLock,
    readonly reporters: readonly Reporter[],
    private readonly mark: string | undefined,
  ) {
    this.looks = new JsonLines(folder, VALIDATION, "step");
    this.#weights = new JsonLines(folder, WEIGHTS, "step");
  }

  /**
   * Makes the folder, or takes up the run in it, and holds it until close(). `recipe` is what recipe.yaml is to say, `what` the training in a word.
   * Rejects with E_BUSY while another run holds it, E_RECIPE where it cannot be gone on with, E_CHECKPOINT where its state is damaged, E_FILE.
   */
  static async open(output: string, recipe: object, { what, resume, rows, reporters, mark, ...more }: OpenOptions): Promise<RunFolder> {
    const folder = resolve(output);
    await onFile("to be written", folder, () => mkdir(folder, { recursive: true }));
    const run = new RunFolder(folder, rows, await FolderLock.take(folder, what), reporters, mark);
    try {
      await run.#begin(recipe, { resume, ...more });
    } catch (error) {
      await run.close();
      throw error;
    }
    return run;
  }

  async #begin(recipe: object, { steps, resume, draws }: Pick<OpenOptions, "steps" | "resume" | "draws">): Promise<void> {
    const { folder } = this;
    await clearRubbish(folder, (name) => RUBBISH.includes(name));
    const there = existsSync(join(folder, CHECKPOINT)) || existsSync(join(folder, `${CHECKPOINT}.old`));
    if (there && !resume)
      throw new RecipeError("output", "a folder without a run", folder, "pass resume: true to go on, another folder, or remove it");
    if (there) await this.#takeUp(recipe, steps, draws ? FREE : [...FREE, MICRO_BATCH]);
    // Steps after the checkpoint are made, and told, again.
    const { step = 0 } = this.#state ?? {};
    for (const reporter of this.reporters) await reporter.begin(step);
    await this.looks.keepTo(step);
    await this.#weights.keepTo(step);
    await writeWhole(join(folder, RECIPE), writeRecipe(recipe));
    this.#begun = true;
  }

  /** Rejects with E_BUSY where another has taken the folder meanwhile. */
  check(): Promise<void> {
    return this.lock.check();
  }

  /** Ends what is told, and gives the folder back. */
  async close(): Promise<void> {
    for (const reporter of this.#begun ? this.reporters : []) await reporter.end?.();
    await this.lock.release();
  }

  async #takeUp(recipe: object, steps: number, free: readonly string[]): Promise<void> {
    const path = join(this.folder, RECIPE);
    const before = (await readPlain(path, { most: LARGEST_RECIPE, linksInside: true })).toString();
    sameRecipe(parseRecipe(path, before), parseYaml(writeRecipe(recipe)), free);
    const state = await readState(this.#checkpoint(), steps);
    if (state.rows !== this.rows)
      throw new RecipeError("data", `the ${state.rows} rows that the run began with`, `${this.rows} rows`, "resume with the same data");
    this.#state = state;
    this.secondsBefore = state.secondsElapsed;
  }

  #checkpoint(): string {
    return checkpointFolder(this.folder, this.mark);
  }

  /** Puts the saved weights of a run that is taken up in their place, before an optimiser is made. */
  async restore(kept: Kept): Promise<void> {
    if (this.#state) await kept.restore(this.folder);
  }

  /** What a new run begins from, whole, and under which circumstances each sitting goes on: for who replays it. */
  async keepOrigin(kept: Kept, recipe: object, origin: OriginParts): Promise<void> {
    const target = join(this.folder, START);
    if (!this.#state) await placeFolder(target, (fresh) => kept.write(fresh, target));
    await noteSitting(this.folder, this.#state?.step ?? 0, recipe, origin);
  }

  /** The run as the loop keeps it: with what it trains. The weights' hashes are noted where `parameters` say which they are. */
  keeping(kept: Kept, parameters?: Parameters): Keeper<TrainStep> {
    const note = async (step: number) => parameters && this.#weights.append({ step, sha256: await weightsHash(parameters) });
    return {
      secondsBefore: this.secondsBefore,
      resume: async (parts) => {
        const step = this.#resume(parts);
        if (!step) await note(0);
        return step;
      },
      save: async (step, parts, secondsElapsed) => {
        await note(step);
        await this.#save(kept, step, parts, secondsElapsed);
      },
      log: async (report) => {
        for (const reporter of this.reporters) await reporter.step(report);
      },
    };
  }

  #resume(parts: readonly Stateful[]): number {
    const state = this.#state;
    for (const part of state ? parts : []) {
      const tensors = this.#tensorsOf(part);
      try {
        part.restore(tensors, state as TrainerState);
      } finally {
        for (const tensor of tensors.values()) tensor.dispose();
      }
    }
    return state?.step ?? 0;
  }

  #tensorsOf(part: Stateful): Map<string, Tensor> {
    const [first] = part.tensors().values();
    if (!first) return new Map();
    using file = Checkpoint.openIn(this.#checkpoint(), fileOf(part));
    return built(() => new Map(Array.from(file.names(), (name) => [name, file.load(name, first.device)] as const)));
  }

  /** The whole checkpoint under another name first, then in the place of the one before. */
  async #save(kept: Kept, step: number, parts: readonly Stateful[], secondsElapsed: number): Promise<void> {
    const target = join(this.folder, CHECKPOINT);
    await this.check();
    await placeFolder(target, async (fresh) => {
      await kept.write(fresh, target);
      for (const part of parts) {
        const tensors = part.tensors();
        if (tensors.size) await saveSafetensors(join(fresh, fileOf(part)), tensors);
      }
      const numbers: Partial<RunNumbers> = Object.assign({}, ...parts.map((part) => part.numbers()));
      const state = { step, ...numbers, rows: this.rows, secondsElapsed };
      await writeNew(join(fresh, STATE), (file) => file.writeFile(`${JSON.stringify(state, null, 2)}\n`));
    });
  }
}

const fileOf = ({ name }: Stateful): string => `${name}.safetensors`;

function sameRecipe(before: unknown, now: unknown, free: readonly string[], at = ""): void {
  if (typeof before === "object" && typeof now === "object" && before !== null && now !== null) {
    const keys = new Set([...Object.keys(before), ...Object.keys(now)]);
    for (const key of keys)
      if (!free.includes(key))
        sameRecipe((before as Record<string, unknown>)[key], (now as Record<string, unknown>)[key], free, at ? `${at}.${key}` : key);
  } else if (before !== now) {
    const remedy = "resume with the recipe that the run began with, or begin another run";
    throw new RecipeError(at || "the recipe", `${shown(before)}, as in the run's ${RECIPE}`, now, remedy);
  }
}

function parseRecipe(path: string, text: string): unknown {
  try {
    return parseYaml(text);
  } catch (cause) {
    const remedy = "it was changed by hand: put back what the run began with, or begin another run";
    throw new RecipeError(path, "YAML", (cause as Error).message.split("\n")[0], remedy);
  }
}

/** What a checkpoint's trainer_state.json says; a number of steps beyond `steps`, where they are given, is no state of this run. */
export async function readState(checkpoint: string, steps = Infinity): Promise<TrainerState> {
  const path = join(checkpoint, STATE);
  const text = (await readPlain(path, { most: LARGEST_STATE, linksInside: true })).toString();
  const fail = (wanted: string, got: string): never => {
    const remedy = "the file is damaged: put the checkpoint back from a copy, or begin another run in another folder";
    throw new CheckpointError(path, wanted, got, remedy);
  };
  let state: unknown;
  try {
    state = parseShallow(text);
  } catch {
    return fail("JSON", text === "" ? "an empty file" : shown(text));
  }
  if (!isObject(state)) return fail("an object", shown(state));
  const { step, batches, tokens, updates, fewerUpdates, rows, secondsElapsed } = state;
  const wholes = { step: [step, steps], updates: [updates, steps], rows: [rows, Infinity] } as const;
  for (const [key, [value, most]] of Object.entries(wholes))
    if (!(Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most))
      fail(`${key} to be an integer from 0${most === Infinity ? "" : ` to the run's ${most} steps`}`, shown(value));
  if (batches !== undefined && !(Number.isSafeInteger(batches) && (batches as number) >= (step as number)))
    fail(`batches to be an integer of at least the ${step} steps`, shown(batches));
  if (tokens !== undefined && !(Number.isSafeInteger(tokens) && (tokens as number) >= 0))
    fail("tokens to be an integer of at least 0", shown(tokens));
  if (fewerUpdates !== undefined && !isObject(fewerUpdates)) fail("fewerUpdates to be an object", shown(fewerUpdates));
  for (const n of Object.values(fewerUpdates ?? {}))
    if (!(Number.isSafeInteger(n) && (n as number) >= 0 && (n as number) < (updates as number)))
      fail(`fewerUpdates to hold integers from 0 to below the ${updates} updates`, shown(n));
  if (!is.number(0).fits(secondsElapsed)) fail("secondsElapsed to be a number of at least 0", shown(secondsElapsed));
  return state as unknown as TrainerState;
}
