// Where training takes the features of media from: the encoders that do not train, each medium once, several at a time. Media of those that train are
// read anew for each step, which encodes them itself: kept pixels would take more room than features do.
import { availableParallelism } from "node:os";
import type { Features, Media, MediaEncoder } from "../anymal/media-encoder.js";
import { settled } from "../core/settled.js";
import { Slots } from "../core/slots.js";
import type { FeatureCache } from "../data/feature-cache.js";
import { featureKey } from "../data/feature-key.js";
import type { MediaPart, Modality } from "../media/part.js";
import { type Company, EncodeQueue } from "./encode-queue.js";

/** Media that are read at once: one may take hundreds of megabytes until it is as small as its encoder wants it, and libuv has four threads for them. */
const MOST_READ = 4;

/** Who has the encoders. */
export interface FeatureMaker {
  encoder(modality: Modality): MediaEncoder;
}

/** What a step reads of a row's media. */
export interface RowMedia {
  media: Media[];
  /** How many of them were there already. */
  kept: number;
  /** Of each what its features depend on, as one hash; "" where its encoder trains, or is nobody's that can be told from others. */
  keys: string[];
}

export class FeatureSource {
  /** Parts are read-only and live as long as their rows: a file is looked at once in a run. */
  readonly #keys = new WeakMap<MediaPart, string>();
  readonly #fingerprints = new Map<MediaEncoder, Promise<string | undefined>>();
  /** Features that are under way. */
  readonly #making = new Set<string>();
  readonly #reading = new Slots(Math.max(2, Math.min(MOST_READ, availableParallelism())));
  readonly #queue = new EncodeQueue();

  constructor(
    private readonly model: FeatureMaker,
    private readonly cache: FeatureCache,
  ) {}

  /** Of each row what a step reads of its media; whoever asks first is read first. */
  media(rows: readonly (readonly MediaPart[])[], signal?: AbortSignal): Promise<PromiseSettledResult<RowMedia>[]> {
    const company: Company = { coming: rows.flat().length };
    const trains = new Map<MediaEncoder, boolean>(); // found out once, not for each medium: all weights are looked through
    const of = async (parts: readonly MediaPart[]): Promise<RowMedia> => {
      let kept = 0;
      const take = async (part: MediaPart): Promise<Media> => {
        const encoder = this.model.encoder(part.modality);
        if (!trains.has(encoder)) trains.set(encoder, encoder.trains);
        if (trains.get(encoder)) return this.#counted(company, () => this.#processed(encoder, part, signal));
        const { isKept, ...features } = await this.#features(part, company, signal);
        if (isKept) ++kept;
        return features;
      };
      const media = await settled(parts.map(take));
      return { media, kept, keys: parts.map((part) => this.#keys.get(part) ?? "") };
    };
    return Promise.allSettled(rows.map(of));
  }

  /** Of each medium, whether its encoder trains or not. */
  features(parts: readonly MediaPart[], signal?: AbortSignal): Promise<PromiseSettledResult<Features>[]> {
    const company: Company = { coming: parts.length };
    return Promise.allSettled(
      parts.map(async (part) => {
        const { isKept: _, ...features } = await this.#features(part, company, signal);
        return features;
      }),
    );
  }

  async #processed(encoder: MediaEncoder, part: MediaPart, signal: AbortSignal | undefined): Promise<Media> {
    const [unencoded] = await this.#reading.run(() => encoder.process([part], { signal }));
    return unencoded as Media;
  }

  #features(part: MediaPart, company: Company, signal: AbortSignal | undefined): Promise<Features & { isKept: boolean }> {
    return this.#counted(company, async (isHere) => {
      const encoder = this.model.encoder(part.modality);
      let isKept = true;
      const make = async (): Promise<Features> => {
        isKept = false;
        const [input] = await this.#reading.run(() => encoder.read([part], { signal }));
        const features = this.#queue.add(encoder, input!, company, { signal });
        isHere();
        return features;
      };
      const fingerprint = await this.#fingerprint(encoder);
      if (fingerprint === undefined) return { ...(await make()), isKept };
      const key = this.#keys.get(part) ?? (await featureKey(part, fingerprint, { signal }));
      this.#keys.set(part, key);
      const isFirst = !this.#making.has(key);
      if (isFirst) this.#making.add(key);
      else isHere(); // it comes with the other
      try {
        const { data, shape } = await this.cache.getOrMake(key, make);
        return { modality: part.modality, data, shape, isKept };
      } finally {
        if (isFirst) this.#making.delete(key);
      }
    });
  }

  /** One of a company, which waits for it no longer when it is here, or will not come. */
  async #counted<T>(company: Company, work: (isHere: () => void) => Promise<T>): Promise<T> {
    let isAway = true;
    const isHere = () => {
      if (!isAway) return;
      isAway = false;
      --company.coming;
      void this.#queue.look();
    };
    try {
      return await work(isHere);
    } finally {
      isHere();
    }
  }

  /** Once in a run: nothing but its steps changes an encoder meanwhile, and those change one that trains. */
  #fingerprint(encoder: MediaEncoder): Promise<string | undefined> {
    const known = this.#fingerprints.get(encoder) ?? encoder.key();
    this.#fingerprints.set(encoder, known);
    return known;
  }
}
