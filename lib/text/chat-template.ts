// Chat templates are Jinja programs that come with a tokenizer: messages in, the exact prompt text out.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { isObject, shown } from "../core/checks.js";
import { AnymalError } from "../core/errors.js";
import { readPlainSync } from "../core/plain-file.js";
import { Template } from "./jinja/template.js";
import { Dict, fromJs, List, PartsFault, TemplateFault, type Value } from "./jinja/values.js";

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

/** Names of apply_chat_template's own arguments, which no template reads; as variables they would change nothing. */
const NO_VARIABLES: Readonly<Record<string, string>> = {
  messages: "messages are the first argument",
  conversation: "messages are the first argument",
  add_generation_prompt: 'did you mean "addGenerationPrompt"?',
  continue_final_message: "cut the rendered text behind the last message's content",
  tokenize: "the result is text: encode(text, { addSpecialTokens: false }) makes ids of it",
  return_tensors: "the result is text: encode(text, { addSpecialTokens: false }) makes ids of it",
  return_dict: "the result is text: encode(text, { addSpecialTokens: false }) makes ids of it",
  padding: "the result is text: encodeBatch(texts) pads",
  truncation: "the result is text: cut its ids",
  max_length: "the result is text: cut its ids",
  chat_template: "new ChatTemplate(source) takes another template",
};

/** E_CHAT_TEMPLATE: a template that cannot be parsed or run, or refuses these messages. */
export class ChatTemplateError extends AnymalError {
  override readonly name = "ChatTemplateError";
  constructor(message: string, options?: ErrorOptions) {
    super("E_CHAT_TEMPLATE", `chat template: ${message}`, options);
  }
}

/**
 * A chat template in Jinja: render() writes messages as the text that a model was trained on. Throws E_CHAT_TEMPLATE where the source is none or
 * asks for what is not there.
 */
export class ChatTemplate {
  readonly #template: Template;
  #wantsParts: boolean | undefined;

  constructor(
    readonly source: string,
    private readonly specialTokens: Readonly<Record<string, string>> = {},
  ) {
    if (typeof source !== "string") throw new ChatTemplateError(`expected a Jinja template as text, got ${typeof source}`);
    if (source.length > LONGEST)
      throw new ChatTemplateError(`expected a Jinja template of at most ${LONGEST} characters, got ${source.length}`);
    try {
      this.#template = new Template(source);
    } catch (cause) {
      throw new ChatTemplateError(`expected a Jinja template, got one that does not parse (${(cause as Error).message})`, { cause });
    }
  }

  /** chat_template.jinja, or "chat_template" of tokenizer_config.json: one text, or a list of named ones of which "default" counts. */
  static sourceIn(folder: string, config: Readonly<Record<string, unknown>>): string | undefined {
    const file = join(folder, "chat_template.jinja");
    if (existsSync(file)) return readPlainSync(file, { most: LARGEST, linksInside: true }).toString();
    const inline: unknown = config.chat_template ?? undefined;
    if (inline === undefined || typeof inline === "string") return inline;
    if (!Array.isArray(inline)) throw new ChatTemplateError(`expected chat_template to be a text or a list, got ${shown(inline)}`);
    const named = inline.map((entry: unknown) => {
      const { name, template } = isObject(entry) ? entry : {};
      if (typeof name !== "string" || typeof template !== "string")
        throw new ChatTemplateError(`expected chat_template as a list of {name, template}, got ${shown(entry)} in it`);
      return { name, template };
    });
    return (named.find(({ name }) => name === "default") ?? named[0])?.template;
  }

  /**
   * The prompt, as transformers renders it. Two things differ on purpose: text goes into a template that reads parts alone as one part of text,
   * and a list of parts is refused where the template would print it as a list.
   *
   * Throws E_CHAT_TEMPLATE with the template's own words when it refuses the conversation, and where it computes for too long.
   */
  render(messages: readonly Message[], options: ChatOptions = {}): string {
    for (const [name, next] of Object.entries(NO_VARIABLES))
      if (options[name] !== undefined)
        throw new ChatTemplateError(`expected addGenerationPrompt and variables of the template, got "${name}"; ${next}`);
    this.#wantsParts ??= this.#findWantsParts();
    return this.#render(this.#wantsParts ? messages.map(inParts) : messages, options);
  }

  #render(messages: readonly Message[], { addGenerationPrompt = false, ...variables }: ChatOptions): string {
    try {
      return this.#template.render(
        Object.entries({
          tools: null,
          documents: null,
          ...this.specialTokens,
          ...variables,
          messages: new List(messages.map(messageOf)),
          add_generation_prompt: addGenerationPrompt,
        }).map(([name, value]) => [name, fromJs(value)] as const),
      );
    } catch (cause) {
      if (!(cause instanceof TemplateFault)) throw cause;
      const partsInText =
        cause instanceof PartsFault || (/^can only concatenate str \(not "list"\)/.test(cause.message) && messages.some(hasParts));
      throw new ChatTemplateError(partsInText ? `expected text as each message's content, got a list of parts; ${JOIN}` : cause.message, {
        cause,
      });
    }
  }

  /** Does text get lost in the template that as a part of a list is kept, as with those of vision models? */
  #findWantsParts(): boolean {
    const probe = "anymal\u2063probe";
    const keeps = (content: Message["content"]) => {
      try {
        return this.#render([{ role: "user", content }], {}).includes(probe);
      } catch {
        return false; // what it says of the real conversation counts
      }
    };
    return !keeps(probe) && keeps([{ type: "text", text: probe }]);
  }
}

/** Characters. The longest published template has 20 000. */
const LONGEST = 1 << 20;
const LARGEST = 4 * LONGEST; // bytes

const JOIN = 'this template takes text alone: join the parts, content: parts.map((part) => part.text).join("\\n")';

const hasParts = ({ content }: Message) => typeof content === "object" && content !== null;
const inParts = (message: Message): Message =>
  typeof message?.content === "string" ? { ...message, content: [{ type: "text", text: message.content }] } : message;

/** A message as the template sees it; a content that is no text is never printed as it is. */
function messageOf(message: Message): Value {
  const value = fromJs(message);
  const content = value instanceof Dict ? value.get("content") : undefined;
  if (!(value instanceof Dict && (content instanceof List || content instanceof Dict))) return value;
  const marked = content instanceof List ? new List(content.items, true) : new Dict(content.entries.values(), true);
  return new Dict([...value.entries.values(), ["content", marked]]);
}
