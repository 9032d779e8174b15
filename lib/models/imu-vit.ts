// A vision transformer over motion, as IMUDINO (arXiv 2611.07437) is described by its card: patches of 16 samples with all six channels, a class token and
// registers, places in time by the rate of the recording. The authors' code is under another licence and was not looked at: the blocks have the
// names of transformers' DINOv2, and a file of theirs is not read.
import { expected } from "../core/errors.js";
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { Conv1d } from "../nn/conv.js";
import { join, Module, matching } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import { VitStack } from "../nn/vit-stack.js";
import type { Weights } from "../nn/weights.js";
import { add, concat, transposeCopy } from "../ops/index.js";
import { ConfigError, headsOf, type Json, number, size } from "./config.js";
import { checkForward, type Encoder, type EncoderLoading, type EncoderOptions, type EncoderOutput, onTape } from "./encoder.js";
import { epsOf, layersOf, ratioOf, widthOf } from "./encoder-config.js";
import { classRows, encoderInput } from "./patches.js";
import { fromFolder, leftover } from "./tower.js";
import { towerStates } from "./tower-states.js";

export interface ImuVitConfig {
  /** Accelerometer x, y, z, gyroscope x, y, z. */
  channels: number;
  patchSize: number;
  hiddenSize: number;
  layers: number;
  heads: number;
  mlpRatio: number;
  registers: number;
  layerNormEps: number;
  /** Hz at which places are counted patch by patch; twice the rate halves the distance of two patches. */
  referenceRate: number;
  /** Of the folder's recordings, in Hz. */
  samplingRate: number;
  windowSamples: number;
}

const CHANNELS = 6;
const MOST = { samples: 2 ** 20, rate: 100_000, registers: 64 };
/** Of sines and cosines, as arXiv 1706.03762 has it. */
const BASE = 10_000;

/** Throws E_CONFIG on what is not an IMU ViT's, or could not be built. */
export function parseImuVitConfig(json: Json): ImuVitConfig {
  if (json.model_type !== "imu_vit") throw new ConfigError("model_type", "imu_vit", json.model_type);
  const hiddenSize = widthOf(json, "hidden_size", 768);
  if (hiddenSize % 2) throw new ConfigError("hidden_size", "even, for sines and cosines", hiddenSize);
  const channels = size(json, "channels", CHANNELS);
  if (channels !== CHANNELS) throw new ConfigError("channels", `${CHANNELS}`, channels);
  const patchSize = size(json, "patch_size", 16, MOST.samples);
  const windowSamples = size(json, "window_samples", 1024, MOST.samples);
  if (windowSamples % patchSize) throw new ConfigError("window_samples", `a multiple of patch_size ${patchSize}`, windowSamples);
  const rate = (key: string) => {
    const hertz = number(json, key, 100);
    if (!(hertz > 0 && hertz <= MOST.rate)) throw new ConfigError(key, `above 0, at most ${MOST.rate}`, hertz);
    return hertz;
  };
  const registers = number(json, "num_register_tokens", 4);
  if (!(Number.isInteger(registers) && registers >= 0 && registers <= MOST.registers))
    throw new ConfigError("num_register_tokens", `an integer from 0 to ${MOST.registers}`, registers);
  return {
    ...{ channels, patchSize, hiddenSize, registers, windowSamples },
    layers: layersOf(json, "num_hidden_layers", 12),
    heads: headsOf(json, "num_attention_heads", hiddenSize, 24),
    mlpRatio: ratioOf(json, "mlp_ratio", 4),
    layerNormEps: epsOf(json, "layer_norm_eps", 1e-6),
    referenceRate: rate("reference_rate"),
    samplingRate: rate("sampling_rate"),
  };
}

export interface ImuVitOptions extends EncoderOptions {
  /** Hz of each recording. Default: the configuration's for all. */
  rates?: readonly number[];
}

/** Recordings (N,6,L) or (N,L,6), L a multiple of the patch → rows (N,1+registers+L/patch,d). Construct it through fromPretrained(). */
export class ImuVitModel extends Module implements Encoder {
  clsToken: Tensor; // (1,1,d)
  regToken: Tensor | undefined; // (1,registers,d)
  patchEmbed: Conv1d;
  encoder: VitStack;
  norm: LayerNorm;
  readonly kind = "imu-vit";
  readonly modality = "imu";
  readonly classTokens: number;
  readonly dtype: "f32" | "bf16";
  readonly leftover: readonly string[];

  constructor(
    at: Weights,
    readonly config: ImuVitConfig,
  ) {
    super();
    const { hiddenSize: width, patchSize, registers, layerNormEps: eps, layers, heads, mlpRatio } = config;
    this.dtype = at.dtype;
    this.classTokens = 1 + registers;
    this.clsToken = at.parameter("cls_token", [1, 1, width], { normal: 0.02 });
    this.regToken = registers ? at.parameter("reg_token", [1, registers, width], { normal: 0.02 }) : undefined;
    this.patchEmbed = new Conv1d(at.at("patch_embed.proj"), config.channels, width, patchSize, { stride: patchSize });
    const hidden = Math.round(width * mlpRatio);
    this.encoder = new VitStack(at.at("encoder"), "dinov2", { width, hidden, heads, activation: "gelu", eps, layers });
    this.norm = new LayerNorm(at.at("norm"), width, eps);
    this.leftover = leftover(at.checkpoint, [[this, at.prefix]], join(at.prefix, "encoder"));
  }

