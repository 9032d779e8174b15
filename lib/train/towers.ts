// The two towers of contrastive training, and what they make of media and of captions.
import type { Device } from "../core/device.js";
import { Tensor } from "../core/tensor.js";
import type { EncoderInput } from "../media/part.js";
import type { Module } from "../nn/module.js";
import { cast, gatherRows, l2Normalize } from "../ops/index.js";

/** What embeds media: an encoder of the library, or a module of one's own. */
export interface MediaTower extends Module {
  readonly device: Device;
  readonly dtype: "f32" | "bf16";
  /** x is the media of a batch, (N,…); → (N,e). `isLonger` and `heard` come where the batch has them. */
  forward(x: Tensor, options?: { isLonger?: readonly boolean[]; heard?: readonly number[] }): { embeds: Tensor };
}

/** What embeds captions: rows of ids → (N,e). */
export interface TextEncoder extends Module {
  forward(ids: readonly ArrayLike<number>[]): { embeds: Tensor };
}

export interface Towers {
  encoder: MediaTower;
  text: TextEncoder;
}

/** Unit rows (N,e) f32 of media. */
export function mediaRows(encoder: MediaTower, { data, shape, isLonger, heard }: EncoderInput): Tensor {
  const x = Tensor.from(data, shape, { device: encoder.device, dtype: encoder.dtype });
  return unit(encoder.forward(x, { ...(isLonger && { isLonger }), ...(heard && { heard }) }).embeds);
}

/** Unit rows (N,e) f32 of captions: one that comes several times goes through the tower once. */
export function textRows(text: TextEncoder, captions: readonly ArrayLike<number>[]): Tensor {
  const places = new Map<string, number>();
  const distinct: ArrayLike<number>[] = [];
  const index = Int32Array.from(captions, (ids) => {
    const key = Array.from(ids).join();
    const place = places.get(key) ?? distinct.push(ids) - 1;
    places.set(key, place);
    return place;
  });
  const rows = unit(text.forward(distinct).embeds);
  return distinct.length === captions.length ? rows : gatherRows(rows, Tensor.from(index, [index.length], { device: rows.device }));
}

const unit = (embeds: Tensor): Tensor => l2Normalize(embeds.dtype === "f32" ? embeds : cast(embeds, "f32"));
