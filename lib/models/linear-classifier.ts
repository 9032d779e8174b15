// A linear layer and a softmax over one vector: what a judge of media or texts needs on top of a frozen encoder, small enough to be trained on the spot.
import { expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import { type HostTensor, SafetensorsFile, saveSafetensors } from "../io/safetensors.js";
import { SafetensorsError } from "../io/safetensors-header.js";

export interface ClassifierOptions {
  /** Passes over all rows. Default 300. */
  epochs?: number;
  /** Default 0.5. */
  learningRate?: number;
  /** Pulls weights to 0. Default 1e-3. */
  weightDecay?: number;
}
const OPTIONS = optionNames<ClassifierOptions>({ epochs: true, learningRate: true, weightDecay: true });

/** One vector and what it is. */
export interface Labelled {
  vector: ArrayLike<number>;
  label: string;
}

/** Logistic regression with as many classes as there are labels; vectors are standardised by what it was fitted on. */
export class LinearClassifier {
  private constructor(
    readonly labels: readonly string[],
    readonly width: number,
    /** (labels, width) row by row, and a bias for each label. */
    private readonly weight: Float32Array,
    private readonly bias: Float32Array,
  ) {}

  /** By gradient descent on all rows at once: the same rows give the same classifier. Throws E_VALUE on rows of several widths or one label. */
  static fit(rows: readonly Labelled[], options: ClassifierOptions = {}): LinearClassifier {
    checkOptions("LinearClassifier.fit", options, OPTIONS);
    const { epochs = 300, learningRate = 0.5, weightDecay = 1e-3 } = options;
    const labels = [...new Set(rows.map(({ label }) => label))].sort();
    const width = rows[0]?.vector.length ?? 0;
    if (labels.length < 2) throw expected("E_VALUE", "LinearClassifier.fit", "rows of two labels at least", labels.join(", ") || "none");
    const other = rows.find(({ vector }) => vector.length !== width);
    if (!width || other) throw expected("E_VALUE", "LinearClassifier.fit", `vectors of one width, ${width}`, other?.vector.length ?? 0);
    const { mean, scale } = statistics(rows, width);
    const inputs = rows.map(({ vector }) =>
      Float64Array.from({ length: width }, (_, j) => ((vector[j] as number) - at(mean, j)) * at(scale, j)),
    );
    const wanted = rows.map(({ label }) => labels.indexOf(label));
    const [weight, bias] = [new Float64Array(labels.length * width), new Float64Array(labels.length)];
    for (let epoch = 0; epoch < epochs; ++epoch) {
      const [byWeight, byBias] = [new Float64Array(weight.length), new Float64Array(bias.length)];
      for (const [i, input] of inputs.entries()) {
        const shares = softmax(scores(input, weight, bias));
        for (const [c, share] of shares.entries()) {
          const error = (share - Number(c === wanted[i])) / rows.length;
          byBias[c] = at(byBias, c) + error;
          for (let j = 0; j < width; ++j) byWeight[c * width + j] = at(byWeight, c * width + j) + error * at(input, j);
        }
      }
      for (let k = 0; k < weight.length; ++k) weight[k] = at(weight, k) - learningRate * (at(byWeight, k) + weightDecay * at(weight, k));
      for (let c = 0; c < bias.length; ++c) bias[c] = at(bias, c) - learningRate * at(byBias, c);
    }
    // The standardisation goes into the layer.
    const folded = Float32Array.from(weight, (value, k) => value * at(scale, k % width));
    const shifted = Float32Array.from(
      bias,
      (value, c) => value - mean.reduce((sum, one, j) => sum + one * at(scale, j) * at(weight, c * width + j), 0),
    );
    return new LinearClassifier(labels, width, folded, shifted);
  }

  /** From what save() wrote: `weight` (labels, width) and `bias` (labels) in f32, the labels as a JSON list in the metadata. Throws E_SAFETENSORS. */
  static load(path: string): LinearClassifier {
    using file = new SafetensorsFile(path);
    const fail = (wanted: string, got: string) => new SafetensorsError(path, wanted, got, "write it with save() of a LinearClassifier");
    const told = file.metadata.get("labels");
    const labels = listIn(told);
    if (!labels || new Set(labels).size < 2) throw fail("two labels at least, a JSON list in the metadata", told ?? "none");
    const [shape, biases] = [file.entry("weight").shape, file.entry("bias").shape];
    const width = shape[1] ?? 0;
    if (shape.length !== 2 || shape[0] !== labels.length || !width || biases.length !== 1 || biases[0] !== labels.length)
      throw fail(`weight of (${labels.length}, width) and bias of (${labels.length})`, `(${shape}) and (${biases})`);
    const floats = (name: string): Float32Array => {
      const values = file.values(name);
      if (values instanceof Float32Array && values.every(Number.isFinite)) return values;
      throw fail(`${name} of finite floats`, file.entry(name).dtype);
    };
    return new LinearClassifier(labels, width, floats("weight"), floats("bias"));
  }

  save(path: string): Promise<void> {
    const { labels, width, weight, bias } = this;
    const tensors: [string, HostTensor][] = [
      ["weight", { dtype: "F32", shape: [labels.length, width], data: weight }],
      ["bias", { dtype: "F32", shape: [labels.length], data: bias }],
    ];
    return saveSafetensors(path, tensors, { labels: JSON.stringify(labels) });
  }

  /** How probable each label is. Throws E_VALUE on a vector of another width. */
  probabilities(vector: ArrayLike<number>): Record<string, number> {
    if (vector.length !== this.width) throw expected("E_VALUE", "LinearClassifier", `a vector of ${this.width} numbers`, vector.length);
    const shares = softmax(scores(vector, this.weight, this.bias));
    return Object.fromEntries(this.labels.map((label, c) => [label, shares[c] as number]));
  }
}

type Numbers = ArrayLike<number>;
const at = (list: Numbers, i: number): number => list[i] as number;

function scores(input: Numbers, weight: Numbers, bias: Numbers): number[] {
  return Array.from(bias, (value, c) => {
    let sum = value;
    for (let j = 0; j < input.length; ++j) sum += at(weight, c * input.length + j) * at(input, j);
    return sum;
  });
}

function softmax(values: readonly number[]): number[] {
  const most = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - most));
  const sum = powers.reduce((total, one) => total + one, 0);
  return powers.map((one) => one / sum);
}

/** Of each number of the vectors: its mean, and 1 over its standard deviation; one that never varies counts nothing. */
function statistics(rows: readonly Labelled[], width: number): { mean: Float64Array; scale: Float64Array } {
  const [mean, scale] = [new Float64Array(width), new Float64Array(width)];
  for (const { vector } of rows) for (let j = 0; j < width; ++j) mean[j] = at(mean, j) + at(vector, j) / rows.length;
  for (const { vector } of rows) for (let j = 0; j < width; ++j) scale[j] = at(scale, j) + (at(vector, j) - at(mean, j)) ** 2 / rows.length;
  return { mean, scale: scale.map((variance) => (variance > 1e-12 ? 1 / Math.sqrt(variance) : 0)) };
}

function listIn(text: string | undefined): string[] | undefined {
  try {
    const list: unknown = JSON.parse(text ?? "");
    return Array.isArray(list) && list.every((one) => typeof one === "string") ? list : undefined;
  } catch {
    return undefined;
  }
}
