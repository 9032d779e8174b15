// How fast a run is and how long it will take: from the seconds between its reports.
import type { StepReport } from "./step-report.js";

/** Steps that the estimate of the time left looks back over. */
const RECENT = 20;

export class Clock {
  readonly #start = performance.now();
  #last = this.#start;
  readonly #recent: number[] = [];
  /** Seconds, as of the last step. */
  left = 0;
  /** `first`: steps that earlier sittings made, which took `before` seconds. */
  constructor(
    private readonly first: number,
    private readonly steps: number,
    private readonly before: number,
  ) {}

  get elapsed(): number {
    return this.before + (performance.now() - this.#start) / 1000;
  }
  /** What was done since the last step is none of its time, and none of the next one's. */
  skip(): void {
    this.#last = performance.now();
  }
  /** Once per step, which the device had made at `made`: when a step is asked for says nothing of it, where two are asked for on end. */
  tick(step: number, items: number, made = performance.now()): Pick<StepReport, "itemsPerSecond" | "secondsElapsed" | "secondsLeft"> {
    const seconds = (made - this.#last) / 1000;
    this.#last = made;
    // The first step of a run also loads and encodes: it says little about the others.
    if (this.#recent.length === 1 && step === this.first + 2) this.#recent.pop();
    this.#recent.push(seconds);
    if (this.#recent.length > RECENT) this.#recent.shift();
    const usual = this.#recent.reduce((a, b) => a + b, 0) / this.#recent.length;
    this.left = (this.steps - step) * usual;
    return { itemsPerSecond: items / seconds, secondsElapsed: this.elapsed, secondsLeft: this.left };
  }
}

/** When a step's values were there. Never rejects. */
export function timeOf(values: Promise<unknown>): Promise<number> {
  const now = () => performance.now();
  return values.then(now, now);
}

/** How long the device has nothing of a run to do while somebody waits for something else. */
export class Idle {
  /** Undefined while it has a step to make. */
  #since: number | undefined = performance.now();
  #step: Promise<unknown> | undefined;

  /** A step was handed to the device, which has made it when `values` settles. */
  until(values: Promise<unknown>): void {
    const made = () => {
      if (this.#step === values) this.#since = performance.now();
    };
    this.#step = values;
    this.#since = undefined;
    values.then(made, made);
  }

  /** What is waited for, and the seconds of it in which the device was idle. */
  async during<T>(awaited: T | Promise<T>): Promise<[T, seconds: number]> {
    const asked = performance.now();
    const value = await awaited;
    const seconds = this.#since === undefined ? 0 : (performance.now() - Math.max(asked, this.#since)) / 1000;
    return [value, seconds];
  }
}
