// Which layout a row has: those of the field's trainers, told by their columns.
import { nearest } from "../core/checks.js";
import { type Kinds, listed } from "../media/kinds/index.js";
import type { Fields } from "./messages.js";
import { isFields } from "./records.js";

export interface Layout {
  /** For people. */
  readonly about: string;
  /** What a row must have: one name of each group. */
  readonly needs: readonly (readonly string[])[];
  /** Where several have what they need, which it is. */
  readonly is?: (fields: Fields, kinds: Kinds) => boolean;
}

const first = (list: unknown): Fields => (Array.isArray(list) ? ((list.find(isFields) ?? {}) as Fields) : {});
const parts = (list: unknown): Fields[] =>
  (Array.isArray(list) ? list : []).flatMap((turn) => (isFields(turn) && Array.isArray(turn.content) ? turn.content.filter(isFields) : []));
const plurals = (fields: Fields, kinds: Kinds): boolean => [...kinds.keys()].some((name) => `${name}s` in fields);

/** The first that fits is the row's. */
export const LAYOUTS = {
  llava: {
    about: "conversations as LLaVA writes them",
    needs: [["conversations"]],
    is: (fields, kinds) => !plurals(fields, kinds) && "from" in first(fields.conversations),
  },
  "llama-factory-v1": {
    about: "messages of LLaMA-Factory v1",
    needs: [["messages"]],
    is: ({ messages }) => "loss_weight" in first(messages) || parts(messages).some((part) => "value" in part),
  },
  "ms-swift": {
    about: "messages of ms-swift",
    needs: [["messages", "conversation"]],
    is: ({ messages, conversation }) =>
      conversation !== undefined || (Array.isArray(messages) && messages.some((turn) => isFields(turn) && "loss" in turn)),
  },
  sharegpt: {
    about: "ShareGPT's conversations with columns of media (LLaMA-Factory)",
    needs: [["conversations", "messages"]],
    is: (fields, kinds) => plurals(fields, kinds) || "from" in first(fields.messages) || "conversations" in fields,
  },
  openai: { about: "OpenAI's messages", needs: [["messages"]] },
  alpaca: { about: "instructions as Alpaca writes them", needs: [["instruction"], ["output", "response"]] },
  mic: { about: "instances of MIC, with their pictures (MMICL)", needs: [["input_text"], ["output_text"]] },
  "query-response": { about: "queries with responses (ms-swift)", needs: [["query"], ["response"]] },
  "question-answer": { about: "questions with answers", needs: [["question"], ["answer"]] },
} as const satisfies Readonly<Record<string, Layout>>;
export type LayoutName = keyof typeof LAYOUTS | "captions";

const CAPTIONS = ["caption", "text"];

/** undefined where the row has none of them. `media`: columns that may name a caption's medium. */
export function layoutOf(fields: Fields, kinds: Kinds, media: readonly string[] = [...kinds.keys()]): LayoutName | undefined {
  for (const [name, { needs, is }] of Object.entries<Layout>(LAYOUTS))
    if (needs.every((group) => group.some((key) => Object.hasOwn(fields, key))) && (is?.(fields, kinds) ?? true)) return name as LayoutName;
  return [CAPTIONS, media].every((group) => group.some((key) => Object.hasOwn(fields, key))) ? "captions" : undefined;
}

/** What a row without a layout lacks of the nearest one: what was expected, and what to do. */
export function nearMiss(fields: Fields, kinds: Kinds, media: readonly string[] = [...kinds.keys()]): { expected: string; remedy: string } {
  const keys = Object.keys(fields).filter((key) => key.length < 100);
  const all: [string, Pick<Layout, "needs">][] = [...Object.entries<Layout>(LAYOUTS), ["captions", { needs: [CAPTIONS, media] }]];
  let best: { name: string; score: number; missing: string[]; renamed: string[] } | undefined;
  for (const [name, { needs }] of all) {
    const lacking = needs.filter((group) => !group.some((key) => Object.hasOwn(fields, key)));
    const renamed = lacking.flatMap((group) => {
      const key = group.map((wanted) => ({ wanted, near: nearest(wanted, keys) })).find(({ near }) => near !== undefined);
      return key ? [`"${key.near}" as "${key.wanted}"`] : [];
    });
    if (lacking.length === needs.length && renamed.length < lacking.length) continue; // one name that is nearly one is none yet
    const score = needs.length - lacking.length + 0.9 * renamed.length - 0.1 * needs.length;
    if (!best || score > best.score) best = { name, score, missing: lacking.map((group) => listed(group)), renamed };
  }
  const names = [...Object.keys(LAYOUTS), "captions"].join(", ");
  const has = (wanted: RegExp) => keys.some((key) => wanted.test(key));
  if (has(/^(image_?)?url$/i) && has(/^(text|caption)$/i) && !media.some((name) => keys.includes(name)))
    return {
      expected: "a row whose media are files, not URLs",
      remedy:
        'fetch them first: of a table as LAION\'s with img2dataset, whose shards are rows, and with its folders beside it the reader "laion"',
    };
  if (!best || best.score <= 0)
    return {
      expected: `a row of one of these layouts: ${names}`,
      remedy: 'name its columns as one of them does, or say columns: { messages: "…" }',
    };
  const expected = `a row of ${best.name}, which has ${listed(best.missing, "and")} too`;
  return {
    expected,
    remedy: best.renamed.length ? `write ${best.renamed.join(" and ")}` : `add what is missing, or write the row as one of ${names}`,
  };
}
