// One modality's encoder with its processor. Frozen, it takes media in and gives features on the host out: they depend on the medium alone, so that
// whoever needs them again may keep them. While it trains they depend on the step, and what is kept of a medium is what its processor made.
import { noGrad } from "../core/autograd.js";
import { expected } from "../core/errors.js";
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { Turns } from "../core/turns.js";
import type { EncoderInput, MediaPart, MediaProcessor, Modality } from "../media/part.js";
import type { Loading } from "../media/source.js";
import { readsVector } from "../models/bridges/index.js";
import { featureWidth, isOneRow } from "../models/bridges/select.js";
import type { Encoder, EncoderOptions } from "../models/encoder.js";
import { l2Normalize, meanPool, sliceCopy } from "../ops/index.js";
import { EncoderState } from "./encoder-state.js";
import type { ModalitySetup } from "./options.js";
import type { Source } from "./source.js";

/** Of one medium: (S,d), (frames,S,d), or (d) where one row is projected by itself. */
export interface Features {
  modality: Modality;
  data: Float32Array;
  shape: readonly number[];
}
/** What the processor made of one medium, for an encoder that trains: it is encoded within the step. */
export interface Unencoded {
  modality: Modality;
  /** The leading size is 1. */
  input: EncoderInput;
  /** Of the features that the encoder will give. */
  shape: readonly number[];
}
/** A medium as a batch takes it. */
export type Media = Features | Unencoded;

/** Media of one kind that an encoder takes at once. */
export const ENCODER_BATCH = 32;
/** Of sounds, that an encoder takes together. */
const CHUNKS_AT_ONCE = 8;

/** An encoder as a model has it: media in, features out. */
export class MediaEncoder {
  readonly #state: EncoderState;
  /** Of features, by that of the input. */
  readonly #shapes = new Map<string, readonly number[]>();

  constructor(
    readonly modality: Modality,
    readonly encoder: Encoder,
    private readonly processor: MediaProcessor<MediaPart>,
    readonly setup: ModalitySetup,
    /** The folder it came from. */
    readonly source: Source,
  ) {
    this.#state = EncoderState.of(encoder);
  }

  /** d of the features. */
  get width(): number {
    return featureWidth(this.setup.select, this.encoder, this.setup.layer);
  }

  /** Does a gradient reach one of its weights, or of what stands on it? */
  get trains(): boolean {
    return this.encoder.trainable().length > 0;
  }

  /**
   * Names the features that this encoder would give of whatever medium: its folder, and what was put on it or changed in it since, by content.
   * undefined while it trains.
   */
  async key(): Promise<string | undefined> {
    if (this.trains) return undefined;
    const { layer, select, frames, picks, pad, projector } = this.setup;
    const changed = await this.#state.fingerprint();
    const parts = [this.modality, this.source.fingerprint, this.encoder.dtype, layer, select, frames ?? ""];
    return [
      ...parts,
      readsVector(projector) ? "vector" : "",
      ...(pad ? ["pad"] : []),
      ...(picks ? [picks] : []),
      ...(changed ? [changed] : []),
    ].join(":");
  }

