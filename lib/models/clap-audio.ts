// LAION-CLAP's audio tower (arXiv 2211.06687): HTSAT and a projection to the space shared with text.
import type { Device } from "../core/device.js";
import { expected } from "../core/errors.js";
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import type { HostTensor } from "../io/safetensors.js";
import { BatchNorm } from "../nn/batch-norm.js";
import { Linear } from "../nn/linear.js";
import { join, Module } from "../nn/module.js";
import { WindowAttention } from "../nn/swin.js";
import type { Weights } from "../nn/weights.js";
import { relativePositions } from "../nn/window.js";
import { activation, meanPool, transposeCopy } from "../ops/index.js";
import { type ClapAudioConfig, clapAudioJson, foldRatio, parseClapAudioConfig, stageGrid, stageWidth } from "./clap-config.js";
import { ConfigError } from "./config.js";
import { checkForward, type Encoder, type EncoderLoading, type EncoderOptions, type EncoderOutput, onlyLayer, onTape } from "./encoder.js";
import { Htsat } from "./htsat.js";
import { fromFolder, leftover, outside, prefixOf } from "./tower.js";

export interface ClapAudioOptions extends EncoderOptions {
  /** The last map as transformers gives it. */
  map?: boolean;
  /** All of them, as transformers counts. */
  hiddenStates?: boolean;
}
export interface ClapAudioOutput extends EncoderOutput {
  /** (N,d,frequency,time) */
  map?: Tensor;
  /** (N,C,height,width) of the folded square: the patch embedding, then each stage's output, which the next stage's merging has shrunk. */
  hiddenStates?: Tensor[];
}

