// What the encoders of Whisper and of Qwen2-Audio share: two convolutions over a log-mel spectrogram, a table of positions, blocks, a norm. They take chunks
// of one length; a shorter sound is padded with silence, and the rows of that are nobody's.
import { expected } from "../core/errors.js";
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import type { WeightSource } from "../io/checkpoint.js";
import { Conv1d } from "../nn/conv.js";
import { join, Module, matching } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import { VitStack } from "../nn/vit-stack.js";
import type { Weights } from "../nn/weights.js";
import { activation, add, concat, meanPool, sliceCopy, slicePlace, transposeCopy } from "../ops/index.js";
import type { Json } from "./config.js";
import { checkForward, type Encoder, type EncoderOptions, type EncoderOutput, onTape } from "./encoder.js";
import { encoderInput } from "./patches.js";
import type { SpeechConfig } from "./speech-config.js";
import { leftover, prefixOf } from "./tower.js";
import { type TowerStates, towerStates } from "./tower-states.js";

/** torch's, which no configuration of these names. */
const EPS = 1e-5;
const ANCHOR = "conv1.weight";
const POSITIONS = "embed_positions.weight";

/** Where the encoder's names begin in a checkpoint of it, or of more. */
export const speechPrefix = (checkpoint: WeightSource): string => prefixOf(checkpoint, ANCHOR) ?? "";

/** Spectrograms (N,bins,frames) of chunks → rows (N,S,d), one for every two frames. */
export abstract class SpeechTower extends Module implements Encoder {
  conv1: Conv1d;
  conv2: Conv1d;
  positions: Tensor; // (S,d) f32; it never trains
  encoder: VitStack;
  layerNorm: LayerNorm;
  abstract readonly kind: "whisper" | "qwen2-audio";
  readonly modality = "audio";
  readonly classTokens = 0;
  readonly dtype: "f32" | "bf16";
  readonly leftover: readonly string[];

  constructor(
    at: Weights,
    readonly config: SpeechConfig,
  ) {
    super();
    const { melBins, positions, hiddenSize: width, intermediateSize: hidden, layers, heads, activation } = config;
    this.dtype = at.dtype;
    this.conv1 = new Conv1d(at.at("conv1"), melBins, width, 3, { padding: 1 });
    this.conv2 = new Conv1d(at.at("conv2"), width, width, 3, { stride: 2, padding: 1 });
    this.positions = at.buffer(POSITIONS, [positions, width], { normal: 0.02 });
    this.encoder = new VitStack(at, "whisper", { width, hidden, heads, activation, eps: EPS, layers, kBias: false });
    this.layerNorm = new LayerNorm(at.at("layer_norm"), width, EPS);
    this.leftover = leftover(at.checkpoint, [[this, at.prefix]], join(at.prefix, "layers"));
  }

  protected override stateName(field: string): string {
    if (field === "encoder") return "";
    return field === "positions" ? POSITIONS : super.stateName(field);
  }
  protected override isBuffer(name: string): boolean {
    return name === POSITIONS;
  }

  get device() {
    return this.layerNorm.weight.device;
  }
  get width(): number {
    return this.config.hiddenSize;
  }
  get embedDim(): number {
    return this.config.hiddenSize;
  }

  /** Behind the blocks. */
  protected abstract final(x: Tensor): Tensor;
  /** Rows of what final() gives for so many of the blocks. */
  protected abstract finalRows(rows: number): number;
  /** Is what is not heard hidden from attention? */
  protected abstract readonly hides: boolean;

  heardRows(frames: number, layer: number | readonly number[]): number {
    const rows = Math.ceil(frames / 2);
    return this.#layers(layer).includes(-1) ? this.finalRows(rows) : rows;
  }

