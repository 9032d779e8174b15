// A sheet for judges as one page without network: two answers to each question, whose is whose stands in another file. What is marked is kept by the browser
// where it may, and saved as JSON.
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { onFile } from "../core/file-error.js";
import { checkOptions, optionNames } from "../core/options.js";
import { encodeWav } from "../data/world/encode.js";
import { type FoundMedium, partOf } from "../eval/run/items.js";
import { type Predictions, readPredictions } from "../eval/run/predictions.js";
import type { EvalTask } from "../eval/tasks/task.js";
import { taskOfAnswers } from "../eval/tasks/task-file.js";
import { writeWhole } from "../io/whole-file.js";
import { loadAudio } from "../media/audio.js";
import { medium as figure } from "../train/report/page.js";
import { mediumOf } from "../train/report/samples.js";
import { STYLE } from "../train/report/style.js";
import { escaped } from "../train/report/svg.js";
import { type JudgedPair, type JudgedPairs, type PairOptions, pairsOf } from "./pairs.js";
import { SCRIPT, SHEET_STYLE } from "./sheet-script.js";
import { RUBRIC, RUBRIC_NAMES } from "./verdicts.js";

export interface JudgeSheetOptions extends PairOptions {
  /** The data's folder, so that media can be seen and heard. */
  data?: string;
  /** Tasks of one's own, of which the predictions may be. */
  tasks?: readonly EvalTask[];
  signal?: AbortSignal;
}
const OPTIONS = optionNames<JudgeSheetOptions>({ count: true, seed: true, data: true, tasks: true, signal: true });

export interface JudgeSheet {
  /** For the judges. */
  sheet: string;
  /** For nobody who judges. */
  key: string;
  pairs: number;
}

/**
 * Writes sheet.html and key.json into `output`: answers of `a` beside those of `b` to the same questions, or beside the data set's own right answers, in an
 * order that tells nothing. `a` and `b` are predictions.jsonl, or what answerTask gives back.
 */
export async function writeJudgeSheet(
  a: string | Predictions,
  b: string | Predictions | undefined,
  output: string,
  options: JudgeSheetOptions = {},
): Promise<JudgeSheet> {
  checkOptions("writeJudgeSheet", options, OPTIONS);
  const { data, tasks = [], signal, ...drawing } = options;
  const opened = async (one: string | Predictions) =>
    typeof one === "string" ? readPredictions(one, (head) => taskOfAnswers(head, one, tasks)) : one;
  const made = pairsOf(await opened(a), b === undefined ? undefined : await opened(b), drawing);
  await onFile("to be written", output, () => mkdir(output, { recursive: true }));
  const [sheet, key] = [join(output, "sheet.html"), join(output, "key.json")];
  await writeWhole(sheet, await sheetPage(made, data, signal));
  await writeWhole(key, `${JSON.stringify(made.key, null, 2)}\n`);
  return { sheet, key, pairs: made.pairs.length };
}

const hash = (script: string): string => `'sha256-${createHash("sha256").update(script).digest("base64")}'`;

/** Nothing is fetched, and no script runs but the sheet's own. */
const POLICY = `default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src ${hash(SCRIPT)}`;

async function sheetPage({ pairs, key }: JudgedPairs, data: string | undefined, signal: AbortSignal | undefined): Promise<string> {
  const cards: string[] = [];
  for (const [i, pair] of pairs.entries()) cards.push(await card(pair, i, data, signal));
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<title>${escaped(key.task)}: which answer is better?</title><style>${STYLE}${SHEET_STYLE}</style></head>
<body data-sheet="${key.sheet}"><h1>Which answer is better?</h1>
<p>Two answers to each of ${pairs.length} questions of ${escaped(key.task)}. Say which is better, and what each is worth. Keys 1, 2 and 3 choose left, equal and right for the question in view.</p>
<p class="bar"><label>Your name <input id="judge" autocomplete="off"></label> <button id="save" type="button">Save verdicts</button> <span id="count" role="status"></span></p>
${cards.join("\n")}
<script>${SCRIPT}</script></body></html>
`;
}

async function card(
  { id, question, media, left, right }: JudgedPair,
  i: number,
  data: string | undefined,
  signal: AbortSignal | undefined,
): Promise<string> {
  const shown: string[] = [];
  for (const one of media) shown.push(await seen(one, data, signal));
  const name = `p${i}`;
  const better = [
    ["left", "left is better"],
    ["tie", "equal"],
    ["right", "right is better"],
  ] as const;
  const choice = better.map(([value, label]) => radio(`${name}-better`, value, label)).join("");
  return `<section class="card" data-pair="${escaped(id)}" data-name="${name}"><h2>${i + 1}</h2>${shown.join("")}<p class="asked">${escaped(question)}</p>
<div class="two">${answer(name, "left", left)}${answer(name, "right", right)}</div>
<fieldset class="better"><legend>Which answer is better?</legend>${choice}</fieldset></section>`;
}

function answer(name: string, side: "left" | "right", text: string): string {
  const rubric = RUBRIC_NAMES.map((what) => {
    const { about, points } = RUBRIC[what];
    const radios = points.map((value) => radio(`${name}-${side}-${what}`, String(value), String(value))).join("");
    return `<fieldset><legend>${about}</legend>${radios}</fieldset>`;
  });
  return `<div><h3>${side}</h3><p class="said">${escaped(text) || "–"}</p>${rubric.join("")}</div>`;
}

const radio = (group: string, value: string, label: string): string =>
  `<label><input type="radio" name="${group}" value="${value}"> ${label}</label>`;

const LARGE = { alone: [900, 640], several: [260, 200] } as const;
/** Seconds of a sound that a page can hold. */
const LONGEST = 60;

async function seen(medium: FoundMedium, data: string | undefined, signal: AbortSignal | undefined): Promise<string> {
  if (data === undefined) return `<p class="soft">${escaped(medium.modality)}: ${escaped(medium.path)}</p>`;
  const part = partOf(data, medium);
  const drawn = figure(await mediumOf(part, signal, LARGE));
  if (part.modality !== "audio" || !("options" in part)) return drawn;
  return drawn + (await heard(part, signal));
}

/** Who judges a sound has to hear it. What does not decode is named by its figure. */
async function heard(part: ReturnType<typeof partOf>, signal: AbortSignal | undefined): Promise<string> {
  try {
    const { samples, sampleRate } = await loadAudio(part as Parameters<typeof loadAudio>[0], { ...(signal && { signal }) });
    const wav = encodeWav({ samples: samples.slice(0, LONGEST * sampleRate), sampleRate });
    return `<audio controls src="data:audio/wav;base64,${Buffer.from(wav).toString("base64")}"></audio>`;
  } catch {
    signal?.throwIfAborted();
    return "";
  }
}
