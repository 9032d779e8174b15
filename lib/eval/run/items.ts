// A task's questions, checked: each has what its prompt and score need, and its media are there.
import { existsSync } from "node:fs";
import { join, normalize, sep } from "node:path";
import { shown } from "../../core/checks.js";
import { AnymalError, expected } from "../../core/errors.js";
import { type BadRowOptions, Problems } from "../../data/records.js";
import { DataError } from "../../data/row.js";
import { BUILT_IN } from "../../media/kinds/index.js";
import type { MediaPart } from "../../media/part.js";
import { TaskFolder } from "../tasks/folder.js";
import type { EvalTask, Item } from "../tasks/task.js";

/** A medium that is there: its path in the data's folder, and what its part is told. */
export interface FoundMedium {
  modality: string;
  path: string;
  options?: Readonly<Record<string, number>>;
}
export interface FoundItem extends Omit<Item, "media"> {
  media: readonly FoundMedium[];
}
export interface Items {
  /** Where paths of media begin. */
  root: string;
  split: string;
  items: readonly FoundItem[];
  /** Questions that were left out for what is wrong with them. */
  leftOut: number;
}

export interface ItemOptions extends BadRowOptions {
  /** Of the task's splits. Default: the first. */
  split?: string | undefined;
  /** Only the first so many. */
  limit?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** Rejects with E_DATA where the folder has no questions, with E_ROW on a wrong one unless such are left out. */
export async function readItems(task: EvalTask, data: string, options: ItemOptions = {}): Promise<Items> {
  const { splits = [""] } = task;
  const { split = splits[0] as string, limit = Infinity, signal, ...badRows } = options;
  if (!splits.includes(split))
    throw expected("E_VALUE", `${task.name}: split`, task.splits ? `one of ${splits.join(", ")}` : "none", `"${split}"`, "leave it out");
  const folder = new TaskFolder(data, task, signal);
  const problems = new Problems(data, badRows);
  const items: FoundItem[] = [];
  const ids = new Set<string>();
  for await (const item of task.read(folder, split)) {
    if (items.length >= limit) break;
    signal?.throwIfAborted();
    const found = item instanceof DataError ? item : foundItem(task, folder, item, ids);
    if (found instanceof DataError) problems.add(found);
    else items.push(found);
  }
  problems.finish(items.length);
  return { root: folder.root, split, items, leftOut: problems.count };
}

function foundItem(task: EvalTask, folder: TaskFolder, item: Item, ids: Set<string>): FoundItem | DataError {
  const bad = (wanted: string, got: string, remedy: string) =>
    new DataError("E_ROW", `${folder.path}: ${task.name} ${item.id}`, undefined, wanted, got, remedy);
  const remedy = "mend it, or leave it out with onBadRow: 'skip'";
  const problem = docProblem(task, item.doc);
  if (problem) return bad(...problem, remedy);
  if (ids.has(item.id)) return bad("each question once", `a second ${item.id}`, remedy);
  const media: FoundMedium[] = [];
  for (const { modality, places, options } of item.media) {
    const out = places.find((one) => normalize(one).split(sep)[0] === "..");
    if (out !== undefined) return bad(`its ${modality} in the data's folder`, out, remedy);
    const place = places.find((one) => existsSync(join(folder.root, one)));
    if (place === undefined)
      return bad(`its ${modality} as ${places[0]}`, "no such file", `put it there, or leave it out with onBadRow: 'skip'`);
    const medium = { modality, path: normalize(place), ...(options && { options }) };
    try {
      partOf(folder.root, medium);
    } catch (error) {
      if (!(error instanceof AnymalError)) throw error;
      return bad(`options of its ${modality} that can be used`, error.message, remedy);
    }
    media.push(medium);
  }
  if (!media.length) return bad(`its ${task.modality}`, "none", remedy);
  ids.add(item.id);
  return { ...item, media };
}

/** The medium as prompts have it. */
export const partOf = (root: string, { modality, path, options }: FoundMedium): MediaPart =>
  BUILT_IN.get(modality)?.part(join(root, path), options ?? {}) as MediaPart;

/** What is wrong with what a question's prompt and score need: expected, got. */
export function docProblem(task: EvalTask, doc: object): [wanted: string, got: string] | undefined {
  const fields = doc as Readonly<Record<string, unknown>>;
  for (const [name, { wanted, fits }] of Object.entries(task.doc))
    if (!fits(fields[name])) return [`${name} to be ${wanted}`, shown(fields[name], 60)];
  return task.problem?.(doc);
}
