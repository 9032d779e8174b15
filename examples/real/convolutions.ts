// An encoder of one's own, of the library's layers: four convolutions that halve what they see, each behind a norm, and one row for every place that is left.
// A transformer would do as well with more data; of a few thousand examples, that neighbours belong together is better built in than learned.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Checkpoint, type Device, nn, ops, saveModel, scope, type Tensor, Weights } from "../../lib/index.js";

export interface ConvolutionsConfig {
  /** 3 of a picture, 1 of a spectrogram. */
  channels: number;
  /** Of each layer. */
  widths: readonly number[];
  /** Of the first layer; the others have 2. */
  stride: number;
  /** e: of what is compared with captions. */
  embedDim: number;
}

class Layer extends nn.Module {
  conv: nn.Conv2d;
  norm: nn.GroupNorm;

  constructor(at: Weights, from: number, to: number, stride: number) {
    super();
    this.conv = new nn.Conv2d(at.at("conv"), from, to, [3, 3], { stride: [stride, stride], padding: [1, 1], bias: false });
    this.norm = new nn.GroupNorm(at.at("norm"), GROUPS, to);
  }
  forward(x: Tensor): Tensor {
    return ops.activation(this.norm.forward(this.conv.forward(x)), "gelu");
  }
}
const GROUPS = 4;

/** (N,channels,H,W) → a row (d) for each place of the last layer's map, and an embedding (e). */
export class Convolutions extends nn.Module {
  layers: Layer[];
  projection: nn.Linear;
  readonly dtype: "f32" | "bf16";

  constructor(
    at: Weights,
    readonly config: ConvolutionsConfig,
  ) {
    super();
    this.dtype = at.dtype;
    const { channels, widths, stride, embedDim } = config;
    this.layers = widths.map(
      (width, i) => new Layer(at.at("layers").at(i), i ? (widths[i - 1] as number) : channels, width, i ? 2 : stride),
    );
    this.projection = new nn.Linear(at.at("projection"), this.width, embedDim);
  }

  get device(): Device {
    return this.projection.weight.device;
  }
  /** d */
  get width(): number {
    return this.config.widths.at(-1) as number;
  }

  forward(x: Tensor): { hidden: Tensor; embeds: Tensor } {
    return scope(() => {
      const map = this.layers.reduce((y, layer) => layer.forward(y), x);
      const [N] = map.shape as [number];
      const hidden = ops.transposeCopy(map.reshape([N, this.width, -1]), 1, 2);
      return { hidden, embeds: this.projection.forward(ops.meanPool(hidden, 1)) };
    });
  }

  save(folder: string): Promise<void> {
    return saveModel(folder, this, { model_type: "convolutions", ...this.config });
  }

  /** Frozen, from a folder that save() wrote. */
  static open(folder: string, device: Device, dtype: "f32" | "bf16"): Convolutions {
    const config: ConvolutionsConfig = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    using checkpoint = Checkpoint.open(folder);
    return new Convolutions(Weights.from(checkpoint, { device, dtype }), config);
  }
}