  /** From a folder whose config.json says imu_vit. Frozen, in the dtype of the checkpoint, unless told otherwise. */
  static fromPretrained(folder: string, loading: EncoderLoading): ImuVitModel {
    return fromFolder(folder, loading, (at, json) => new ImuVitModel(at, parseImuVitConfig(json)));
  }

  protected override stateName(field: string): string {
    return field === "patchEmbed" ? "patch_embed.proj" : super.stateName(field);
  }
  get device() {
    return this.norm.weight.device;
  }
  get width(): number {
    return this.config.hiddenSize;
  }
  get embedDim(): number {
    return this.config.hiddenSize;
  }

  /** hidden -1 is after the final norm: class token, registers, then patches in time. pooled and embeds are the class token's row of it. */
  forward(x: Tensor, options: ImuVitOptions = {}): EncoderOutput {
    checkForward("ImuVitModel", options, ["rates"]);
    const { rates, ...asked } = options;
    return scope(() => {
      const windows = this.#windows(x);
      const patches = transposeCopy(this.patchEmbed.forward(windows), 1, 2);
      const places = matching(this.#places(patches, rates), patches);
      const tokens = this.#headed(add(patches, places));
      const tower = { who: "ImuVitModel", stack: this.encoder, classTokens: this.classTokens, norm: this.norm };
      const { final, ...states } = towerStates(tower, tokens, asked);
      const pooled = onTape(options, "pooled", () => classRows(final));
      return { ...states, pooled, embeds: pooled.alias() };
    });
  }

  /** (N,6,L); which of the two sides counts the channels is told by 6, which is no multiple of a patch. */
  #windows(x: Tensor): Tensor {
    const { channels, patchSize } = this.config;
    const last = x.rank === 3 && x.shape[1] !== channels && x.shape[2] === channels;
    const turned = last ? transposeCopy(x, 1, 2) : x;
    const windows = encoderInput("ImuVitModel", turned, `recordings (N,${channels},L) or (N,L,${channels})`, [0, channels, 0], this.dtype);
    const length = windows.shape[2] as number;
    if (length < patchSize || length % patchSize)
      throw expected("E_SHAPE", "ImuVitModel", `a positive multiple of ${patchSize} samples`, length, "cut the recording, or pad it");
    return windows;
  }

  /** (N,P,d): sines, then cosines, of where each patch begins, counted in patches at the reference rate. */
  #places(patches: Tensor, rates: readonly number[] | undefined): Tensor {
    const { referenceRate, samplingRate, hiddenSize } = this.config;
    const [N, P] = patches.shape as [number, number];
    const all = rates ?? new Array<number>(N).fill(samplingRate);
    if (all.length !== N || !all.every((rate) => rate > 0 && rate <= MOST.rate))
      throw expected("E_VALUE", "ImuVitModel: rates", `a rate in Hz for each of ${N} recordings, above 0`, `[${all}]`);
    const half = hiddenSize / 2;
    const table = new Float32Array(N * P * hiddenSize);
    for (let n = 0, at = 0; n < N; ++n)
      for (let p = 0; p < P; ++p, at += hiddenSize)
        for (let i = 0; i < half; ++i) {
          const angle = ((p * referenceRate) / (all[n] as number)) * BASE ** (-i / half);
          table[at + i] = Math.sin(angle);
          table[at + half + i] = Math.cos(angle);
        }
    return Tensor.from(table, [N, P, hiddenSize], { device: this.device });
  }

  /** Class token and registers, which stand at no place, before the patches. */
  #headed(rows: Tensor): Tensor {
    const [N, , width] = rows.shape as [number, number, number];
    const repeated = (tokens: Tensor) => {
      const n = tokens.size / width;
      return add(Tensor.zeros([N, n, width], { device: rows.device, dtype: rows.dtype }), matching(tokens, rows).reshape([n, width]));
    };
    return concat([repeated(this.clsToken), ...(this.regToken ? [repeated(this.regToken)] : []), rows], 1);
  }

  configJson(): Json {
    const c = this.config;
    return {
      model_type: "imu_vit",
      channels: c.channels,
      patch_size: c.patchSize,
      hidden_size: c.hiddenSize,
      num_hidden_layers: c.layers,
      num_attention_heads: c.heads,
      mlp_ratio: c.mlpRatio,
      num_register_tokens: c.registers,
      layer_norm_eps: c.layerNormEps,
      reference_rate: c.referenceRate,
      sampling_rate: c.samplingRate,
      window_samples: c.windowSamples,
    };
  }
}
