// Training rows: conversations through random chat templates, ids and labels; tables of captions.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { readCaptions } from "../../../lib/data/captions.js";
import type { MediaPart } from "../../../lib/media/part.js";
import { pathOf } from "../../../lib/media/source.js";
import type { Message } from "../../../lib/text/chat-template.js";
import { IGNORE, promptParts } from "../../../lib/text/prompt.js";
import { Tokenizer } from "../../../lib/text/tokenizer.js";
import type { Random } from "../../fuzz/random.js";
import { type Places, type Seeded, seeded, type Target, type Verdict } from "../target.js";
import { text } from "./conversations.js";

type Json = Record<string, unknown>;
interface Talk {
  /** Holds the tokenizer and its template. */
  folder: string;
  template: string;
  messages: (Message & { content: string })[];
}
type Case = Talk | Seeded;

const FIXTURES = fileURLToPath(new URL("../../../test/fixtures", import.meta.url));
const CONTROLS = ["<|im_start|>", "<|im_end|>", "<|head|>", "<|/head|>", "<|eot|>"];

/** tokenizer.json files in which a conversation may stand. */
function tokenizers(): Json[] {
  return readdirSync(FIXTURES, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith("tokenizer.json"))
    .sort()
    .map((file) => JSON.parse(readFileSync(join(FIXTURES, file), "utf8")) as Json)
    .filter((json) => (json.model as Json).type === "BPE");
}

interface Style {
  before: (role: string) => string;
  /** Of user and system, and of the assistant; in Jinja. */
  end: string;
  closing: string;
  after: string;
  /** White space between the prompt and the answer, which the model writes. */
  gap: string;
}
const quoted = (written: string) => JSON.stringify(written);
const STYLES: readonly Style[] = [
  { before: (role) => `'<|im_start|>' + ${role} + '\\n'`, end: "'<|im_end|>\\n'", closing: "'<|im_end|>'", after: "\\n", gap: "" },
  { before: (role) => `'<|head|>' + ${role} + '<|/head|>\\n\\n'`, end: "'<|eot|>'", closing: "'<|eot|>'", after: "", gap: "" },
  {
    before: (role) => `('' if ${role} == 'assistant' else bos_token + '[INST] ')`,
    end: "' [/INST]'",
    closing: "' ' + eos_token",
    after: "",
    gap: " ",
  },
  { before: (role) => `'### ' + ${role} + ':\\n'`, end: "'\\n\\n'", closing: "eos_token", after: "\\n\\n", gap: "" },
  { before: (role) => `'<|' + ${role} + '|>\\n'`, end: "eos_token + '\\n'", closing: "eos_token", after: "\\n", gap: "" },
  { before: (role) => `${role} | upper + ': '`, end: "'\\n'", closing: "eos_token", after: "", gap: "" },
  { before: (role) => `${role} | upper + ':'`, end: "' '", closing: "eos_token", after: "", gap: " " },
];

/** What the assistant says stands in a generation block, with the token that ends it. */
function templateOf(random: Random): string {
  const { before, end, closing, after, gap } = random.pick(STYLES);
  const content = `m.content${random.pick(["", "", " | trim"])}`;
  const begin = random.chance(0.4) ? "{{ bos_token }}" : "";
  return (
    `${begin}{% for m in messages %}{{ ${before("m.role")} }}{% if m.role == 'assistant' %}` +
    `{% generation %}{{ ${quoted(gap)} + (${content}) + ${closing} }}{% endgeneration %}{{ '${after}' }}` +
    `{% else %}{{ (${content}) + ${end} }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ ${before("'assistant'")} }}{% endif %}`
  );
}

function folderOf(random: Random, json: Json, template: string, folder: string): void {
  const { vocab } = json.model as { vocab: Record<string, number> };
  const old = json.added_tokens as { id: number; content: string }[];
  let next = Math.max(...Object.values(vocab), ...old.map(({ id }) => id)) + 1;
  const flags = { single_word: false, lstrip: false, rstrip: random.chance(0.1), normalized: false, special: true };
  const [bos, eos] = ["<s>", "</s>"];
  const added = [...CONTROLS, bos, eos]
    .filter((content) => !old.some((token) => token.content === content))
    .map((content) => ({ id: vocab[content] ?? next++, content, ...flags }));
  mkdirSync(folder, { recursive: true });
  const config = { tokenizer_class: "PreTrainedTokenizerFast", bos_token: bos, eos_token: eos, chat_template: template };
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify({ ...json, added_tokens: [...old, ...added] }));
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(config));
}

function talk(random: Random): Talk["messages"] {
  const words = () => [text(random), text(random), text(random)].find((each) => random.chance(0.02) || each.trim()) ?? "x";
  const said = (role: string) => ({ role, content: role === "assistant" ? words() : text(random) });
  const turns = Array.from({ length: 1 + random.below(3) }, () => [said("user"), said("assistant")]).flat();
  return random.chance(0.4) ? [said("system"), ...turns] : turns;
}

