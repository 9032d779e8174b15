// A run's folder: recipe.yaml as used, log.jsonl, and checkpoint/, which is the trained model together with what it takes to go on as if nothing had
// happened: the optimiser's moments and the number of steps. The order of rows and every draw follow from the seed and the step.
import { existsSync } from "node:fs";
import { appendFile, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parse } from "yaml";
import type { AnyMAL } from "../anymal/anymal.js";
import { PROJECTORS, writeFiles } from "../anymal/checkpoint.js";
import { checkpointFolder, readManifest } from "../anymal/manifest.js";
import { built } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { Checkpoint } from "../io/checkpoint.js";
import { saveSafetensors } from "../io/safetensors.js";
import type { Modality } from "../media/part.js";
import { StateError } from "../nn/module.js";
import type { AdamW } from "./optimizer.js";
import { writeRecipe } from "./recipe.js";
import { RecipeError } from "./schema.js";
import type { TrainStep } from "./trainer.js";

const RECIPE = "recipe.yaml";
const LOG = "log.jsonl";
const CHECKPOINT = "checkpoint";
const STATE = "trainer_state.json";
const MOMENTS = "optimizer.safetensors";
/** May differ between a run and its continuation: they change nothing of what is computed. */
const FREE = ["logEvery", "saveEvery", "onBadRow", "gradientCheckpointing", "microBatch"];

interface TrainerState {
  step: number;
  /** Rows of the data. */
  rows: number;
  secondsElapsed: number;
}

export class RunFolder {
  /** What earlier sittings of this run took. */
  secondsBefore = 0;
  #state: TrainerState | undefined;

  private constructor(
    readonly folder: string,
    private readonly rows: number,
  ) {}

  /** Makes the folder, or takes up the run in it. `recipe` is what recipe.yaml is to say. */
  static async open(output: string, recipe: object, { rows, resume }: { rows: number; resume: boolean }): Promise<RunFolder> {
    const run = new RunFolder(resolve(output), rows);
    const there = existsSync(join(run.folder, CHECKPOINT)) || existsSync(join(run.folder, `${CHECKPOINT}.old`));
    if (there && !resume)
      throw new RecipeError("output", "a folder without a run", run.folder, "pass resume: true to go on, another folder, or remove it");
    await mkdir(run.folder, { recursive: true });
    if (there) await run.#takeUp(recipe);
    else await rm(join(run.folder, LOG), { force: true });
    await writeWhole(join(run.folder, RECIPE), writeRecipe(recipe));
    return run;
  }

