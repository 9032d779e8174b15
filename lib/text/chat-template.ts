// Chat templates are Jinja programs that come with a tokenizer: messages in, the exact prompt text out.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { AnymalError } from "../core/errors.js";
import { onFileSync } from "../core/file-error.js";

export interface Message {
  role: string;
  content: string | readonly unknown[];
  [key: string]: unknown;
}

export interface ChatOptions {
  /** Ends the prompt where the assistant's answer begins. */
  addGenerationPrompt?: boolean;
  /** Whatever else the template reads, e.g. tools or date_string. */
  [variable: string]: unknown;
}

export class ChatTemplateError extends AnymalError {
  override readonly name = "ChatTemplateError";
  constructor(message: string, options?: ErrorOptions) {
    super("E_CHAT_TEMPLATE", `chat template: ${message}`, options);
  }
}

export class ChatTemplate {
  readonly #template: Template;

  constructor(
    readonly source: string,
    private readonly specialTokens: Readonly<Record<string, string>> = {},
  ) {
    try {
      this.#template = new Template(source);
      compareAsPython(this.#template.parsed);
    } catch (cause) {
      throw new ChatTemplateError(`expected a Jinja template, got one that does not parse (${(cause as Error).message})`, { cause });
    }
  }

  /** chat_template.jinja, or "chat_template" of tokenizer_config.json: one text, or a list of named ones of which "default" counts. */
  static sourceIn(folder: string, config: Readonly<Record<string, unknown>>): string | undefined {
    const file = join(folder, "chat_template.jinja");
    if (existsSync(file)) return onFileSync("to be read", file, () => readFileSync(file, "utf8"));
    const inline = config.chat_template;
    if (!Array.isArray(inline)) return inline as string | undefined;
    return (inline.find((entry) => entry.name === "default") ?? inline[0])?.template;
  }

  /** The prompt. Throws E_CHAT_TEMPLATE with the template's own words when it refuses the conversation. */
  render(messages: readonly Message[], { addGenerationPrompt = false, ...variables }: ChatOptions = {}): string {
    try {
      return this.#template.render({
        ...this.specialTokens,
        ...variables,
        messages,
        add_generation_prompt: addGenerationPrompt,
        [EQUAL]: equal,
      });
    } catch (cause) {
      throw new ChatTemplateError((cause as Error).message, { cause });
    }
  }
}

const EQUAL = "__equal__";

/**
 * The interpreter compares with JavaScript's loose `==`, where '' equals false and undefined equals none; Python's do not, and LLaMA 2's template
 * tells an empty system message from none by just that. So every == and != of the parsed template becomes a call of equal().
 */
function compareAsPython(node: unknown): void {
  if (typeof node !== "object" || node === null) return;
  for (const [key, child] of Object.entries(node)) {
    compareAsPython(child);
    if (child?.type === "BinaryExpression" && (child.operator.value === "==" || child.operator.value === "!="))
      (node as Record<string, unknown>)[key] = equalityCall(child);
  }
}

interface Comparison {
  operator: { value: string };
  left: unknown;
  right: unknown;
}

function equalityCall({ operator, left, right }: Comparison): object {
  const call = { type: "CallExpression", callee: { type: "Identifier", value: EQUAL }, args: [left, right] };
  return operator.value === "==" ? call : { type: "UnaryExpression", operator: { type: "UnaryOperator", value: "not" }, argument: call };
}

/** Python's ==. Elements of lists and values of dicts arrive as {value}. */
function equal(a: unknown, b: unknown): boolean {
  const inner = (entry: unknown) => (entry as { value: unknown }).value;
  const numeric = (v: unknown) => typeof v === "number" || typeof v === "boolean";
  if (numeric(a) && numeric(b)) return Number(a) === Number(b);
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((entry, i) => equal(inner(entry), inner(b[i])));
  if (a instanceof Map && b instanceof Map)
    return a.size === b.size && [...a].every(([key, entry]) => b.has(key) && equal(inner(entry), inner(b.get(key))));
  return a === b;
}
