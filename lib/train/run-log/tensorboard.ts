// runs/DATE_HOST/events.out.tfevents…: scalars under the tags of transformers' Trainer, for `tensorboard --logdir RUN`.
import { existsSync } from "node:fs";
import { appendFile, mkdir, readdir } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { onFile } from "../../core/file-error.js";
import type { TrainStep } from "../step-report.js";
import { eventRecord, type TensorBoardEvent } from "./event-file.js";
import type { Reporter, ValidationReport } from "./reporter.js";

const RUNS = "runs";
const EVENTS = /^events\.out\.tfevents\.(\d+)\./;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** `recipe`: shown under the tag "args". */
export function tensorboard(run: string, recipe: object): Reporter {
  return new TensorBoard(join(run, RUNS), recipe);
}

class TensorBoard implements Reporter {
  #path = "";

  constructor(
    private readonly runs: string,
    private readonly recipe: object,
  ) {}

  /** A sitting that goes on writes a file of its own beside those before, whose later steps TensorBoard drops when it reads that the run began again. */
  async begin(step: number): Promise<void> {
    const last = step ? await this.#last() : undefined;
    const folder = last?.folder ?? join(this.runs, `${dateOf(new Date())}_${hostname()}`);
    await onFile("to be written", folder, () => mkdir(folder, { recursive: true }));
    // Files are read in the order of their names, which begin with their second.
    const second = String(Math.max(Math.floor(Date.now() / 1000), (last?.second ?? 0) + 1)).padStart(10, "0");
    this.#path = join(folder, `events.out.tfevents.${second}.${hostname()}.${process.pid}.0`);
    await this.#write({ fileVersion: "brain.Event:2" });
    if (step) await this.#write({ step: step + 1, restart: true });
    else await this.#write({ step: 0, texts: { args: `    ${JSON.stringify(this.recipe, null, 2).replaceAll("\n", "\n    ")}` } });
  }

  /** Where the sitting before wrote, and from when on. */
  async #last(): Promise<{ folder: string; second: number } | undefined> {
    const { runs } = this;
    const names = existsSync(runs) ? await onFile("to be read", runs, () => readdir(runs, { recursive: true, encoding: "utf8" })) : [];
    const files = names.map((name) => ({ folder: join(runs, dirname(name)), second: Number(EVENTS.exec(basename(name))?.[1] ?? 0) }));
    return files.filter(({ second }) => second).sort((a, b) => b.second - a.second)[0];
  }

  async step({ step, steps, secondsElapsed, ...s }: TrainStep): Promise<void> {
    const told = {
      loss: s.loss,
      grad_norm: s.gradNorm,
      learning_rate: s.learningRate,
      epoch: s.epoch,
      num_input_tokens_seen: s.totalTokens,
      tokens_per_second: s.tokensPerSecond,
      bytes_peak: s.memory.bytesPeak,
      ...(step === steps && { train_runtime: secondsElapsed, train_steps_per_second: steps / secondsElapsed }),
    };
    await this.#write({ step, scalars: under("train", told) });
  }

  async evaluated({ step, scores, seconds, epoch }: ValidationReport): Promise<void> {
    await this.#write({ step, scalars: { ...under("eval", { ...scores, runtime: seconds }), "train/epoch": epoch } });
  }

  async #write(event: Omit<TensorBoardEvent, "wallTime">): Promise<void> {
    const record = eventRecord({ wallTime: Date.now() / 1000, ...event });
    await onFile("to be written", this.#path, () => appendFile(this.#path, record));
  }
}

const under = (group: string, values: Readonly<Record<string, number>>) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [`${group}/${name}`, value]));

/** "Nov29_21-50-14". */
function dateOf(date: Date): string {
  const two = (n: number) => String(n).padStart(2, "0");
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join("-");
  return `${MONTHS[date.getMonth()]}${two(date.getDate())}_${time}`;
}
