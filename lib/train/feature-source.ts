// Where training takes the features of media from: the frozen encoders, each medium once, several at a time.
import type { AnyMAL } from "../anymal/anymal.js";
import type { Features } from "../anymal/media-encoder.js";
import { settled } from "../core/settled.js";
import type { FeatureCache } from "../data/feature-cache.js";
import { featureKey } from "../data/feature-key.js";
import type { MediaPart } from "../media/part.js";

/** Misses wait this long for company, so that the encoder gets a batch. */
const GATHER_MS = 2;

export class FeatureSource {
  /** Parts are read-only and live as long as their rows: a file is looked at once in a run. */
  readonly #keys = new WeakMap<MediaPart, string>();

  constructor(
    private readonly model: AnyMAL,
    private readonly cache: FeatureCache,
  ) {}

  async features(parts: readonly MediaPart[], signal?: AbortSignal): Promise<Features[]> {
    const gather = new Gather((some) => this.model.features(some, { signal }));
    return settled(
      parts.map(async (part): Promise<Features> => {
        const key = this.#keys.get(part) ?? (await featureKey(part, this.model.encoder(part.modality).key, { signal }));
        this.#keys.set(part, key);
        return { modality: part.modality, ...(await this.cache.getOrMake(key, () => gather.add(part))) };
      }),
    );
  }
}

interface Waiting {
  part: MediaPart;
  resolve(features: Features): void;
  reject(error: unknown): void;
}

class Gather {
  #waiting: Waiting[] = [];
  constructor(private readonly encode: (parts: readonly MediaPart[]) => Promise<Features[]>) {}

  add(part: MediaPart): Promise<Features> {
    if (!this.#waiting.length) setTimeout(() => void this.#flush(), GATHER_MS);
    return new Promise((resolve, reject) => this.#waiting.push({ part, resolve, reject }));
  }

  async #flush(): Promise<void> {
    const some = this.#waiting;
    this.#waiting = [];
    try {
      const made = await this.encode(some.map(({ part }) => part));
      for (const [i, { resolve }] of some.entries()) resolve(made[i] as Features);
    } catch (error) {
      for (const { reject } of some) reject(error);
    }
  }
}
