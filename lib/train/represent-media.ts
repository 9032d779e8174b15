// BLIP-2's first stage from files: captions with their media, a run's folder, a run that goes on. The pairs of a step are compared under the weights of that
// step, so that which wrong ones are drawn follows from the seed and the step.
import type { FirstStage } from "../anymal/first-stage.js";
import { restoreFirstStage, STAGE, writeFirstStage } from "../anymal/first-stage-files.js";
import type { Features, Media } from "../anymal/media-encoder.js";
import { expected } from "../core/errors.js";
import { FeatureCache } from "../data/feature-cache.js";
import { openRows } from "../data/open-rows.js";
import { mediaOf, type Row } from "../data/row.js";
import type { MediaPart } from "../media/part.js";
import { Ahead } from "./ahead.js";
import { alone } from "./busy-model.js";
import { DataFound } from "./data-found.js";
import { FeatureSource } from "./feature-source.js";
import type { ModelInTraining } from "./model-in-training.js";
import { originOf } from "./replay/origin.js";
import { type PairsWindow, pairsLoss, pairsOf } from "./represent.js";
import { type RepresentRecipe, representRecipe } from "./represent-recipe.js";
import { type Kept, RunFolder } from "./run-folder.js";
import { reportersOf } from "./run-log/reporters.js";
import { loopOf, readingOptions, recipeOptions, reports, type StageOptions, stoppable, type Watch } from "./stage.js";
import type { TrainStep } from "./step-report.js";
import { TokenCount } from "./token-count.js";
import { described, toldMedia } from "./told.js";
import type { Trainee, Windows } from "./trainee.js";
import { train } from "./trainer.js";
import { type RowReader, TrainingRows, type Window } from "./training-rows.js";

export interface RepresentMediaOptions extends Omit<StageOptions, "adapters" | "onValidation">, Partial<RepresentRecipe> {}

interface Pair {
  where: string;
  features: Features;
  caption: readonly number[];
  /** Of the caption. */
  length: number;
  scored: number;
}
interface ReadCaption {
  where: string;
  media: readonly MediaPart[];
  caption: readonly number[];
}

/**
 * Trains the Q-Former of BLIP-2's first stage on captions of media: contrastive, matching and language loss. Yields every step, one step late. The run's
 * `checkpoint/` holds a bridge on which a model is assembled with `projector: output`. Rejects as align() does.
 */
export function representMedia(first: FirstStage, options: RepresentMediaOptions): AsyncGenerator<TrainStep> {
  return representing(first, options);
}

/** … while somebody looks on. */
export function representing(first: FirstStage, options: RepresentMediaOptions, watch?: Watch): AsyncGenerator<TrainStep> {
  const steps = () => representation(first, options, watch);
  return stoppable(options.signal, alone("represent", [first.model], steps));
}

async function* representation(first: FirstStage, options: RepresentMediaOptions, watch: Watch | undefined): AsyncGenerator<TrainStep> {
  const { data, modalityWeights, output, resume = false, signal, cache, onProblem, media, columns } = options;
  const recipe = representRecipe(recipeOptions(options, ["adapters", "onValidation"]));
  const { modality } = first;
  const found = new DataFound();
  const reading = { modality, prompts: [""], seed: recipe.seed, ...readingOptions(first, recipe, options), onFound: found.note };
  const source = await openRows(data, reading);
  const named = described(data, modalityWeights, found.pinned);
  const told = { ...toldMedia(media), represent: { modality, ...named, ...(columns && { columns: { ...columns } }), ...recipe } };
  let run: RunFolder | undefined;
  try {
    const { steps, seed, batch, onBadRow, onDiverged, normLimit } = recipe;
    const features = new FeatureSource(first, cache ?? new FeatureCache({ memoryBytes: 2 ** 30 }));
    const rows = new TrainingRows(new Captions(first, recipe.maxLength), source, features, { seed, batch, onBadRow, onProblem });
    if (output !== undefined) {
      const reporters = reportersOf(output, recipe.reportTo, told);
      const opening = { rows: source.length, steps, what: "represent", resume, draws: false, mark: STAGE };
      run = await RunFolder.open(output, told, { ...opening, reporters });
    }
    const kept = keptOf(first);
    if (run) await run.keepOrigin(kept, told, await originOf(first, found.files));
    await run?.restore(kept);
    const [order, seen, trainee] = [new Ahead(rows, steps), new TokenCount(), traineeOf(first)];
    const { parameters } = trainee;
    const [keeper, observer] = [run?.keeping(kept, parameters), watch?.(parameters, found.files)];
    const guard = { onDiverged, normLimit, onSkip: onProblem };
    const loop = { ...loopOf(recipe), seed, state: [order, seen], keeper, observer, guard, signal };
    const report = reports(rows, seen);
    yield* train(trainee, comparing(first, order, seed), { ...loop, report: ({ window }) => report(window) });
  } finally {
    await run?.close();
    await source.close();
  }
}