  async #takeUp(recipe: object): Promise<void> {
    const before: unknown = parse(await readFile(join(this.folder, RECIPE), "utf8"));
    sameRecipe(before, parse(writeRecipe(recipe)), "");
    const state = JSON.parse(await readFile(join(this.#checkpoint(), STATE), "utf8")) as TrainerState;
    if (state.rows !== this.rows)
      throw new RecipeError("data", `the ${state.rows} rows that the run began with`, `${this.rows} rows`, "resume with the same data");
    this.#state = state;
    this.secondsBefore = state.secondsElapsed;
    const log = join(this.folder, LOG);
    if (!existsSync(log)) return;
    // Steps after the checkpoint are made, and logged, again.
    const lines = (await readFile(log, "utf8")).split("\n").filter((line) => line && stepOf(line) <= state.step);
    await writeWhole(log, lines.map((line) => `${line}\n`).join(""));
  }

  #checkpoint(): string {
    return checkpointFolder(this.folder);
  }

  /** Puts the saved weights of a run that is taken up into the model, before an optimiser is made. */
  async restore(model: AnyMAL): Promise<void> {
    if (!this.#state) return;
    const folder = this.#checkpoint();
    for (const modality of model.modalities) {
      using file = Checkpoint.open(join(folder, PROJECTORS, `${modality}.safetensors`));
      overwrite(model.projector(modality).namedParameters(), file);
    }
    if (model.adapter) {
      using file = Checkpoint.open(join(folder, "adapter_model.safetensors"));
      overwrite(model.adapter.namedParameters(), file);
    }
    const { modalities } = await readManifest(folder);
    for (const [modality, entry] of Object.entries(modalities)) if (entry.calibrated) model.calibrated.add(modality as Modality);
  }

  /** Fills a fresh optimiser with the saved moments. The step to go on from; 0 for a new run. */
  async resume(optimizer: AdamW): Promise<number> {
    if (!this.#state) return 0;
    using file = Checkpoint.open(join(this.#checkpoint(), MOMENTS));
    const [first] = optimizer.state().values();
    if (!first) return this.#state.step;
    const state = built(() => new Map(Array.from(file.names(), (name) => [name, file.load(name, first.device)] as const)));
    const { updates, fewerUpdates } = JSON.parse(await readFile(join(this.#checkpoint(), STATE), "utf8"));
    try {
      optimizer.loadState(state, updates, fewerUpdates);
    } finally {
      for (const tensor of state.values()) tensor.dispose();
    }
    return this.#state.step;
  }

  /** The whole checkpoint under another name first, then in the place of the one before. */
  async save(model: AnyMAL, optimizer: AdamW, step: number, secondsElapsed: number): Promise<void> {
    const [target, old] = [join(this.folder, CHECKPOINT), join(this.folder, `${CHECKPOINT}.old`)];
    const fresh = join(this.folder, `.${CHECKPOINT}.${process.pid}.tmp`);
    await rm(fresh, { recursive: true, force: true });
    await mkdir(fresh);
    try {
      await writeFiles(fresh, model, target);
      await saveSafetensors(join(fresh, MOMENTS), optimizer.state());
      const fewerUpdates = optimizer.fewerUpdates;
      const state = {
        step,
        updates: optimizer.steps,
        ...(Object.keys(fewerUpdates).length && { fewerUpdates }),
        rows: this.rows,
        secondsElapsed,
      };
      await writeFile(join(fresh, STATE), `${JSON.stringify(state, null, 2)}\n`);
      if (existsSync(target)) {
        await rm(old, { recursive: true, force: true });
        await rename(target, old);
      }
      await rename(fresh, target);
      await rm(old, { recursive: true, force: true });
    } finally {
      await rm(fresh, { recursive: true, force: true });
    }
  }

  /** A line of log.jsonl. */
  async log(s: TrainStep): Promise<void> {
    const line = {
      step: s.step,
      total_steps: s.steps,
      epoch: s.epoch,
      loss: s.loss,
      learning_rate: s.learningRate,
      grad_norm: s.gradNorm,
      tokens: s.tokens,
      scored_tokens: s.scoredTokens,
      tokens_per_second: s.tokensPerSecond,
      elapsed_time: s.secondsElapsed,
      remaining_time: s.secondsLeft,
      bytes_in_use: s.memory.bytesInUse,
      bytes_peak: s.memory.bytesPeak,
    };
    await appendFile(join(this.folder, LOG), `${JSON.stringify(line)}\n`);
  }
}

/** Exact: the masters are f32 in the file and here. */
function overwrite(parameters: Iterable<[string, Tensor]>, file: Checkpoint): void {
  for (const [name, tensor] of parameters) {
    const { shape } = file.entry(name);
    if (String(shape) !== String(tensor.shape)) throw new StateError(`"${name}" of shape [${tensor.shape}]`, `[${shape}] in ${file.path}`);
    tensor.write(new Float32Array(file.bytes(name)));
  }
}

function sameRecipe(before: unknown, now: unknown, at: string): void {
  if (typeof before === "object" && typeof now === "object" && before !== null && now !== null) {
    const keys = new Set([...Object.keys(before), ...Object.keys(now)]);
    for (const key of keys)
      if (!FREE.includes(key))
        sameRecipe((before as Record<string, unknown>)[key], (now as Record<string, unknown>)[key], at ? `${at}.${key}` : key);
  } else if (before !== now) {
    const remedy = "resume with the recipe that the run began with, or begin another run";
    throw new RecipeError(at, `${JSON.stringify(before)}, as in the run's ${RECIPE}`, now, remedy);
  }
}

const stepOf = (line: string): number => {
  try {
    return Number(JSON.parse(line).step);
  } catch {
    return Infinity; // a line that was cut off
  }
};

async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, text);
  await rename(temporary, path);
}
