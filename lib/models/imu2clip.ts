// IMU2CLIP's encoder (arXiv 2210.14395): convolutions and pooling over an accelerometer's and a gyroscope's axes, then a GRU.
import { expected } from "../core/errors.js";
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { Conv1d } from "../nn/conv.js";
import { GRU } from "../nn/gru.js";
import { Linear } from "../nn/linear.js";
import { Module } from "../nn/module.js";
import { GroupNorm } from "../nn/norm.js";
import type { Weights } from "../nn/weights.js";
import { linear, maxPool1d, sliceCopy, transposeCopy } from "../ops/index.js";
import { ConfigError, flag, type Json, number, size } from "./config.js";
import { checkForward, type Encoder, type EncoderLoading, type EncoderOptions, type EncoderOutput, onlyLayer, onTape } from "./encoder.js";
import { widthOf } from "./encoder-config.js";
import { encoderInput } from "./patches.js";
import { fromFolder } from "./tower.js";

const KERNELS = [10, 5, 5];
const DILATION = 2;
const POOL = 3;
/** That PRIMUS's last pool leaves. */
const MOMENTS = 32;
/** Accelerometer and gyroscope are normalised apart; then groups of the convolutions' channels. */
const SENSORS = 2;
const GROUPS = 4;
/** More than an hour at 1 kHz. */
const MOST_SAMPLES = 2 ** 22;

export interface Imu2ClipConfig {
  channels: number;
  /** Channels of the convolutions. */
  width: number;
  /** Units of the GRU. */
  hidden: number;
  windowSamples: number;
  samplingRate: number;
  /**
   * The original hands (N, channels, time) to a GRU that takes (N, steps, features): it walks over the channels and sees all of a channel's
   * moments at once. Its weights need that; false walks over time.
   */
  batchFirstQuirk: boolean;
  /** Behind the last convolution: the largest of three (default), or, as PRIMUS has it, means that leave 32 moments of any length. */
  lastPool?: LastPool | undefined;
  /** Of embeds; undefined: they are the GRU's last state. */
  projectionDim: number | undefined;
}

type LastPool = "max" | "adaptive";

/** Throws E_CONFIG on what is not IMU2CLIP's, or could not be built. */
export function parseImu2ClipConfig(json: Json): Imu2ClipConfig {
  if (json.model_type !== "imu2clip") throw new ConfigError("model_type", "imu2clip", json.model_type);
  const channels = size(json, "channels", 6);
  const width = widthOf(json, "width", 32);
  const windowSamples = size(json, "window_samples", 1000, MOST_SAMPLES);
  const lastPool = json.last_pool ?? "max";
  if (lastPool !== "max" && lastPool !== "adaptive") throw new ConfigError("last_pool", "max or adaptive", lastPool);
  if (channels % SENSORS) throw new ConfigError("channels", `a multiple of ${SENSORS}`, channels);
  if (width % GROUPS) throw new ConfigError("width", `a multiple of ${GROUPS}`, width);
  if (windowSamples < shortest(lastPool))
    throw new ConfigError("window_samples", `at least ${shortest(lastPool)}, which the convolutions need`, windowSamples);
  return {
    channels,
    width,
    hidden: widthOf(json, "hidden", 512),
    windowSamples,
    samplingRate: number(json, "sampling_rate", 200),
    batchFirstQuirk: flag(json, "batch_first_quirk", true),
    ...(lastPool !== "max" && { lastPool }),
    projectionDim: json.projection_dim == null ? undefined : size(json, "projection_dim"),
  };
}

/** That the GRU is given of a window. */
const momentsOf = ({ lastPool, windowSamples }: Imu2ClipConfig): number => (lastPool === "adaptive" ? MOMENTS : steps(windowSamples));
/** What the convolutions and pools leave of so many samples. */
function steps(samples: number): number {
  return KERNELS.reduce((length, kernel) => Math.floor((length - DILATION * (kernel - 1)) / POOL), samples);
}
function shortest(lastPool: LastPool): number {
  const last = KERNELS.length - 1;
  return KERNELS.reduceRight(
    (length, kernel, i) => (i === last && lastPool === "adaptive" ? 1 : POOL * length) + DILATION * (kernel - 1),
    1,
  );
}
/** As AdaptiveAvgPool1d(MOMENTS) has it: (MOMENTS,length), what each takes of the length. */
function poolRows(length: number): Float32Array {
  const rows = new Float32Array(MOMENTS * length);
  for (let i = 0; i < MOMENTS; ++i) {
    const [from, until] = [Math.floor((i * length) / MOMENTS), Math.ceil(((i + 1) * length) / MOMENTS)];
    rows.fill(1 / (until - from), i * length + from, i * length + until);
  }
  return rows;
}

