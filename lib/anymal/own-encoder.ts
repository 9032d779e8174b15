// Features by an encoder of the user's own, in the place of an encoder of a folder: what it makes is the input of a tower that hands it on.
import type { Device } from "../core/device.js";
import { expected } from "../core/errors.js";
import { kindOfValue, own } from "../core/realm.js";
import type { Tensor } from "../core/tensor.js";
import { fewAtOnce } from "../media/few.js";
import type { Kind, OwnEncoder } from "../media/kinds/index.js";
import { checkEncoder } from "../media/kinds/own.js";
import type { EncoderInput, MediaPart, MediaProcessor, Modality } from "../media/part.js";
import { checkLoading, describe, type Loading } from "../media/source.js";
import { type Encoder, type EncoderOptions, type EncoderOutput, onlyLayer } from "../models/encoder.js";
import { Module } from "../nn/module.js";
import { meanPool } from "../ops/index.js";
import { CheckpointError } from "./checkpoint-error.js";
import type { EncoderPlan } from "./encoders.js";
import type { Reference, Source } from "./source.js";

// biome-ignore lint/suspicious/noExplicitAny: of whatever load() makes
export type AnyEncoder = OwnEncoder<any>;

export const isOwn = (encoder: unknown): encoder is AnyEncoder => typeof encoder === "object" && encoder !== null;

/** Media that are read at once. */
const AT_ONCE = 4;

/** An encoder's plan without its setup. */
export function ownPlan(kind: Kind, encoder: AnyEncoder, device: Device): Omit<EncoderPlan, "setup"> {
  const modality: Modality = kind.name;
  const at = `the encoder of ${modality}`;
  checkEncoder(encoder, at);
  if (!kind.load)
    throw expected("E_MODALITY", at, "a folder of one", "an encoder of one's own", "make a kind of media for it with mediaKind()");
  return {
    modality,
    source: sourceOf(encoder),
    key: `own ${modality}`,
    open: async () => new OwnTower(modality, encoder.shape, device),
    processor: () => new OwnProcessor(kind, encoder),
  };
}

const sourceOf = ({ key, shape: [rows, width] }: AnyEncoder): Source => ({
  folder: "",
  own: key,
  fingerprint: `own:${rows}x${width}:${key}`,
});

/** The one that a checkpoint was trained with, among what the call was given. */
export function storedOwn(folder: string, kind: Kind, reference: Reference, passed: unknown, device: Device): Omit<EncoderPlan, "setup"> {
  const what = `the encoder of ${kind.name} that it was trained on`;
  const encoder = passed ?? kind.encoder;
  if (!isOwn(encoder)) {
    const remedy = `pass it again: fromPretrained(folder, { encoders: { ${kind.name}: … } }), or with its kind, in kinds`;
    throw new CheckpointError(folder, `${what}, which is the user's own`, "none", remedy);
  }
  const plan = ownPlan(kind, encoder, device);
  if (plan.source.fingerprint !== reference.fingerprint) {
    const remedy = "pass the one it was trained on, or train again";
    throw new CheckpointError(folder, what, `one with the key "${encoder.key}" and the shape [${encoder.shape}]`, remedy);
  }
  return plan;
}

class OwnTower extends Module implements Encoder {
  readonly kind = "own";
  readonly dtype = "f32";
  readonly classTokens = 0;
  readonly leftover: readonly string[] = [];
  readonly width: number;
  readonly embedDim: number;
  readonly #rows: number;

  constructor(
    readonly modality: Modality,
    [rows, width]: OwnEncoder<unknown>["shape"],
    readonly device: Device,
  ) {
    super();
    this.#rows = rows;
    this.width = width;
    this.embedDim = width;
  }

  /** x (N,S,d) are the features; one row for all is their mean. */
  forward(x: Tensor, options: EncoderOptions = {}): EncoderOutput {
    onlyLayer("an encoder of one's own", options);
    const pooled = this.#rows === 1 ? x.reshape([-1, this.width]) : meanPool(x, 1);
    return { hidden: x, pooled, embeds: pooled };
  }

  configJson(): never {
    throw expected("E_MODALITY", `the encoder of ${this.modality}`, "one of a folder", "the user's own", "it has no weights to be saved");
  }
}

class OwnProcessor implements MediaProcessor<MediaPart> {
  constructor(
    private readonly kind: Kind,
    private readonly encoder: AnyEncoder,
  ) {}

  /** (N, rows, width) */
  async process(parts: readonly MediaPart[], loading: Loading = {}): Promise<EncoderInput> {
    checkLoading("process", loading);
    const media = await fewAtOnce(parts, AT_ONCE, async (part) => this.kind.load?.(part, loading));
    loading.signal?.throwIfAborted();
    const made: unknown = await this.encoder.encode(media, loading);
    const [rows, width] = this.encoder.shape;
    const size = rows * width;
    if (!Array.isArray(made) || made.length !== parts.length) throw this.#wrong(`an array for each of ${parts.length} media`, made);
    const data = new Float32Array(parts.length * size);
    for (const [i, one] of made.entries()) {
      const values = own(one, "Float32Array");
      const what = describe(parts[i]?.source);
      if (values?.length !== size) throw this.#wrong(`a Float32Array of ${rows} × ${width} numbers for ${what}`, one);
      const bad = values.findIndex((value) => !Number.isFinite(value));
      if (bad >= 0) throw this.#wrong(`finite numbers for ${what}`, `${values[bad]} at ${bad}`);
      data.set(values, i * size);
    }
    return { data, shape: [parts.length, rows, width] };
  }

  #wrong(wanted: string, got: unknown) {
    const { shape } = this.encoder;
    const next = `its shape says [${shape}] of every medium: correct shape or encode`;
    return expected("E_SHAPE", `the encoder of ${this.kind.name}`, wanted, typeof got === "string" ? got : kindOfValue(got), next);
  }
}
