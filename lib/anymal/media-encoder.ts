// One modality's frozen encoder with its processor: media in, features on the host out. They depend on the medium alone, so that whoever needs
// them again may keep them.
import { noGrad } from "../core/autograd.js";
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { Turns } from "../core/turns.js";
import type { EncoderInput, MediaPart, MediaProcessor, Modality } from "../media/part.js";
import type { Loading } from "../media/source.js";
import { readsVector } from "../models/bridges/index.js";
import { featureWidth, isOneRow } from "../models/bridges/select.js";
import type { Encoder } from "../models/encoder.js";
import { l2Normalize, sliceCopy } from "../ops/index.js";
import type { ModalitySetup } from "./options.js";
import type { Source } from "./source.js";

/** Of one medium: (S,d), (frames,S,d), or (d) where one row is projected by itself. */
export interface Features {
  modality: Modality;
  data: Float32Array;
  shape: readonly number[];
}

export class MediaEncoder {
  constructor(
    readonly modality: Modality,
    readonly encoder: Encoder,
    private readonly processor: MediaProcessor<MediaPart>,
    readonly setup: ModalitySetup,
    /** The folder it came from. */
    readonly source: Source,
  ) {}

  /** d of the features. */
  get width(): number {
    return featureWidth(this.setup.select, this.encoder, this.setup.layer);
  }

  /** Names the features that this encoder would give of whatever medium. */
  get key(): string {
    const { layer, select, frames, projector } = this.setup;
    const vector = readsVector(projector);
    return [this.modality, this.source.fingerprint, this.encoder.dtype, layer, select, frames ?? "", vector ? "vector" : ""].join(":");
  }

  async encode(parts: readonly MediaPart[], { signal }: Loading = {}): Promise<Features[]> {
    const input = await this.processor.process(parts, { signal });
    signal?.throwIfAborted();
    const features = noGrad(() => scope(() => this.#forward(input)));
    try {
      const shape = features.shape.slice(1);
      const size = shape.reduce((a, b) => a * b, 1);
      const data = (await features.data()) as Float32Array;
      // Copies, so that one kept item does not hold the whole batch.
      const turns = new Turns();
      const made: Features[] = [];
      for (const i of parts.keys()) {
        made.push({ modality: this.modality, data: data.slice(i * size, (i + 1) * size), shape });
        await turns.next();
      }
      return made;
    } finally {
      features.dispose();
    }
  }

  #forward({ data, shape, isLonger }: EncoderInput): Tensor {
    const { layer, select, frames, projector } = this.setup;
    const [N = 0, ...rest] = shape;
    const x = Tensor.from(data, frames === undefined ? shape : [N * frames, ...rest.slice(1)], { device: this.encoder.device });
    const wanted = select === "class" ? { classRows: typeof layer === "number" ? [layer] : layer } : { layer };
    const { hidden, pooled, embeds, classRows } = this.encoder.forward(x, { ...wanted, ...(isLonger && { isLonger }) });
    const d = this.width;
    const head = frames === undefined ? [N] : [N, frames];
    if (isOneRow(select)) {
      const row = select === "embeds" ? l2Normalize(embeds) : pooled;
      return row.reshape(readsVector(projector) ? [N, d] : [...head, 1, d]);
    }
    if (classRows) return classRows.reshape([...head, -1, d]);
    const skip = select === "patch" ? this.encoder.classTokens : 0;
    const rows = hidden.shape[1] as number;
    return (skip ? sliceCopy(hidden, 1, skip, rows - skip) : hidden).reshape([...head, rows - skip, d]);
  }
}