function* cases(random: Random, count: number, places: Places): Generator<Case> {
  const all = tokenizers();
  let [folder, template] = ["", ""];
  let talks = 0;
  for (const one of seeded(random, count, places)) {
    if (random.chance(0.2)) {
      yield one;
      continue;
    }
    if (talks++ % 8 === 0) {
      [folder, template] = [`${one.path}-tokenizer`, templateOf(random)];
      folderOf(random, random.pick(all), template, folder);
    }
    yield { folder, template, messages: talk(random) };
  }
}

let last: { folder: string; tokenizer: Tokenizer } | undefined;
function tokenizerOf(folder: string): Tokenizer {
  if (last?.folder !== folder) last = { folder, tokenizer: Tokenizer.fromPretrained(folder) };
  return last.tokenizer;
}

async function compare(input: unknown, answer: unknown): Promise<Verdict> {
  const { value, error } = answer as { value?: unknown; error?: string };
  if ("folder" in (input as Case)) return compareTalk(input as Talk, value as { ids: number[]; said: number[] } | undefined, error);
  if (!value) return { agrees: false, what: "captions: none were written", details: error ?? "" };
  return compareCaptions(input as Seeded, value as Table);
}

/** What rows may not say here, where transformers goes on. */
const REFUSED: readonly [RegExp, string][] = [
  [/text in the assistant's turn, got none/, "an answer of nothing"],
  [/text without control tokens/, "a text that spells a control token"],
];

function compareTalk({ folder, template, messages }: Talk, theirs: { ids: number[]; said: number[] } | undefined, error?: string): Verdict {
  const details = (what: string) => `${what}\n${template}\n${JSON.stringify(messages)}\n${folder}`;
  const tokenizer = tokenizerOf(folder);
  let ids: number[] = [];
  let said: number[] = [];
  try {
    const turns = messages.map(({ role, content }) => ({ role, content: [content] }));
    const [part] = promptParts(tokenizer, turns, { onNotice: () => {} });
    if (!part || !("ids" in part)) throw new Error("no text");
    ids = Array.from(part.ids);
    said = ids.map((_, i) => Number((part.labels?.[i] ?? IGNORE) !== IGNORE));
  } catch (problem) {
    const { message } = problem as Error;
    const reason = REFUSED.find(([words]) => words.test(message))?.[1];
    if (reason) return { agrees: true, what: `conversations: refused: ${reason} (on purpose)` };
    return { agrees: false, what: "conversations: refused here alone", details: details(message) };
  }
  if (!theirs) return { agrees: false, what: "conversations: refused by Python alone", details: details(error ?? "") };
  const spell = (marks: number[]) =>
    ids
      .map((id) => JSON.stringify(tokenizer.decode([id])).slice(1, -1))
      .map((token, i) => (marks[i] ? `[${token}]` : token))
      .join("·");
  if (String(ids) !== String(theirs.ids))
    return { agrees: false, what: "conversations: other ids", details: details(`${ids}\n${theirs.ids}`) };
  const controls = new Set(tokenizer.specialTokens.values());
  // A token of the prompt that takes the blanks behind it (rstrip) holds the answer's first characters.
  const swallowed = theirs.said.every((mark, i) => mark === said[i] || (mark === 1 && controls.has(ids[i] as number) && said[i + 1] === 1));
  if (swallowed && String(said) !== String(theirs.said))
    return {
      agrees: true,
      what: "conversations: the prompt's last token, which took the answer's first blanks, is not scored (on purpose)",
    };
  if (String(said) !== String(theirs.said))
    return { agrees: false, what: "conversations: other labels", details: details(`ours ${spell(said)}\nwant ${spell(theirs.said)}`) };
  return { agrees: true, what: "conversations: the same ids and labels" };
}

interface Table {
  file: string;
  named: string[];
  rows: [file: string, caption: string][];
}
async function compareCaptions({ path, seed }: Seeded, { file, named, rows }: Table): Promise<Verdict> {
  const modality = named.includes("file_name") ? ({ modality: "image" } as const) : {};
  const got = await readCaptions(file, { ...modality, prompts: [""] }).catch((problem: Error) => problem);
  const fail = (what: string) => ({ agrees: false, what: "captions: other rows", details: `${what} (seed ${seed}, ${file})` });
  if (got instanceof Error) return fail(got.message);
  const ours = got.map(({ turns }) => {
    const medium = turns[0]?.content.find((part) => typeof part !== "string") as MediaPart;
    return [relative(path, pathOf(medium.source as string) as string), turns[1]?.content[0]];
  });
  const kind = file.replace(/.*\./, "");
  const newlines = (all: unknown) => JSON.stringify(all).replaceAll("\\r\\n", "\\n");
  if (kind === "csv" && JSON.stringify(ours) !== JSON.stringify(rows) && JSON.stringify(ours) === newlines(rows))
    return { agrees: true, what: "captions: CRLF within a field of CSV is LF (on purpose)" };
  if (JSON.stringify(ours) !== JSON.stringify(rows)) return fail(`${JSON.stringify(ours)}, want ${JSON.stringify(rows)}`);
  return { agrees: true, what: `captions: the same rows of ${kind}` };
}

export const rows: Target = {
  name: "rows",
  needs: "transformers, jinja2",
  script: "rows.py",
  cases,
  question: (input) => ("folder" in (input as Case) ? { folder: (input as Talk).folder, messages: (input as Talk).messages } : input),
  compare,
};
