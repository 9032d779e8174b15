// Media that were read and wait for their encoder: those that come together are encoded together, and nobody waits long for company.
import { ENCODER_BATCH, type Features, inputForm, type MediaEncoder } from "../anymal/media-encoder.js";
import { AnymalError, isOfDevice } from "../core/errors.js";
import type { EncoderInput } from "../media/part.js";
import type { Loading } from "../media/source.js";

/** What is waited for together: the media of one step. */
export interface Company {
  /** How many of them may still come. */
  coming: number;
}

interface Waiting {
  encoder: MediaEncoder;
  input: EncoderInput;
  company: Company;
  signal: AbortSignal | undefined;
  since: number;
  resolve(features: Features): void;
  reject(error: unknown): void;
}

/** For so long one waits for its company: a film among pictures, or a medium that another training makes at the same time. */
const PATIENCE_MS = 500;

export class EncodeQueue {
  readonly #waiting: Waiting[] = [];
  #isAtWork = false;
  #timer: NodeJS.Timeout | undefined;

  add(encoder: MediaEncoder, input: EncoderInput, company: Company, { signal }: Loading): Promise<Features> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ encoder, input, company, signal, since: performance.now(), resolve, reject });
      void this.look();
    });
  }

  /** To be called whenever less may come than before. */
  async look(): Promise<void> {
    if (this.#isAtWork) return;
    this.#isAtWork = true;
    clearTimeout(this.#timer);
    while (this.#isDue()) await this.#encode(this.#take());
    this.#isAtWork = false;
    const [first] = this.#waiting;
    if (first) this.#timer = setTimeout(() => void this.look(), Math.max(1, first.since + PATIENCE_MS - performance.now()));
  }

  #isDue(): boolean {
    const [first] = this.#waiting;
    if (!first) return false;
    const isLate = performance.now() - first.since >= PATIENCE_MS;
    return (
      isLate || this.#waiting.length >= ENCODER_BATCH || this.#waiting.some(({ company, signal }) => !company.coming || signal?.aborted)
    );
  }

  /** The first, and those that can go with it. */
  #take(): Waiting[] {
    const [{ encoder, input }] = this.#waiting as [Waiting];
    const form = inputForm(input);
    const some = this.#waiting.filter((one) => one.encoder === encoder && inputForm(one.input) === form).slice(0, ENCODER_BATCH);
    for (const one of some) this.#waiting.splice(this.#waiting.indexOf(one), 1);
    return some;
  }

  /** Never rejects: each that waits is told. */
  async #encode(some: readonly Waiting[]): Promise<void> {
    const [{ encoder, signal }] = some as [Waiting, ...Waiting[]];
    try {
      signal?.throwIfAborted();
      const made = await encoder.encodeInputs(
        some.map(({ input }) => input),
        { signal },
      );
      for (const [i, { resolve }] of some.entries()) resolve(made[i] as Features);
    } catch (error) {
      // One of them is at fault: each by itself shows which.
      if (some.length > 1 && error instanceof AnymalError && !isOfDevice(error)) for (const one of some) await this.#encode([one]);
      else for (const { reject } of some) reject(error);
    }
  }
}
