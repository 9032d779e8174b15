// Answers that models wrote, mended: by rules, and by a language model as MiniGPT-4's second stage has it (arXiv 2304.10592, section 3.2).
import type { AnswerOptions } from "../../anymal/anymal.js";
import { is, isObject, type Schema } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import { parseShallow } from "../../core/json.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { readPlain } from "../../core/plain-file.js";
import { shown } from "../../data/records.js";
import { reasonOf } from "../../media/error.js";
import { type Answering, answersTo } from "../asked.js";
import { withAnswers } from "./answers.js";
import type { CurationStep, CurationVerdict } from "./step.js";

/** What is looked for in an answer, and what becomes of it: other words, or the whole row goes. */
export interface RepairRule {
  pattern: RegExp;
  /** As String.replace has it; default: nothing stands in its place. */
  replace?: string;
  /** Why a row goes that has it. */
  drop?: string;
}
const RULE = optionNames<RepairRule>({ pattern: true, replace: true, drop: true });

/** Applies rules to every answer, one after the other. A row whose answer is nothing afterwards is dropped. */
export function repairRules(rules: readonly RepairRule[]): CurationStep {
  for (const rule of rules) {
    checkOptions("repairRules", rule, RULE);
    if (!(rule.pattern instanceof RegExp)) throw expected("E_VALUE", "repairRules: pattern", "a regular expression", String(rule.pattern));
  }
  const every = rules.map((rule) => ({ ...rule, all: new RegExp(rule.pattern.source, `${rule.pattern.flags.replace(/[gy]/g, "")}g`) }));
  return {
    name: "rules",
    look: async (items) =>
      Promise.all(
        items.map(async ({ fields }): Promise<CurationVerdict> => {
          let drop: string | undefined;
          const mended = await withAnswers(fields, (text) => {
            let said = text;
            for (const { all, replace = "", drop: why } of every) {
              if (why === undefined) said = said.replace(all, replace);
              else if (said.search(all) >= 0) drop ??= why;
            }
            if (!said.trim()) drop ??= "an answer of which the rules left nothing";
            return said;
          });
          if (drop !== undefined) return { drop };
          return mended === fields ? undefined : { fields: mended };
        }),
      ),
  };
}

const LARGEST_RULES = 4 * 2 ** 20;
const WRITTEN: Schema = {
  pattern: is.text,
  flags: is.text,
  replace: { wanted: "a text", fits: (v) => typeof v === "string" },
  drop: is.text,
};

/** Rules from a JSON file: a list of { pattern, flags, replace } or { pattern, flags, drop }. Throws E_DATA with the rule that is wrong. */
export async function readRules(path: string): Promise<RepairRule[]> {
  const wrong = (wanted: string, got: string) => expected("E_DATA", path, wanted, got, 'write [{ "pattern": "…", "replace": "…" }]');
  let list: unknown;
  try {
    list = parseShallow((await readPlain(path, { most: LARGEST_RULES })).toString("utf8"));
  } catch (cause) {
    throw wrong("JSON", reasonOf(cause));
  }
  if (!Array.isArray(list)) throw wrong("a list of rules", shown(list));
  return list.map((rule, i) => {
    const at = `rule ${i + 1}`;
    if (!isObject(rule)) throw wrong(`${at} as { pattern, replace }`, shown(rule));
    for (const [key, value] of Object.entries(rule)) {
      const check = Object.hasOwn(WRITTEN, key) ? WRITTEN[key] : undefined;
      if (!check) throw wrong(`${at} of ${Object.keys(WRITTEN).join(", ")}`, key);
      if (!check.fits(value)) throw wrong(`${key} of ${at} as ${check.wanted}`, shown(value));
    }
    const { pattern, flags = "", replace, drop } = rule as { pattern?: string; flags?: string; replace?: string; drop?: string };
    if (pattern === undefined) throw wrong(`${at} with a pattern`, "none");
    try {
      const made = new RegExp(pattern, flags);
      return { pattern: made, ...(replace !== undefined && { replace }), ...(drop !== undefined && { drop }) };
    } catch (cause) {
      throw wrong(`${at} as a regular expression`, reasonOf(cause));
    }
  });
}

/** MiniGPT-4's words to the model that mends. */
export const REPAIR_INSTRUCTION =
  "Fix the error in the given paragraph. Remove any repeating sentences, meaningless characters, not English sentences, and so on. Remove unnecessary repetition. Rewrite any incomplete sentences. Return directly the results without explanation. Return directly the input paragraph if it is already correct without explanation.";

export interface RepairOptions {
  /** Put before each answer. Default: REPAIR_INSTRUCTION. */
  instruction?: string;
  /** How the model answers; default: its most probable words, at most 512 tokens. */
  answering?: Pick<AnswerOptions, "maxNewTokens" | "temperature" | "topP" | "seed">;
}
const OPTIONS = optionNames<RepairOptions>({ instruction: true, answering: true });

/** Has a language model write every answer anew. An answer that it cannot be asked about, or has no words for, stays as it is. */
export function repairBy(model: Answering, options: RepairOptions = {}): CurationStep {
  checkOptions("repairBy", options, OPTIONS);
  const { instruction = REPAIR_INSTRUCTION, answering = { maxNewTokens: 512 } } = options;
  return {
    name: "repair",
    async look(items, { signal }) {
      const asked: string[] = [];
      const ask = (text: string): string => {
        asked.push(text);
        return text;
      };
      for (const { fields } of items) await withAnswers(fields, ask);
      const prompts = asked.map((text) => `${instruction}\n\n${text}`);
      const said = await answersTo(model, prompts, { ...answering, ...(signal && { signal }) }, () => undefined);
      let next = 0;
      const verdicts: CurationVerdict[] = [];
      for (const { fields } of items) {
        const mended = await withAnswers(fields, (text) => said[next++]?.trim() || text);
        verdicts.push(mended === fields ? undefined : { fields: mended });
      }
      return verdicts;
    },
  };
}
