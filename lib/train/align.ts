// Stage 1 (arXiv 2309.16058, section 3.1): one projection per modality learns to make media readable for a language model that does not change.
import type { AnyMAL } from "../anymal/anymal.js";
import { openRows } from "../data/open-rows.js";
import type { Modality } from "../media/part.js";
import { systemOf } from "../systems/index.js";
import { alone } from "./busy-model.js";
import { DataFound } from "./data-found.js";
import { type AlignRecipe, alignRecipe } from "./recipe.js";
import { readingOptions, recipeOptions, type StageOptions, stage, stoppable, type Watch } from "./stage.js";
import type { TrainStep } from "./step-report.js";
import { described, toldMedia, toldRecipe } from "./told.js";

export interface AlignOptions extends StageOptions, Partial<AlignRecipe> {
  modality: Modality;
  /** What captions answer; one is drawn per row. */
  prompts?: readonly string[];
}

/** Trains the projection of one modality on captions. Yields every step, one step late. */
export function align(model: AnyMAL, options: AlignOptions): AsyncGenerator<TrainStep> {
  return aligning(model, options);
}

/** … while somebody looks on. */
export function aligning(model: AnyMAL, options: AlignOptions, watch?: Watch): AsyncGenerator<TrainStep> {
  const steps = () => alignment(model, options, watch);
  return stoppable(options.signal, alone(`align ${options.modality}`, [model], steps));
}

async function* alignment(model: AnyMAL, options: AlignOptions, watch: Watch | undefined): AsyncGenerator<TrainStep> {
  const { data, modalityWeights, media, columns, adapters } = options;
  const { modality, prompts, ...rest } = recipeOptions(options);
  model.encoder(modality);
  const recipe = alignRecipe(modality, rest, "align", model.system);
  const asked = prompts ?? systemOf(model.system).captionPrompts;
  const reading = {
    modality,
    seed: recipe.seed,
    ...(asked && { prompts: asked }),
    ...readingOptions(model, recipe, options),
  };
  const check = (media: readonly { modality: Modality }[]) =>
    media.some((part) => part.modality === modality) ? undefined : `expected a medium of ${modality} to align, got none; leave the row out`;
  const found = new DataFound();
  const told = () => ({
    ...toldMedia(media),
    align: {
      [modality]: {
        ...described(data, modalityWeights, found.pinned),
        ...(adapters && { adapters: [...adapters] }),
        ...(prompts && { prompts: [...prompts] }),
        ...(columns && { columns: { ...columns } }),
        ...toldRecipe(recipe),
      },
    },
  });
  const rows = await openRows(data, { ...reading, onFound: found.note });
  const named = { recipe, what: `align ${modality}`, at: "align", told: told() };
  try {
    yield* stage(model, options, { ...named, rows, files: found.files, reading, modalities: [modality], check, watch });
  } finally {
    await rows.close();
  }
}