  async encode(parts: readonly MediaPart[], { signal }: Loading = {}): Promise<Features[]> {
    const input = await this.processor.process(parts, { signal });
    const made: Features[] = [];
    for (const some of input.chunks ? runs(apart(input, parts.length), inputForm, fewChunks).map(together) : [input]) {
      signal?.throwIfAborted();
      made.push(...(await this.#encoded(some)));
    }
    return made;
  }

  /** Each medium as the encoder reads it, for encodeInputs(). */
  async read(parts: readonly MediaPart[], { signal }: Loading = {}): Promise<EncoderInput[]> {
    return apart(await this.processor.process(parts, { signal }), parts.length);
  }

  /** Features of what read() gave; those of one form that follow each other are encoded together. */
  async encodeInputs(inputs: readonly EncoderInput[], { signal }: Loading = {}): Promise<Features[]> {
    const made: Features[] = [];
    for (const some of runs(inputs, inputForm, (run) => !run[0]?.chunks || fewChunks(run))) {
      signal?.throwIfAborted();
      made.push(...(await this.#encoded(some.length === 1 ? (some[0] as EncoderInput) : together(some))));
    }
    return made;
  }

  /** Of media of one shape. */
  async #encoded(input: EncoderInput): Promise<Features[]> {
    const features = noGrad(() => this.forward(input));
    try {
      const [N = 0, ...shape] = features.shape;
      const size = shape.reduce((a, b) => a * b, 1);
      const data = (await features.data()) as Float32Array;
      // Copies, so that one kept item does not hold the whole batch.
      const turns = new Turns();
      const made: Features[] = [];
      for (let i = 0; i < N; ++i) {
        made.push({ modality: this.modality, data: data.slice(i * size, (i + 1) * size), shape });
        await turns.next();
      }
      return made;
    } finally {
      features.dispose();
    }
  }

  /** Media as the encoder reads them, for forward(). */
  async process(parts: readonly MediaPart[], { signal }: Loading = {}): Promise<Unencoded[]> {
    const all = await this.processor.process(parts, { signal });
    signal?.throwIfAborted();
    this.#state.trained();
    return apart(all, parts.length).map((input): Unencoded => ({ modality: this.modality, input, shape: this.#shapeOf(input) }));
  }

  /** As many rows as a medium will have decide how a row of text is cut, before anything of the step is computed. */
  #shapeOf(input: EncoderInput): readonly number[] {
    if (input.chunks) return isOneRow(this.setup.select) ? this.#oneRow([]) : [this.#heardRows(input), this.width];
    const key = String(input.shape);
    const known = this.#shapes.get(key);
    if (known) return known;
    const features = noGrad(() => this.forward(input));
    const shape = features.shape.slice(1);
    features.dispose();
    this.#shapes.set(key, shape);
    return shape;
  }

  /** Shape of a medium's one row. */
  #oneRow(head: readonly number[]): number[] {
    return readsVector(this.setup.projector) ? [...head.slice(0, 1), this.width] : [...head, 1, this.width];
  }

  /** Of the first medium, all its chunks one after the other: only the last one is padded. */
  #heardRows({ heard = [], chunks = [] }: EncoderInput): number {
    const { layer, select } = this.setup;
    const rows = (frames: number) => this.encoder.heardRows?.(frames, isOneRow(select) ? -1 : layer) ?? 0;
    return heard.slice(0, chunks[0]).reduce((total, frames) => total + rows(frames), 0);
  }

  /** What processors made of media whose features have one shape → their features (N,…), on the tape where the encoder trains. */
  forward(input: EncoderInput): Tensor {
    return input.chunks ? this.#forwardChunks(input, input.chunks) : this.#forwardWhole(input);
  }

  #forwardChunks(input: EncoderInput, { length: N }: readonly number[]): Tensor {
    const { data, shape, heard } = input;
    const { layer, select } = this.setup;
    const one = isOneRow(select);
    return scope(() => {
      const x = Tensor.from(data, shape, { device: this.encoder.device });
      const asked = { layer: one ? -1 : layer, through: "hidden" as const, ...(select === "class" && { classRows: [layer].flat() }) };
      const { hidden } = this.encoder.forward(x, { ...asked, ...(heard && { heard }) });
      const rows = hidden.reshape([N, -1, hidden.shape[2] as number]);
      const own = this.#heardRows(input);
      const kept = own === rows.shape[1] ? rows : sliceCopy(rows, 1, 0, own);
      if (!one) return kept === rows ? rows.alias() : kept;
      const row = meanPool(kept, 1);
      return (select === "embeds" ? l2Normalize(row) : row).reshape(this.#oneRow([N]));
    });
  }

  #forwardWhole({ data, shape, isLonger }: EncoderInput): Tensor {
    return scope(() => {
      const { layer, select, frames } = this.setup;
      const [N = 0, ...rest] = shape;
      const x = Tensor.from(data, frames === undefined ? shape : [N * frames, ...rest.slice(1)], { device: this.encoder.device });
      const wanted = select === "class" ? { classRows: typeof layer === "number" ? [layer] : layer } : { layer };
      const through = select === "pooled" || select === "embeds" || select === "projected" ? select : "hidden";
      const asked: EncoderOptions = {
        ...wanted,
        through,
        ...(select === "projected" && { projected: true }),
        ...(isLonger && { isLonger }),
      };
      const { hidden, pooled, embeds, classRows, projected } = this.encoder.forward(x, asked);
      const d = this.width;
      const head = frames === undefined ? [N] : [N, frames];
      if (isOneRow(select)) {
        const row = select === "embeds" ? l2Normalize(embeds) : pooled;
        return row.reshape(this.#oneRow(head));
      }
      if (select === "projected" && !projected) throw noneProjected(this.encoder.kind);
      if (projected) return projected.reshape([...head, -1, d]);
      if (classRows) return classRows.reshape([...head, -1, d]);
      const skip = select === "patch" ? this.encoder.classTokens : 0;
      const rows = hidden.shape[1] as number;
      return (skip ? sliceCopy(hidden, 1, skip, rows - skip) : hidden).reshape([...head, rows - skip, d]);
    });
  }
}

const noneProjected = (kind: string) =>
  expected(
    "E_MODALITY",
    `an encoder ${kind}`,
    'select "projected" of a CLIP tower',
    "one that projects no more than one row",
    'take "all"',
  );

/** Items one after the other that are alike, no more than `fits` at once. */
export function runs<T>(all: readonly T[], form: (one: T) => string, fits: (run: readonly T[]) => boolean = () => true): T[][] {
  const made: T[][] = [];
  for (const one of all) {
    const run = made.at(-1);
    if (run?.[0] && form(run[0]) === form(one) && fits([...run, one])) run.push(one);
    else made.push([one]);
  }
  return made;
}
export const inputForm = ({ shape, heard }: EncoderInput): string => `${shape};${heard}`;
const fewChunks = (run: readonly EncoderInput[]): boolean => run.length * (run[0]?.shape[0] as number) <= CHUNKS_AT_ONCE;
/** Media of one form are one tensor. */
export const formOf = (one: Media): string => ("input" in one ? inputForm(one.input) : String(one.shape));

/** Inputs of one shape as one, for forward(). */
export function together(inputs: readonly EncoderInput[]): EncoderInput {
  const [first] = inputs as [EncoderInput];
  const data = new Float32Array(inputs.length * first.data.length);
  for (const [i, one] of inputs.entries()) data.set(one.data, i * first.data.length);
  const isLonger = first.isLonger && inputs.flatMap((one) => [...(one.isLonger ?? [])]);
  const shape = [inputs.length * (first.shape[0] as number), ...first.shape.slice(1)];
  const all = (key: "heard" | "chunks") => first[key] && { [key]: inputs.flatMap((one) => one[key] ?? []) };
  return { data, shape, ...(isLonger && { isLonger }), ...all("heard"), ...all("chunks") };
}

/** Of `count` media, what is each one's own. */
function apart({ data, shape, isLonger, heard, chunks }: EncoderInput, count: number): EncoderInput[] {
  const [leading = 0, ...rest] = shape;
  const size = data.length / leading;
  let next = 0;
  return Array.from({ length: count }, (_, i) => {
    const start = next;
    next += chunks?.[i] ?? leading / count;
    return {
      data: data.subarray(start * size, next * size),
      shape: [next - start, ...rest],
      ...(isLonger && { isLonger: [isLonger[i] as boolean] }),
      ...(heard && { heard: heard.slice(start, next) }),
      ...(chunks && { chunks: [chunks[i] as number] }),
    };
  });
}
