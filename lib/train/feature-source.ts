// Where training takes the features of media from: the encoders that do not train, each medium once, several at a time. Media of those that train are
// read anew for each step, which encodes them itself: kept pixels would take more room than features do.
import type { Features, Media, MediaEncoder } from "../anymal/media-encoder.js";
import { settled } from "../core/settled.js";
import type { FeatureCache } from "../data/feature-cache.js";
import { featureKey } from "../data/feature-key.js";
import type { MediaPart, Modality } from "../media/part.js";

/** Misses wait this long for company, so that the encoder gets a batch. */
const GATHER_MS = 2;

/** Who has the encoders. */
export interface FeatureMaker {
  encoder(modality: Modality): MediaEncoder;
  /** Features in the order of the parts. */
  features(parts: readonly MediaPart[], options?: { signal?: AbortSignal | undefined }): Promise<Features[]>;
}

export class FeatureSource {
  /** Parts are read-only and live as long as their rows: a file is looked at once in a run. */
  readonly #keys = new WeakMap<MediaPart, string>();
  readonly #fingerprints = new Map<MediaEncoder, Promise<string | undefined>>();

  constructor(
    private readonly model: FeatureMaker,
    private readonly cache: FeatureCache,
  ) {}

  /** What a step reads of each medium. */
  async media(parts: readonly MediaPart[], signal?: AbortSignal): Promise<Media[]> {
    const open = [...new Set(parts.map(({ modality }) => this.model.encoder(modality)))].filter(({ trains }) => trains);
    if (!open.length) return this.features(parts, signal);
    const made = new Map<MediaPart, Media>();
    const still = parts.filter(({ modality }) => !open.includes(this.model.encoder(modality)));
    for (const [i, features] of (await this.features(still, signal)).entries()) made.set(still[i] as MediaPart, features);
    for (const encoder of open) {
      const own = parts.filter(({ modality }) => modality === encoder.modality);
      for (const [i, unencoded] of (await encoder.process(own, { signal })).entries()) made.set(own[i] as MediaPart, unencoded);
    }
    return parts.map((part) => made.get(part) as Media);
  }

  async features(parts: readonly MediaPart[], signal?: AbortSignal): Promise<Features[]> {
    const gather = new Gather((some) => this.model.features(some, { signal }));
    return settled(
      parts.map(async (part): Promise<Features> => {
        const fingerprint = await this.#fingerprint(this.model.encoder(part.modality));
        if (fingerprint === undefined) return gather.add(part);
        const key = this.#keys.get(part) ?? (await featureKey(part, fingerprint, { signal }));
        this.#keys.set(part, key);
        return { modality: part.modality, ...(await this.cache.getOrMake(key, () => gather.add(part))) };
      }),
    );
  }

  /** Once in a run: nothing but its steps changes an encoder meanwhile, and those change one that trains. */
  #fingerprint(encoder: MediaEncoder): Promise<string | undefined> {
    const known = this.#fingerprints.get(encoder) ?? encoder.key();
    this.#fingerprints.set(encoder, known);
    return known;
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
