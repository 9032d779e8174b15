// Stage 2 (arXiv 2309.16058, section 3.2): on questions about media and their answers, the projections go on and LoRA bends the language model; the
// loss is on answers alone.
import type { AnyMAL } from "../anymal/anymal.js";
import { expected } from "../core/errors.js";
import { readConversations } from "../data/conversations.js";
import type { Row } from "../data/row.js";
import type { Modality } from "../media/part.js";
import { alone } from "./busy-model.js";
import { type InstructInput, instructRecipe, type LoraRecipe } from "./recipe.js";
import { described, readingOptions, rowsOf, type StageOptions, stage, stoppable, toldMedia } from "./stage.js";
import type { TrainStep } from "./step-report.js";

export interface InstructOptions extends StageOptions, InstructInput {
  /** Whose projections train. Default: those of all media in the data. */
  modalities?: readonly Modality[];
}

/** Trains projections and, unless `lora` is false, LoRA on conversations. Yields every step, one step late. */
export function instruct(model: AnyMAL, options: InstructOptions): AsyncGenerator<TrainStep> {
  const steps = () => instruction(model, options);
  return stoppable(options.signal, alone("instruct", [model, model.llm], steps));
}

async function* instruction(model: AnyMAL, options: InstructOptions): AsyncGenerator<TrainStep> {
  const { data, output, resume, signal, cache, onProblem, media, confine, adapters, modalities: chosen, ...rest } = options;
  const recipe = instructRecipe(rest, "instruct", model.adapter?.config, model.system);
  const rows = await rowsOf(data, (path) => readConversations(path, readingOptions(model, recipe, options)));
  const modalities = chosen ?? present(model, rows);
  for (const modality of modalities) model.encoder(modality);
  if (!(recipe.opens ?? modalities).length && !recipe.lora)
    throw expected("E_RECIPE", "instruct", "something to train", "text alone and no LoRA", "leave lora on, or add rows with media");
  const { lora, seed } = recipe;
  const put = lora && !goesOn(model, lora) ? () => model.addAdapter(lora, { seed }) : undefined;
  const adapter = lora ? { dropout: lora.dropout, put } : undefined;
  const told = {
    ...toldMedia(media),
    instruct: { ...described(data), ...(adapters && { adapters: [...adapters] }), ...(chosen && { modalities: [...chosen] }), ...recipe },
  };
  yield* stage(model, options, { recipe, what: "instruct", at: "instruct", told, rows, modalities, adapter });
}

/** Of the model's modalities, those that the rows hold; others are named when their row comes up. */
function present(model: AnyMAL, rows: readonly Row[]): Modality[] {
  const seen = new Set<string>();
  for (const { turns } of rows)
    for (const { content } of turns) for (const part of content) if (typeof part !== "string") seen.add(part.modality);
  return model.modalities.filter((modality) => seen.has(modality));
}

/** Branches that are there already go on, if they are those that were asked for. */
function goesOn({ adapter }: AnyMAL, lora: LoraRecipe): boolean {
  if (!adapter) return false;
  adapter.checkAttached();
  const { config } = adapter;
  const keys = ["r", "alpha", "dropout", "targetModules"] as const;
  const other = keys.filter((key) => (key === "targetModules" ? !adapter.reachesAs(lora[key]) : lora[key] !== config[key]));
  const said = (of: LoraRecipe) => other.map((key) => `${key} ${JSON.stringify(of[key])}`).join(" and ");
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
