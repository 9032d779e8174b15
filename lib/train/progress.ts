// How a training looks from outside: one line that is written over in a terminal, a line now and then elsewhere.
import { checkOptions } from "../core/options.js";
import type { TrainStep } from "./step-report.js";

export interface ProgressOptions {
  /** Default: standard error, so that standard output stays clean for results. */
  stream?: { write(text: string): unknown; isTTY?: boolean; columns?: number };
  /** In front of every line, e.g. "align image". */
  label?: string;
  /** Where lines are not written over: at least this many seconds between two. Default 10. */
  every?: number;
}

/** One line on a terminal that tells of a training and is written over; elsewhere a line now and then. */
export class Progress {
  readonly #stream: NonNullable<ProgressOptions["stream"]>;
  readonly #label: string;
  readonly #every: number;
  #last: { at: number; step: TrainStep | undefined; shown: boolean } = { at: -Infinity, step: undefined, shown: true };

  constructor(options: ProgressOptions = {}) {
    checkOptions("Progress", options, ["stream", "label", "every"]);
    const { stream = process.stderr, label = "", every = 10 } = options;
    this.#stream = stream;
    this.#label = label;
    this.#every = every;
  }

  update(step: TrainStep): void {
    const now = performance.now();
    const rewrites = this.#stream.isTTY === true;
    const due = now - this.#last.at >= (rewrites ? 50 : this.#every * 1000) || step.step === step.steps;
    this.#last = { at: due ? now : this.#last.at, step, shown: due };
    if (due) this.#show(step);
  }

  /** Leaves the last line standing. */
  end(): void {
    const { step, shown } = this.#last;
    if (step && !shown) this.#show(step);
    if (step && this.#stream.isTTY) this.#stream.write("\n");
    this.#last = { at: -Infinity, step: undefined, shown: true };
  }

  #show(step: TrainStep): void {
    const line = progressLine(step, this.#label);
    if (!this.#stream.isTTY) this.#stream.write(`${line}\n`);
    else this.#stream.write(`\r\x1b[2K${line.slice(0, Math.max(20, (this.#stream.columns ?? 80) - 1))}`);
  }
}

/** "align image 120/400 · loss 0.4321 · 5310 tokens/s · 1 min 20 s left · 212 MiB". */
export function progressLine(step: TrainStep, label = ""): string {
  const parts = [
    `${label ? `${label} ` : ""}${step.step}/${step.steps}`,
    `loss ${step.loss.toPrecision(4)}`,
    `${Math.round(step.tokensPerSecond)} tokens/s`,
    step.step < step.steps ? `${duration(step.secondsLeft)} left` : `${duration(step.secondsElapsed)}`,
    bytes(step.memory.bytesPeak),
  ];
  if (step.mediaKept) parts.push(`${Math.round((100 * step.mediaKept) / step.media)} % of features kept`);
  if (step.skippedRows) parts.push(`${step.skippedRows} rows skipped`);
  return parts.join(" · ");
}

export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [h, min, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (h) return `${h} h ${min} min`;
  return min ? `${min} min ${s} s` : `${s} s`;
}

export function bytes(count: number): string {
  return count >= 2 ** 30 ? `${(count / 2 ** 30).toFixed(1)} GiB` : `${Math.round(count / 2 ** 20)} MiB`;
}
