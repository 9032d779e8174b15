// A run as one page that needs no network: curves, what validation found, and rows that were held out with their media, before training and after.
import { isExact } from "../../eval/exact.js";
import { bytes, duration } from "../progress.js";
import type { Look } from "../validation/judge.js";
import type { Sample, SampleMedium } from "./samples.js";
import { STYLE } from "./style.js";
import { chart, escaped, type Line, short, smoothed, sparkline } from "./svg.js";

export interface RunRecord {
  name: string;
  /** As YAML. */
  recipe: string;
  /** Lines of log.jsonl, one a step. */
  steps: readonly Readonly<Record<string, number>>[];
  looks: readonly Look[];
  samples: readonly Sample[];
}

/** Nothing of what a stranger's row holds may run, or be fetched. */
const POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
const LOOKS_LISTED = 30;

export function page({ name, recipe, steps, looks, samples }: RunRecord): string {
  const parts = [
    `<h1>${escaped(name)}</h1>`,
    facts(steps, looks),
    `<h2>Training</h2>${curves(steps, looks)}`,
    looks.length ? `<h2>Rows that were held out</h2>${scores(looks)}` : "",
    `<h2>Before and after</h2>${examples(samples, looks)}`,
    `<h2>Recipe</h2><pre class="card scroll"><code>${escaped(recipe)}</code></pre>`,
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<title>${escaped(name)}</title><style>${STYLE}</style></head>
<body>${parts.join("\n")}</body></html>
`;
}

function facts(steps: RunRecord["steps"], looks: readonly Look[]): string {
  const last = steps.at(-1);
  if (!last) return '<p class="soft">No step has been logged yet.</p>';
  const best = looks.findLast((look) => look.best);
  const told: [string, string | undefined][] = [
    ["steps", `${last.step} of ${last.total_steps}`],
    ["loss", written(last.loss)],
    ["epochs", written(last.epoch)],
    ["time", last.elapsed_time === undefined ? undefined : duration(last.elapsed_time)],
    ["most memory", last.bytes_peak === undefined ? undefined : bytes(last.bytes_peak)],
    ["best model", best && `step ${best.step}`],
  ];
  const items = told
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `<li><b>${escaped(value as string)}</b><span>${key}</span></li>`);
  return `<ul class="facts">${items.join("")}</ul>`;
}

/** A score that is no number is null in a file. */
const written = (value: number | undefined | null): string => (value === undefined || value === null ? "–" : short(value));

function curves(steps: RunRecord["steps"], looks: readonly Look[]): string {
  const of = (key: string): Line["points"] =>
    steps.flatMap((line) => (line[key] === undefined ? [] : [[line.step as number, line[key]] as const]));
  const heldOut = looks.map(({ step, scores }) => [step, scores.loss ?? Number.NaN] as const);
  const loss: Line[] = [
    { name: "each step", points: of("loss"), faint: true },
    { name: "held out", points: heldOut, dots: true },
    { name: "smoothed", points: smoothed(of("loss")) },
  ];
  const one = (key: string): Line[] => [{ name: key, points: of(key) }];
  const memory: Line[] = [
    { name: "in use", points: of("bytes_in_use") },
    { name: "most so far", points: of("bytes_peak") },
  ];
  return `<div class="grid-of">${[
    card(
      "Loss",
      steps.at(-1)?.loss,
      loss.filter(({ points }) => points.length),
    ),
    card("Learning rate", steps.at(-1)?.learning_rate, one("learning_rate"), { fromZero: true }),
    card("Norm of the gradient", steps.at(-1)?.grad_norm, one("grad_norm"), { fromZero: true }),
    card("Tokens per second", steps.at(-1)?.tokens_per_second, one("tokens_per_second"), { fromZero: true }),
    card("Memory of the device", steps.at(-1)?.bytes_in_use, memory, { fromZero: true, written: bytes }),
  ].join("")}</div>`;
}

function card(title: string, last: number | undefined, lines: readonly Line[], options: Parameters<typeof chart>[2] = {}): string {
  const value = last === undefined ? "" : (options.written ?? short)(last);
  const key = lines.map(({ name, faint }, i) => `<span class="c${faint ? 0 : i % 5}">${escaped(name)}</span>`).join("");
  const drawn = chart(lines, `${title} over ${lines[0]?.points.length ?? 0} steps`, options) || '<p class="soft">nothing to show</p>';
  return `<div class="card"><div class="head"><h3>${escaped(title)}</h3><span>${escaped(value)}</span></div>${drawn}${lines.length > 1 ? `<p class="key">${key}</p>` : ""}</div>`;
}

/** Shares go from 0 to 1, CIDEr from 0 to 10: a chart for each that is asked after, and all of them as a table. */
function scores(looks: readonly Look[]): string {
  const names = [...new Set(looks.flatMap(({ scores }) => Object.keys(scores)))];
  const charts = names
    .filter((name) => name !== "loss")
    .map((name) => {
      const points = looks.map(({ step, scores }) => [step, scores[name] ?? Number.NaN] as const);
      return card(name, points.at(-1)?.[1], [{ name, points, dots: true }], { fromZero: true });
    });
  const best = looks.findLast((look) => look.best);
  const cells = (look: Look) =>
    `<tr${look === best ? ' class="best"' : ""}><td>${look.step}</td>${names.map((name) => `<td>${escaped(written(look.scores[name]))}</td>`).join("")}</tr>`;
  const heads = names.map((name) => `<th>${escaped(name)}</th>`).join("");
  return `<div class="grid-of">${charts.join("")}</div><div class="scroll"><table><tr><th>step</th>${heads}</tr>${looks.slice(-LOOKS_LISTED).map(cells).join("")}</table></div>`;
}

function examples(samples: readonly Sample[], looks: readonly Look[]): string {
  if (!samples.length)
    return '<p class="soft">No rows were held out: <code>--validation FILE</code> shows some here, with what the model answered before training and after.</p>';
  const [first, last, best] = [looks.find(({ step }) => step === 0), looks.at(-1), looks.findLast((look) => look.best)];
  const told = [first, best, last].filter((look, i, all) => look !== undefined && all.indexOf(look) === i) as Look[];
  const nameOf = (look: Look) =>
    look === first ? "before" : look === best && look === last ? "after" : look === best ? `step ${look.step}` : "at last";
  const cards = samples.map(({ where, question, answer }, i) => {
    const said = told.map((look) => {
      const own = look.answers[i] ?? "";
      const right = isExact({ answer: own, correct: answer });
      return `<dt>${nameOf(look)}</dt><dd class="${right ? "right" : "wrong"}">${escaped(own) || "–"}</dd>`;
    });
    return `<div class="card">${asked(question)}<dl><dt>right</dt><dd>${escaped(answer)}</dd>${said.join("")}</dl><p class="soft"><small>${escaped(placeOf(where))}</small></p></div>`;
  });
  return `<div class="grid-of">${cards.join("")}</div>`;
}

/** What comes before an answer, texts and media as they look. */
export const asked = (question: Sample["question"]): string =>
  question.map((part) => (typeof part === "string" ? (part.trim() ? `<p>${escaped(part.trim())}</p>` : "") : medium(part))).join("");

/** A page is handed on: where the reader's own files lie is nobody else's business. */
const placeOf = (where: string): string => where.replace(/^.*[\\/]/, "");

/** A medium as a figure. */
export function medium({ modality, name, pictures, curves, seconds }: SampleMedium): string {
  const about = `${modality} ${name}`;
  const usable = pictures.filter((url) => /^data:image\/webp;base64,[\w+/=]+$/.test(url));
  const waves = curves.map(
    ({ name: what, lines, filled = false }) => sparkline(lines, filled, `${about}: ${what}`) + `<figcaption>${escaped(what)}</figcaption>`,
  );
  const drawn = curves.length
    ? usable.map((url) => `<img class="mel" src="${url}" alt="${escaped(about)}">`)
    : [`<div class="strip">${usable.map((url) => `<img src="${url}" alt="${escaped(about)}">`).join("")}</div>`];
  const length = seconds === undefined ? "" : ` · ${short(seconds)} s`;
  return `<figure>${waves.join("")}${drawn.join("")}<figcaption>${escaped(about + length)}</figcaption></figure>`;
}
