// Stage 2 (arXiv 2309.16058, section 3.2): on questions about media and their answers, the projections go on and LoRA bends the language model; the
// loss is on answers alone.
import type { AnyMAL } from "../anymal/anymal.js";
import { expected } from "../core/errors.js";
import { Turns } from "../core/turns.js";
import { openRows } from "../data/open-rows.js";
import { DataError, mediaOf } from "../data/row.js";
import type { RowSource } from "../data/sources/source.js";
import type { Modality } from "../media/part.js";
import { alone } from "./busy-model.js";
import { DataFound } from "./data-found.js";
import { type InstructInput, instructRecipe, type LoraRecipe } from "./recipe.js";
import { readingOptions, recipeOptions, type StageOptions, stage, stoppable, type Watch } from "./stage.js";
import type { TrainStep } from "./step-report.js";
import { described, toldMedia, toldRecipe } from "./told.js";

export interface InstructOptions extends StageOptions, InstructInput {
  /** Whose projections train. Default: those of all media in the data. */
  modalities?: readonly Modality[];
}

/** Trains projections and, unless `lora` is false, LoRA on conversations. Yields every step, one step late. */
export function instruct(model: AnyMAL, options: InstructOptions): AsyncGenerator<TrainStep> {
  return instructing(model, options);
}

/** … while somebody looks on. */
export function instructing(model: AnyMAL, options: InstructOptions, watch?: Watch): AsyncGenerator<TrainStep> {
  const steps = () => instruction(model, options, watch);
  return stoppable(options.signal, alone("instruct", [model, model.llm], steps));
}

async function* instruction(model: AnyMAL, options: InstructOptions, watch: Watch | undefined): AsyncGenerator<TrainStep> {
  const { data, modalityWeights, signal, media, columns, adapters } = options;
  const { modalities: chosen, ...rest } = recipeOptions(options);
  const recipe = instructRecipe(rest, "instruct", model.adapter?.config, model.system);
  const reading = readingOptions(model, recipe, options);
  const found = new DataFound();
  const rows = await openRows(data, { ...reading, onFound: found.note });
  try {
    const modalities = chosen ?? (await present(model, rows, signal));
    for (const modality of modalities) model.encoder(modality);
    if (!(recipe.opens ?? modalities).length && !recipe.lora)
      throw expected("E_RECIPE", "instruct", "something to train", "text alone and no LoRA", "leave lora on, or add rows with media");
    const { lora, seed } = recipe;
    const put = lora && !goesOn(model, lora) ? () => model.addAdapter(lora, { seed }) : undefined;
    const adapter = lora ? { dropout: lora.dropout, put } : undefined;
    const told = {
      ...toldMedia(media),
      instruct: {
        ...described(data, modalityWeights, found.pinned),
        ...(adapters && { adapters: [...adapters] }),
        ...(chosen && { modalities: [...chosen] }),
        ...(columns && { columns: { ...columns } }),
        ...toldRecipe(recipe),
      },
    };
    const check = chosen || rows.held ? undefined : unseen(modalities);
    yield* stage(model, options, {
      recipe,
      what: "instruct",
      at: "instruct",
      told,
      rows,
      files: found.files,
      reading,
      modalities,
      adapter,
      watch,
      ...(check && { check }),
    });
  } finally {
    await rows.close();
  }
}

/** Rows of files that stay there are looked at so far. */
const LOOKED_AT = 1024;

/** Of the model's modalities, those that the rows hold; others are named when their row comes up. */
async function present(model: AnyMAL, rows: RowSource, signal: AbortSignal | undefined): Promise<Modality[]> {
  const seen = new Set<string>();
  const turns = new Turns();
  const step = rows.held ? 1 : Math.max(1, Math.floor(rows.length / LOOKED_AT));
  for (let i = 0; i < rows.length; i += step) {
    signal?.throwIfAborted();
    const row = await rows.row(i).catch((error) => {
      if (error instanceof DataError && error.code === "E_ROW") return undefined; // told when its turn comes
      throw error;
    });
    for (const { modality } of row ? mediaOf(row) : []) seen.add(modality);
    await turns.next();
  }
  return model.modalities.filter((modality) => seen.has(modality));
}

/** A medium whose projection would be left as it is, without anybody having said so. */
const unseen = (modalities: readonly Modality[]) => (media: readonly { modality: Modality }[]) => {
  const other = media.find(({ modality }) => !modalities.includes(modality));
  return (
    other &&
    `expected media of ${modalities.join(", ") || "no kind"}, which ${LOOKED_AT} rows from all over the data hold, got ${other.modality}, whose projection does not train; say modalities: [${[...modalities, other.modality].map((name) => `"${name}"`).join(", ")}]`
  );
};

/** Branches that are there already go on, if they are those that were asked for. */
function goesOn({ adapter }: AnyMAL, lora: LoraRecipe): boolean {
  if (!adapter) return false;
  adapter.checkAttached();
  const { config } = adapter;
  const keys = ["r", "alpha", "dropout", "targetModules", "rsLora", "dora"] as const;
  const other = keys.filter((key) => (key === "targetModules" ? !adapter.reachesAs(lora[key]) : (lora[key] ?? false) !== config[key]));
  const said = (of: LoraRecipe) => other.map((key) => `${key} ${JSON.stringify(of[key] ?? false)}`).join(" and ");
  if (other.length)
    throw expected(
      "E_LORA",
      "instruct",
      `${said(config)}, ${other.length > 1 ? "those" : "that"} of the adapter that the model has`,
      said(lora),
      `take ${other.length > 1 ? "these" : "this"}, or begin from the checkpoint of stage 1`,
    );
  return true;
}