class Projection extends Module {
  linear1: Linear;
  linear2: Linear;
  readonly #config: ClapAudioConfig;
  constructor(at: Weights, width: number, dim: number, c: ClapAudioConfig) {
    super();
    this.#config = c;
    this.linear1 = new Linear(at.at("linear1"), width, dim);
    this.linear2 = new Linear(at.at("linear2"), dim, dim);
  }
  forward(x: Tensor): Tensor {
    return this.linear2.forward(activation(this.linear1.forward(x), this.#config.projectionActivation));
  }
}

const TOWER = "audio_model.audio_encoder";
/** … in transformers' ClapAudioModel, which is the tower without a projection. */
const ALONE = "audio_encoder";
const ANCHOR = "patch_embed.proj.weight";

/** Spectrograms (N,1 or 4,T,bins) in decibels → rows (N,time,d), and embeddings (N,e) beside CLAP's of text. Construct it through fromPretrained(). */
export class ClapAudioModel extends Module implements Encoder {
  audioEncoder: Htsat;
  audioProjection: Projection | undefined;
  readonly kind = "clap-audio";
  readonly modality = "audio";
  readonly classTokens = 0;
  readonly width: number;
  readonly embedDim: number;
  readonly dtype: "f32" | "bf16";
  readonly config: ClapAudioConfig;
  readonly leftover: readonly string[];

  /** `prefix`: where the tower's names begin. The projection stands beside the model that holds it. */
  constructor(at: Weights, config: ClapAudioConfig, prefix = TOWER) {
    super();
    this.config = config;
    this.dtype = at.dtype;
    this.width = stageWidth(config, config.depths.length - 1);
    this.embedDim = config.projectionDim ?? this.width;
    this.audioEncoder = new Htsat(at.at(prefix), config);
    const beside = projectionOf(prefix);
    const { projectionDim } = config;
    this.audioProjection = projectionDim === undefined ? undefined : new Projection(at.at(beside), this.width, projectionDim, config);
    const parts: [Module, string][] = [[this.audioEncoder, prefix]];
    if (this.audioProjection) parts.push([this.audioProjection, beside]);
    this.leftover = leftover(at.checkpoint, parts, join(prefix, "layers"), BUFFERS);
  }

  /** From a folder of this tower, of a whole CLAP, or of a larger model around it. Frozen, in the dtype of the checkpoint, unless told otherwise. */
  static fromPretrained(folder: string, loading: EncoderLoading): ClapAudioModel {
    return fromFolder(folder, loading, (at, json, checkpoint) => {
      const config = parseClapAudioConfig(json);
      const prefix = prefixOf(checkpoint, ANCHOR) ?? TOWER;
      const said = json.model_type === "clap" || [json.architectures].flat().includes("ClapAudioModelWithProjection");
      if (!said && !checkpoint.has(join(projectionOf(prefix), "linear1.weight"))) config.projectionDim = undefined;
      return new ClapAudioModel(at, config, prefix);
    });
  }

  protected override stateName(field: string): string {
    if (field !== "audioEncoder") return super.stateName(field);
    return this.audioProjection ? TOWER : ALONE;
  }
  get device(): Device {
    return this.audioEncoder.norm.weight.device;
  }
  /** Recomputes each block in backward instead of keeping its activations. */
  get gradientCheckpointing(): boolean {
    return this.audioEncoder.gradientCheckpointing;
  }
  set gradientCheckpointing(on: boolean) {
    this.audioEncoder.gradientCheckpointing = on;
  }

  /**
   * Decibels (N,1 or 4,T,bins) of an AudioProcessor. `hidden` (N,time,d) is the last map, after the final norm, averaged over frequency; with
   * `layer` from 0 on it is that of transformers' hidden state, as wide as its stage.
   */
  forward(x: Tensor, options: ClapAudioOptions = {}): ClapAudioOutput {
    checkForward("ClapAudioModel", options, ["map", "hiddenStates"]);
    const layer = onlyLayer("ClapAudioModel", options);
    const { isLonger = [], map = false, hiddenStates = false } = options;
    const longer = this.#check(x, isLonger);
    const stages = this.config.depths.length;
    if (!Number.isInteger(layer) || layer < -1 || layer > stages)
      throw expected("E_VALUE", "ClapAudioModel", `a layer from -1 to ${stages}`, layer);
    return scope(() => {
      const states = this.audioEncoder.forward(x, longer, hiddenStates || layer !== -1);
      const last = states.at(-1) as Tensor;
      const pooled = onTape(options, "pooled", () => meanPool(last, 1));
      const output: ClapAudioOutput = {
        hidden: onTape(options, "hidden", () =>
          meanPool(layer < 0 ? this.#grouped(last, stages) : this.#grouped(states[layer] as Tensor, layer), 1),
        ),
        embeds: onTape(options, "embeds", () => this.audioProjection?.forward(pooled) ?? pooled.alias()),
        pooled,
      };
      if (map) output.map = mapOf(this.#grouped(last, stages));
      if (hiddenStates) output.hiddenStates = states.slice(0, -1).map((state, i) => mapOf(this.#square(state, i)));
      return output;
    });
  }

  /** Tokens (N,L,C) of hidden state `state` → (N,height,width,C) of the folded square. */
  #square(tokens: Tensor, state: number): Tensor {
    const [N, , C] = tokens.shape as [number, number, number];
    return tokens.reshape([N, ...stageGrid(this.config, Math.min(state, this.config.depths.length - 1)), C]);
  }
  /** … → (N,frequency,time,C), unfolded. */
  #grouped(tokens: Tensor, state: number): Tensor {
    const [N, height, width, C] = this.#square(tokens, state).shape as [number, number, number, number];
    const ratio = foldRatio(this.config);
    const segments = tokens.reshape([N, ratio, height / ratio, width, C]);
    return (ratio > 1 ? transposeCopy(segments, 1, 2) : segments).reshape([N, height / ratio, ratio * width, C]);
  }

  /** The items whose crops count; throws when x does not fit. */
  #check(x: Tensor, isLonger: readonly boolean[]): number[] {
    const { melBins, specSize, fusion, attentionDropout, dropPath } = this.config;
    const most = specSize * foldRatio(this.config);
    const [N, channels = 0, T = 0, bins] = x.shape as [number, number, number, number];
    const fits = x.rank === 4 && bins === melBins && T >= 1 && T <= most && (channels === 1 || (fusion && channels === 4));
    if (!fits)
      throw expected(
        "E_SHAPE",
        "ClapAudioModel",
        `(N,${fusion ? "1 or 4" : "1"},T,${melBins}) with T from 1 to ${most}`,
        `[${x.shape}]`,
        "use the AudioProcessor of the same folder",
      );
    if (isLonger.length && isLonger.length !== N)
      throw expected("E_SHAPE", "ClapAudioModel", `isLonger of ${N} clips`, `${isLonger.length}`);
    if (this.training && attentionDropout > 0) throw new ConfigError("attention_probs_dropout_prob", "0 in training", attentionDropout);
    if (this.training && dropPath > 0) throw new ConfigError("drop_path_rate", "0 in training", dropPath);
    if (!fusion) return [];
    const longer = isLonger.flatMap((is, n) => (is ? [n] : []));
    if (longer.length && channels !== 4)
      throw expected("E_SHAPE", "ClapAudioModel", "(N,4,T,bins) where isLonger", `[${x.shape}]`, 'process with truncation "fusion"');
    return longer;
  }

  /** Mean and variance per mel bin that the input is normalised with: of the training data, before training from nothing. */
  setInputStatistics(mean: ArrayLike<number>, variance: ArrayLike<number>): void {
    const { runningMean, runningVar } = this.audioEncoder.batchNorm;
    runningMean.write(Float32Array.from(mean));
    runningVar.write(Float32Array.from(variance));
  }

  configJson(): Record<string, unknown> {
    return clapAudioJson(this.config);
  }
  /** The buffers that transformers keeps beside the parameters. */
  *hostState(): Generator<[string, HostTensor]> {
    for (const [name, part] of this.namedModules()) {
      if (part instanceof BatchNorm) yield [`${name}.num_batches_tracked`, { dtype: "I64", shape: [], data: new BigInt64Array(1) }];
      if (!(part instanceof WindowAttention)) continue;
      const area = part.window ** 2;
      const data = BigInt64Array.from(relativePositions(part.window), BigInt);
      yield [`${name}.self.relative_position_index`, { dtype: "I64", shape: [area, area], data }];
    }
  }
}

/** What transformers keeps beside the parameters, and this model computes. */
const BUFFERS = /\.(num_batches_tracked|relative_position_index)$/;

/** "audio_projection" beside the "audio_model" that holds the tower. */
function projectionOf(prefix: string): string {
  return join(outside(prefix, TOWER) ?? "", "audio_projection");
}

/** (N,height,width,C) → (N,C,height,width) */
function mapOf(grid: Tensor): Tensor {
  const [N, height, width, C] = grid.shape as [number, number, number, number];
  return transposeCopy(grid.reshape([N, height * width, C]), 1, 2).reshape([N, C, height, width]);
}

/** Mean and variance per mel bin over decibels (…,bins) of many clips, in double precision. */
export function melStatistics(batches: Iterable<Float32Array>, bins: number): { mean: Float64Array; variance: Float64Array } {
  const [sum, squares] = [new Float64Array(bins), new Float64Array(bins)];
  let frames = 0;
  for (const data of batches) {
    for (let i = 0; i < data.length; ++i) {
      const [bin, value] = [i % bins, data[i] as number];
      sum[bin] = (sum[bin] as number) + value;
      squares[bin] = (squares[bin] as number) + value * value;
    }
    frames += data.length / bins;
  }
  if (!frames) throw expected("E_VALUE", "melStatistics", "at least one frame", "none");
  const mean = sum.map((total) => total / frames);
  return { mean, variance: squares.map((total, bin) => Math.max(0, total / frames - (mean[bin] as number) ** 2)) };
}