/** A caption and the one medium that it speaks of. */
class Captions implements RowReader<ReadCaption, Pair> {
  readonly #most: number;

  constructor(
    private readonly first: FirstStage,
    maxLength = Number.POSITIVE_INFINITY,
  ) {
    this.#most = Math.min(maxLength, first.model.config.words.positions);
  }

  read(row: Row): ReadCaption {
    const { first } = this;
    const media = mediaOf(row);
    const answers = row.turns.filter(({ role }) => role === "assistant");
    const wanted = `one medium of ${first.modality} and one text that says what it shows`;
    if (media.length !== 1 || media[0]?.modality !== first.modality || answers.length !== 1)
      throw expected("E_ROW", row.where, wanted, `${media.length} media and ${answers.length} texts`, "leave the row out");
    const text = (answers[0]?.content ?? []).filter((part): part is string => typeof part === "string").join("");
    const caption = first.ids(text.trim(), this.#most);
    if (caption.length < 2) throw expected("E_ROW", row.where, "a caption of two tokens or more", caption.length, "write a longer one");
    return { where: row.where, media, caption };
  }

  ready({ where, caption }: ReadCaption, [features]: readonly Media[]): Pair {
    if (!features || !("data" in features) || features.shape.length !== 2)
      throw expected("E_SHAPE", "the first stage", "features that are rows, (S,d)", `[${features?.shape}]`, 'take select "all" or "patch"');
    return { where, features, caption, length: caption.length, scored: caption.length - 1 };
  }
}

type Parameters = Pick<ModelInTraining, "parameters">;

interface Step {
  window: Window<Pair>;
  pairs: PairsWindow;
}

/** Windows of the order, each compared when its step has come. */
function comparing(first: FirstStage, order: Ahead<Pair>, seed: number): Windows<Step> {
  const { model, begin } = first;
  return {
    async next(step, signal) {
      const window = await order.next(step, signal);
      const { ready } = window;
      if (ready.length < 2)
        throw expected(
          "E_DATA",
          "represent",
          "at least two usable rows in a batch",
          ready.length,
          "raise the batch, or mend the rows that were reported",
        );
      return {
        window,
        pairs: await pairsOf(model, { features: stackedRows(ready), captions: ready.map(({ caption }) => caption) }, { begin, seed, step }),
      };
    },
    end: () => order.end(),
  };
}

function stackedRows(ready: readonly Pair[]): { data: Float32Array; shape: [number, number, number] } {
  const [S, d] = (ready[0] as Pair).features.shape as [number, number];
  const data = new Float32Array(ready.length * S * d);
  for (const [i, { features }] of ready.entries()) {
    if (String(features.shape) !== String([S, d]))
      throw expected(
        "E_SHAPE",
        "represent",
        `media of one shape, whose features are [${S},${d}]`,
        `[${features.shape}]`,
        "cut the media to one length",
      );
    data.set(features.data, i * S * d);
  }
  return { data, shape: [ready.length, S, d] };
}

function traineeOf({ model }: FirstStage): Trainee<Step> & Parameters {
  return {
    parameters: [...model.namedParameters()].filter(([, tensor]) => tensor.requiresGrad),
    losses: ({ pairs }) => [() => pairsLoss(model, pairs)],
    items: ({ window }) => window.ready.reduce((n, { length }) => n + length, 0),
    names: ({ window }) => window.ready.map(({ where }) => where),
    training: (on) => void model.train(on),
  };
}

/** first-stage.json, all weights, the tokenizer's files, and the bridge. */
const keptOf = (first: FirstStage): Kept => ({
  write: (folder, target) => writeFirstStage(first, folder, target),
  restore: (run) => restoreFirstStage(first, run),
});
