// HTSAT (arXiv 2202.00874): a mel spectrogram, normed per bin and folded into a square, through a Swin transformer.
import { checkpoint as recompute } from "../core/autograd.js";
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { BatchNorm } from "../nn/batch-norm.js";
import { Conv2d } from "../nn/conv.js";
import { Module } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import { SwinStage } from "../nn/swin.js";
import type { Weights } from "../nn/weights.js";
import { cast, gatherRows, interpolateBicubic, sliceCopy, spliceRows, transposeCopy } from "../ops/index.js";
import { type ClapAudioConfig, foldRatio, patchPadding, stageGrid, stageWidth } from "./clap-config.js";
import { FeatureFusion } from "./clap-fusion.js";

class PatchEmbedding extends Module {
  proj: Conv2d;
  norm: LayerNorm | undefined;
  fusionModel: FeatureFusion | undefined;
  melConv2d: Conv2d | undefined;
  readonly #config: ClapAudioConfig;

  constructor(at: Weights, c: ClapAudioConfig) {
    super();
    this.#config = c;
    const [padding, [kh, kw], [sh, sw]] = [patchPadding(c), c.patchSize, c.patchStride];
    this.proj = new Conv2d(at.at("proj"), 1, c.patchWidth, [kh, kw], { stride: [sh, sw], padding });
    this.norm = c.patchNorm ? new LayerNorm(at.at("norm"), c.patchWidth) : undefined;
    if (!c.fusion) return;
    this.fusionModel = new FeatureFusion(at.at("fusion_model"), c.patchWidth, c.affRatio);
    this.melConv2d = new Conv2d(at.at("mel_conv2d"), 1, c.patchWidth, [kh, 3 * kw], { stride: [sh, 3 * sw], padding });
  }

  protected override stateName(field: string): string {
    return field === "melConv2d" ? "mel_conv2d" : super.stateName(field);
  }

  /** image (N,1 or 4,S,S) → (N,L,C); `longer` are the items whose crops count. */
  forward(image: Tensor, longer: readonly number[]): Tensor {
    const channels = image.shape[1] as number;
    const whole = rowsOf(this.proj.forward(channels === 1 ? image : sliceCopy(image, 1, 0, 1)));
    const tokens = longer.length ? this.#fused(whole, image, longer) : whole;
    return this.norm ? this.norm.forward(tokens) : tokens;
  }

  #fused(whole: Tensor, image: Tensor, longer: readonly number[]): Tensor {
    const [N, L, C] = whole.shape as [number, number, number];
    const { device } = whole;
    const M = longer.length;
    const items = Tensor.from(Int32Array.from(longer), [M], { device });
    const flat = whole.reshape([N, L * C]);
    const crops = this.#crops(gatherRows(sliceCopy(image, 1, 1, 3).reshape([N, -1]), items), M);
    const owner = Tensor.from(
      Int32Array.from({ length: M * L }, (_, i) => Math.floor(i / L)),
      [M * L],
      { device },
    );
    const fused = (this.fusionModel as FeatureFusion).forward(gatherRows(flat, items).reshape([M, L, C]), crops, owner);
    const taken = Int32Array.from({ length: N }, (_, n) => (longer.includes(n) ? N + longer.indexOf(n) : n));
    return spliceRows(flat, fused.reshape([M, L * C]), Tensor.from(taken, [N, 1], { device })).reshape([N, L, C]);
  }

  /** (M,L,C): the three crops side by side, each a third as wide as the whole; what is left over on the right is zeros. */
  #crops(images: Tensor, M: number): Tensor {
    const c = this.#config;
    const [height, width] = stageGrid(c, 0);
    const y = (this.melConv2d as Conv2d).forward(images.reshape([3 * M, 1, c.specSize, c.specSize]));
    const narrow = y.shape[3] as number;
    const index = Int32Array.from({ length: M * height * width }, (_, i) => {
      const [m, row, column] = [Math.floor(i / (height * width)), Math.floor(i / width) % height, i % width];
      const crop = Math.floor(column / narrow);
      return crop < 3 ? ((m * 3 + crop) * height + row) * narrow + (column % narrow) : -1;
    });
    const rows = gatherRows(rowsOf(y).reshape([-1, c.patchWidth]), Tensor.from(index, [index.length], { device: y.device }));
    return rows.reshape([M, height * width, c.patchWidth]);
  }
}

/** (N,C,H,W) → (N,H·W,C) */
function rowsOf(map: Tensor): Tensor {
  const [N, C] = map.shape as [number, number];
  return transposeCopy(map.reshape([N, C, -1]), 1, 2);
}

export class Htsat extends Module {
  batchNorm: BatchNorm;
  patchEmbed: PatchEmbedding;
  layers: SwinStage[];
  norm: LayerNorm;
  gradientCheckpointing = false;
  readonly #config: ClapAudioConfig;
  readonly #dtype: "f32" | "bf16";

  constructor(at: Weights, c: ClapAudioConfig) {
    super();
    this.#config = c;
    this.#dtype = at.dtype;
    this.batchNorm = new BatchNorm(at.at("batch_norm"), c.melBins);
    this.patchEmbed = new PatchEmbedding(at.at("patch_embed"), c);
    this.layers = c.depths.map(
      (depth, i) =>
        new SwinStage(at.at("layers").at(i), {
          width: stageWidth(c, i),
          depth,
          heads: c.heads[i] as number,
          grid: stageGrid(c, i),
          downsample: i < c.depths.length - 1,
          window: c.windowSize,
          mlpRatio: c.mlpRatio,
          activation: c.activation,
          qkvBias: c.qkvBias,
          layerNormEps: c.layerNormEps,
          dropout: c.dropout,
        }),
    );
    this.norm = new LayerNorm(at.at("norm"), stageWidth(c, c.depths.length - 1));
  }

  /** Decibels (N,channels,T,bins) to tokens (N,L,C): all stages' when `all`, and in the last place the final norm's. */
  forward(x: Tensor, longer: readonly number[], all: boolean): Tensor[] {
    const states: Tensor[] = [];
    let h = scope(() => this.patchEmbed.forward(this.#image(longer.length || x.shape[1] === 1 ? x : sliceCopy(x, 1, 0, 1)), longer));
    for (const stage of this.layers) {
      const next = stage.forward(h, this.gradientCheckpointing ? recompute : undefined);
      if (all) states.push(h);
      else h.dispose();
      h = next;
    }
    return [...states, ...(all ? [h] : []), this.norm.forward(h)];
  }

  /**
   * (N,channels,S,S): normed per bin, stretched in time to S·ratio, and cut into `ratio` segments that are stacked along frequency. In f32:
   * decibels reach ±100, of which bf16 would keep half a decibel.
   */
  #image(x: Tensor): Tensor {
    const { melBins, specSize } = this.#config;
    const [N, channels, T] = x.shape as [number, number, number];
    const [ratio, planes] = [foldRatio(this.#config), N * channels];
    const wide = specSize * ratio;
    const lines = transposeCopy(x.dtype === "f32" ? x : cast(x, "f32"), 2, 3);
    let y = this.batchNorm.forward(lines.reshape([planes, melBins, T]));
    if (T < wide) y = interpolateBicubic(y.reshape([planes, 1, melBins, T]), melBins, wide, { alignCorners: true });
    if (ratio > 1) y = transposeCopy(y.reshape([planes, melBins, ratio, specSize]), 1, 2);
    const image = y.reshape([N, channels, specSize, specSize]);
    return this.#dtype === "f32" ? image : cast(image, this.#dtype);
  }
}