  /**
   * Chunks (N,bins,2·S) of a SpeechProcessor. hidden 0 is what the first block reads; -1, which has the number of the last block too, is transformers'
   * last_hidden_state. `heard`: of each chunk, the frames that are the sound's. pooled is the mean over the rows of those, embeds the same.
   */
  forward(x: Tensor, options: EncoderOptions = {}): EncoderOutput {
    const who = this.constructor.name;
    checkForward(who, options);
    const { melBins, positions } = this.config;
    const heard = this.#heard(options.heard, x);
    return scope(() => {
      const chunks = encoderInput(who, x, `chunks (N,${melBins},${2 * positions})`, [0, melBins, 2 * positions], this.dtype);
      const asked = { ...options, layer: this.#layers(options.layer ?? -1) };
      const { hidden, final } = this.#states(this.#embed(chunks), asked, heard);
      const pooled = onTape(options, "pooled", () => this.#mean(final, heard));
      return { hidden, pooled, embeds: pooled.alias() };
    });
  }

  #embed(chunks: Tensor): Tensor {
    const heard = activation(this.conv2.forward(activation(this.conv1.forward(chunks), "gelu")), "gelu");
    const rows = transposeCopy(heard, 1, 2);
    return add(rows, matching(this.positions, rows));
  }

  /** What is hidden takes no part in the blocks, which gives the rows of the sound as if it had been masked; in the place of its own rows stand zeros. */
  #states(rows: Tensor, options: EncoderOptions, heard: readonly number[]): TowerStates {
    const norm = { forward: (y: Tensor) => this.final(y) };
    const tower = { who: this.constructor.name, stack: this.encoder, classTokens: 0, norm };
    const S = this.config.positions;
    const seen = heard.map((frames) => Math.ceil(frames / 2));
    if (!this.hides || seen.every((one) => one === S)) return towerStates(tower, rows, options);
    const alike = seen.every((one) => one === seen[0]);
    const parts = alike ? [rows] : seen.map((_, n) => sliceCopy(rows, 0, n, 1));
    const whole = (state: Tensor, full: number) => (state.shape[1] === full ? state : slicePlace(state, 1, 0, full));
    const made = parts.map((part, n) => {
      const { hidden, final } = towerStates(tower, sliceCopy(part, 1, 0, seen[n] as number), options);
      const last = (options.layer as readonly number[]).includes(-1);
      return { hidden: whole(hidden, last ? this.finalRows(S) : S), final: whole(final, this.finalRows(S)) };
    });
    const together = (key: "hidden" | "final") =>
      (made.length === 1
        ? made[0]?.[key]
        : concat(
            made.map((one) => one[key]),
            0,
          )) as Tensor;
    return { hidden: together("hidden"), final: together("final") };
  }

  /** (N,d): over the rows that were heard. */
  #mean(final: Tensor, heard: readonly number[]): Tensor {
    const rows = heard.map((frames) => this.heardRows(frames, -1));
    if (rows.every((one) => one === rows[0])) return meanPool(sliceCopy(final, 1, 0, rows[0] as number), 1);
    return concat(
      rows.map((count, n) => meanPool(sliceCopy(sliceCopy(final, 0, n, 1), 1, 0, count), 1)),
      0,
    );
  }

  #heard(heard: readonly number[] | undefined, x: Tensor): readonly number[] {
    const [N = 0] = x.shape;
    const most = 2 * this.config.positions;
    if (!heard) return new Array<number>(N).fill(most);
    if (heard.length === N && heard.every((one) => Number.isInteger(one) && one >= 1 && one <= most)) return heard;
    throw expected("E_VALUE", `${this.constructor.name}: heard`, `frames from 1 to ${most} for each of ${N} chunks`, `[${heard}]`);
  }

  /** The state behind the last block and what final() makes of it are one to transformers: the last of its hidden_states. */
  #layers(layer: number | readonly number[]): readonly number[] {
    const all = [layer].flat().map((one) => (one === this.config.layers ? -1 : one));
    if (all.includes(-1) && all.some((one) => one !== -1) && this.finalRows(2) !== 2)
      throw expected(
        "E_VALUE",
        `${this.constructor.name}: layer`,
        "hidden states with as many rows",
        `[${[layer].flat()}]`,
        "the last one has half of them: ask for it alone, or leave it out",
      );
    return all;
  }

  abstract configJson(): Json;
}
