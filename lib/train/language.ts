// Language modelling from nothing, or on: next-token cross entropy over the scored tokens of text rows.
import { AnymalError } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import type { Tensor } from "../core/tensor.js";
import type { CausalDecoder } from "../models/causal-decoder.js";
import { countTargets } from "../models/language-loss.js";
import { alone } from "./busy-model.js";
import { fromNothing, OPTIMIZE_KEYS, type OptimizeOptions } from "./optimize.js";
import type { StepReport } from "./step-report.js";

/** One text: ids, and the label of each (-100: not scored). */
export interface TextRow {
  ids: readonly number[];
  labels?: readonly number[];
}

export interface LanguageOptions extends OptimizeOptions {
  /** The rows of step k. */
  batch: (step: number) => readonly TextRow[] | Promise<readonly TextRow[]>;
}

/** Trains what requires gradients in `model`. Rows are padded on the right; a row longer than the model's context is refused. */
export function language(model: CausalDecoder, options: LanguageOptions): AsyncGenerator<StepReport> {
  checkOptions("language", options, [...OPTIMIZE_KEYS, "batch"]);
  return alone("language", [model], () => steps(model, options));
}

function steps(model: CausalDecoder, { batch, ...options }: LanguageOptions): AsyncGenerator<StepReport> {
  const parameters = [...model.namedParameters()].filter(([, tensor]) => tensor.requiresGrad);
  const lossOf = (rows: Padded) => model.forward({ ...rows, logits: false }).loss as Tensor;
  const itemsOf = ({ labels }: Padded) => countTargets(labels);
  return fromNothing(
    parameters,
    { next: async (step) => padded(await batch(step), model.config.maxPositions) },
    { lossOf, itemsOf },
    options,
  );
}

interface Padded {
  inputIds: Int32Array[];
  attentionMask: Uint8Array[];
  labels: Int32Array[];
}

function padded(rows: readonly TextRow[], limit: number): Padded {
  const length = Math.max(0, ...rows.map(({ ids }) => ids.length));
  if (length > limit || length < 2)
    throw new AnymalError(
      "E_VALUE",
      `language: expected rows of 2 to ${limit} tokens, the model's context, got ${length}; cut or drop the row`,
    );
  const filled = (values: readonly number[], fill: number) => {
    const row = new Int32Array(length).fill(fill);
    row.set(values);
    return row;
  };
  return {
    inputIds: rows.map(({ ids }) => filled(ids, 0)),
    attentionMask: rows.map(({ ids }) => new Uint8Array(length).fill(1, 0, ids.length)),
    labels: rows.map(({ ids, labels = ids }) => filled(labels, -100)),
  };
}
