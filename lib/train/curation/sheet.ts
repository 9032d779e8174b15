// A page on which people accept and reject rows, as MiniGPT-4's second stage had them looked at one by one (arXiv 2304.10592, section 3.2): one file that needs
// no network, whose verdicts come back as JSON; and the step that does as they said.
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { isObject } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import { parseShallow } from "../../core/json.js";
import { readPlain } from "../../core/plain-file.js";
import type { Fields } from "../../data/messages.js";
import { writeWhole } from "../../io/whole-file.js";
import { asked } from "../report/page.js";
import { type Sample, sampleOf } from "../report/samples.js";
import { STYLE } from "../report/style.js";
import { escaped } from "../report/svg.js";
import type { CurationItem, CurationStep } from "./step.js";

/** Of one row, as the sheet's JSON has it. */
export interface RowVerdict {
  /** Of what the row says: it counts for no other. */
  digest: string;
  keep: boolean;
  note?: string;
}

const LARGEST = 256 * 2 ** 20;
/** A page with more is no pleasure. */
const MOST = 5000;

/** Of a row's fields, whatever file they lie in. */
export const digestOf = (fields: Fields): string => createHash("sha256").update(JSON.stringify(fields)).digest("hex").slice(0, 24);

/** Gathers rows, and writes the page at the end. */
export class CurationSheet {
  readonly #cards: { number: number; digest: string; sample: Sample }[] = [];

  /** Throws E_VALUE above 5000 rows. */
  async add({ number, fields, row }: CurationItem, signal?: AbortSignal): Promise<void> {
    if (this.#cards.length === MOST)
      throw expected("E_VALUE", "a sheet", `at most ${MOST} rows`, "more", "cut the file, and make a sheet of each part");
    this.#cards.push({ number, digest: digestOf(fields), sample: await sampleOf(row, signal) });
  }

  /** `file`: what the rows are of, for the page's title and its JSON. */
  async write(path: string, file: string): Promise<void> {
    const name = basename(file);
    const cards = this.#cards.map(
      ({ number, digest, sample }) =>
        `<div class="card" data-row="${number}" data-digest="${digest}">${asked(sample.question)}<p><b>${escaped(sample.answer)}</b></p>` +
        `<p class="verdict"><label><input type="radio" name="${digest}-${number}" value="keep"> accept</label> ` +
        `<label><input type="radio" name="${digest}-${number}" value="drop"> reject</label> ` +
        `<input type="text" placeholder="note" aria-label="note on row ${number}"></p><p class="soft"><small>row ${number}</small></p></div>`,
    );
    const script = scriptOf(name);
    const hash = createHash("sha256").update(script).digest("base64");
    // Nothing of what a stranger's row holds may run, or be fetched: only the script below, by its hash.
    const policy = `default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-${hash}'`;
    const html = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${escaped(name)}: accept or reject</title><style>${STYLE}${OWN}</style></head>
<body><h1>${escaped(name)}</h1><p class="soft">Accept or reject each row, then save the verdicts. Rows without a verdict are kept.</p>
<p class="bar"><button type="button" id="save">Save verdicts</button> <span id="count">0 of ${cards.length}</span></p>
<div class="grid-of">${cards.join("\n")}</div><script>${script}</script></body></html>
`;
    await writeWhole(path, html);
  }
}

const OWN = `
.verdict { display: flex; flex-wrap: wrap; gap: .4rem .9rem; align-items: center; } .verdict input[type=text] { flex: 1; min-width: 6rem; font: inherit; padding: .2rem .4rem; color: inherit; background: var(--paper); border: 1px solid var(--rule); border-radius: 6px; }
.bar { position: sticky; top: 0; background: var(--paper); padding: .6rem 0; z-index: 1; } button { font: inherit; padding: .35rem .9rem; } .card.keep { border-color: var(--good); } .card.drop { border-color: var(--bad); }
`;

/** No name of a file ends the script or says anything in it. */
const scriptOf = (name: string): string => `
"use strict";
const file = ${JSON.stringify(name).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)};
const cards = [...document.querySelectorAll("[data-digest]")];
const verdictOf = (card) => card.querySelector("input[type=radio]:checked")?.value;
const told = () => cards.filter(verdictOf);
document.addEventListener("change", () => {
  for (const card of cards) card.className = "card " + (verdictOf(card) ?? "");
  document.getElementById("count").textContent = told().length + " of " + cards.length;
});
document.getElementById("save").addEventListener("click", () => {
  const verdicts = told().map((card) => {
    const note = card.querySelector("input[type=text]").value.trim();
    return { row: Number(card.dataset.row), digest: card.dataset.digest, keep: verdictOf(card) === "keep", ...(note && { note }) };
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify({ file, verdicts }, null, 1)], { type: "application/json" }));
  link.download = file.replace(/\\.[^.]*$/, "") + ".verdicts.json";
  link.click();
});
`;

/** What a sheet has saved. Throws E_DATA where the file is none of these. */
export async function readVerdicts(path: string): Promise<RowVerdict[]> {
  const text = (await readPlain(path, { most: LARGEST })).toString("utf8");
  const wrong = (got: string) => expected("E_DATA", path, "what a sheet has saved, { file, verdicts: [{ digest, keep }] }", got);
  let value: unknown;
  try {
    value = parseShallow(text);
  } catch {
    throw wrong("text that does not parse");
  }
  const list = isObject(value) ? value.verdicts : undefined;
  if (!Array.isArray(list)) throw wrong("no verdicts");
  return list.map((one, i) => {
    if (!isObject(one) || typeof one.digest !== "string" || typeof one.keep !== "boolean") throw wrong(`verdict ${i + 1} without them`);
    return { digest: one.digest, keep: one.keep, ...(typeof one.note === "string" && { note: one.note }) };
  });
}

/** Drops what was rejected. A row that nobody has judged, or that says something else than what was judged, stays. */
export function asJudged(verdicts: readonly RowVerdict[]): CurationStep {
  const rejected = new Set(verdicts.filter(({ keep }) => !keep).map(({ digest }) => digest));
  return {
    name: "verdicts",
    look: async (items) => items.map(({ fields }) => (rejected.has(digestOf(fields)) ? { drop: "rejected on the sheet" } : undefined)),
  };
}