class ImuBlock extends Module {
  conv: Conv1d;
  constructor(
    at: Weights,
    inChannels: number,
    outChannels: number,
    kernel: number,
    readonly pool: LastPool,
  ) {
    super();
    this.conv = new Conv1d(at.at("conv"), inChannels, outChannels, kernel, { dilation: DILATION, bias: false });
  }
  forward(x: Tensor): Tensor {
    const y = this.conv.forward(x);
    if (this.pool === "max") return maxPool1d(y, POOL);
    const length = y.shape[2] as number;
    return linear(y, Tensor.from(poolRows(length), [MOMENTS, length], { device: y.device }));
  }
}

/** Windows (N,channels,samples) → states of the GRU (N,S,d), and embeddings (N,e) beside CLIP's. Construct it through fromPretrained(). */
export class Imu2ClipModel extends Module implements Encoder {
  normIn: GroupNorm;
  blocks: ImuBlock[];
  normOut: GroupNorm;
  gru: GRU;
  projection: Linear | undefined;
  readonly config: Imu2ClipConfig;
  readonly kind = "imu2clip";
  readonly modality = "imu";
  readonly classTokens = 0;
  readonly leftover: readonly string[] = [];
  /** A GRU computes in nothing else here. */
  readonly dtype = "f32";

  constructor(at: Weights, config: Imu2ClipConfig) {
    super();
    const { channels, width, hidden, projectionDim } = config;
    this.config = config;
    this.normIn = new GroupNorm(at.at("norm_in"), SENSORS, channels);
    this.blocks = KERNELS.map((kernel, i) => {
      const pool = i === KERNELS.length - 1 ? (config.lastPool ?? "max") : "max";
      return new ImuBlock(at.at("blocks").at(i), i ? width : channels, width, kernel, pool);
    });
    this.normOut = new GroupNorm(at.at("norm_out"), GROUPS, width);
    this.gru = new GRU(at.at("gru"), config.batchFirstQuirk ? momentsOf(config) : width, hidden);
    this.projection = projectionDim === undefined ? undefined : new Linear(at.at("projection"), hidden, projectionDim);
    at.finish();
  }

  static fromPretrained(folder: string, loading: EncoderLoading): Imu2ClipModel {
    return fromFolder(folder, { ...loading, dtype: "f32" }, (at, json) => new Imu2ClipModel(at, parseImu2ClipConfig(json)));
  }

  get device() {
    return this.normIn.weight.device;
  }
  get width(): number {
    return this.config.hidden;
  }
  get embedDim(): number {
    return this.config.projectionDim ?? this.config.hidden;
  }

  /** Windows (N,channels,samples). hidden: all states of the GRU, (N, channels or moments, hidden); there are no layers to choose from. */
  forward(x: Tensor, options: EncoderOptions = {}): EncoderOutput {
    checkForward("Imu2ClipModel", options);
    const layer = onlyLayer("Imu2ClipModel", options);
    if (layer !== -1) throw expected("E_VALUE", "Imu2ClipModel: layer", "-1, the states of the GRU", layer);
    return scope(() => {
      const hidden = this.gru.forward(this.#sequence(this.#window(x)));
      const [N, S, H] = hidden.shape as [number, number, number];
      const pooled = onTape(options, "pooled", () => sliceCopy(hidden, 1, S - 1, 1).reshape([N, H]));
      return { hidden, pooled, embeds: onTape(options, "embeds", () => this.projection?.forward(pooled) ?? pooled.alias()) };
    });
  }

  #window(x: Tensor): Tensor {
    const { channels, windowSamples, batchFirstQuirk, lastPool = "max" } = this.config;
    const samples = batchFirstQuirk && lastPool === "max" ? windowSamples : 0; // the GRU has one weight per moment
    const window = encoderInput("Imu2ClipModel", x, `windows (N,${channels},${samples || "samples"})`, [0, channels, samples], "f32");
    const length = window.shape[2] as number;
    const least = shortest(lastPool);
    if (length < least) throw expected("E_SHAPE", "Imu2ClipModel", `at least ${least} samples`, length, "record for longer");
    return window;
  }

  #sequence(window: Tensor): Tensor {
    let y = this.normIn.forward(window);
    for (const block of this.blocks) y = block.forward(y);
    y = this.normOut.forward(y); // (N,width,time)
    return this.config.batchFirstQuirk ? y : transposeCopy(y, 1, 2);
  }

  configJson(): Json {
    const c = this.config;
    return {
      model_type: "imu2clip",
      window_samples: c.windowSamples,
      sampling_rate: c.samplingRate,
      channels: c.channels,
      width: c.width,
      hidden: c.hidden,
      batch_first_quirk: c.batchFirstQuirk,
      ...(c.lastPool === "adaptive" && { last_pool: c.lastPool }),
      ...(c.projectionDim && { projection_dim: c.projectionDim }),
    };
  }
}
