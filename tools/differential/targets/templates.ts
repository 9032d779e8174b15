// Chat templates: random conversations through templates of models, and random expressions of Jinja.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ChatTemplate, type Message } from "../../../lib/text/chat-template.js";
import type { Random } from "../../fuzz/random.js";
import type { Places, Target, Verdict } from "../target.js";
import { conversation } from "./conversations.js";
import { program } from "./programs.js";

interface Case {
  name: string;
  template: string;
  variables: { messages: Message[]; add_generation_prompt: boolean; [name: string]: unknown };
}
type Answer = { value: string } | { error: string };

const TOKENS = { bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>", pad_token: "<pad>" };

function filesIn(folder: string): [string, string][] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => /\.(jinja2?|j2)$/.test(file))
    .sort()
    .map((file) => [file, readFileSync(join(folder, file), "utf8")]);
}

function* cases(random: Random, count: number, { material }: Places): Generator<Case> {
  const files = material === undefined ? [] : filesIn(material);
  for (let i = 0; i < count; ++i) {
    const file = files.length && random.chance(0.7) ? files[i % files.length] : undefined;
    yield file ? { name: file[0], template: file[1], variables: { ...TOKENS, ...conversation(random) } } : ofProgram(random);
  }
}

function ofProgram(random: Random): Case {
  const { template, variables } = program(random);
  return { name: "program", template, variables: { ...TOKENS, ...variables, messages: [], add_generation_prompt: false } };
}

const templatesMade = new Map<string, ChatTemplate>();
function render({ template, variables }: Case): Answer & { cause?: unknown } {
  try {
    let chat = templatesMade.get(template);
    if (!chat) {
      chat = new ChatTemplate(template);
      if (templatesMade.size > 1000) templatesMade.clear();
      templatesMade.set(template, chat);
    }
    const { messages, add_generation_prompt: addGenerationPrompt, ...rest } = variables;
    return { value: chat.render(messages, { ...rest, addGenerationPrompt }) };
  } catch (error) {
    if ((error as { code?: string }).code !== "E_CHAT_TEMPLATE") throw error;
    return { error: (error as Error).message };
  }
}

/** Texts that hold an object's address or the time have no one value. */
const VARIES = /object at 0x|<generator object|<function|<bound method|<built-in method|<jinja2\.|<class /;

function compare(input: unknown, answer: unknown): Verdict {
  const [asked, theirs] = [input as Case, answer as Answer];
  const ours = render(asked);
  const kind = asked.name === "program" ? "programs" : "templates";
  const { template, variables } = asked;
  const keep = { ...(asked.name === "program" ? { template } : { file: asked.name }), variables, ...theirs };
  if ("error" in ours && "error" in theirs) return { agrees: true, what: `${kind}: both refuse`, keep };
  if ("value" in ours && "value" in theirs) {
    if (ours.value === theirs.value) return { agrees: true, what: `${kind}: the same text`, keep };
    if (VARIES.test(theirs.value)) return { agrees: true, what: `${kind}: prints an object's address` };
    if (wantsParts(asked)) return { agrees: true, what: `${kind}: text given to a template of parts alone (on purpose)` };
  }
  if ("error" in ours && "value" in theirs && /expected text as each message's content/.test(ours.error))
    return { agrees: true, what: `${kind}: parts refused where Python prints a list (on purpose)` };
  if ("value" in ours && "error" in theirs && wantsParts(asked))
    return { agrees: true, what: `${kind}: text given to a template of parts alone (on purpose)` };
  const what = "error" in ours ? "refused here alone" : "error" in theirs ? "refused by Python alone" : "another text";
  const show = (side: Answer) => ("error" in side ? side.error : JSON.stringify(side.value));
  const source = asked.name === "program" ? asked.template : asked.name;
  return {
    agrees: false,
    what: `${kind}: ${what}`,
    details: `template: ${source}\nvariables: ${JSON.stringify(asked.variables)}\nours:   ${show(ours)}\npython: ${show(theirs)}`,
  };
}

/** Does the template keep a text as a part alone? */
function wantsParts({ template, variables }: Case): boolean {
  if (!variables.messages.some(({ content }) => typeof content === "string")) return false;
  const chat = templatesMade.get(template);
  const probe = (content: Message["content"]) => {
    try {
      return chat?.render([{ role: "user", content }]);
    } catch {
      return undefined;
    }
  };
  const text = probe("probe of text");
  return (
    text !== undefined && text === probe([{ type: "text", text: "probe of text" }]) && !/content'?\]? is string|is string/.test(template)
  );
}

export const templates: Target = {
  name: "templates",
  needs: "transformers, jinja2",
  script: "templates.py",
  cases,
  question: (input) => {
    const { template, variables } = input as Case;
    return { template, variables };
  },
  compare,
};
