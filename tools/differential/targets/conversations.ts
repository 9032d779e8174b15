// Conversations as users have them: turns, tools, reasoning, parts, and odd white space.
import type { Message } from "../../../lib/text/chat-template.js";
import type { Random } from "../../fuzz/random.js";

const WORDS = [
  "Hi",
  "two  blanks",
  "líne\nbreak",
  "tab\t",
  "<b>&amp;</b>",
  "'quoted' \"twice\"",
  "back\\slash",
  "日本",
  "🙂",
  "{{ x }}",
  "[1, 2]",
  "None",
  "-1.5",
  "</think>",
  "<think>hm</think>\n\nyes",
  "\u00a0",
  "\ufeff",
  "\u0085",
  "\r\n",
];
const BLANKS = ["", "", "", " ", "  ", "\n", "\n\n  ", "\t"];

export function text(random: Random): string {
  const words = Array.from({ length: random.below(4) }, () => random.pick(WORDS));
  return random.pick(BLANKS) + words.join(" ") + random.pick(BLANKS);
}

/** What tools are called with. */
export function json(random: Random, depth = 0): unknown {
  const kind = random.below(depth > 2 ? 6 : 8);
  if (kind === 0) return null;
  if (kind === 1) return random.chance(0.5);
  if (kind === 2) return random.below(2000) - 1000;
  if (kind === 3) return random.pick([0.5, -2.25, 1e-7, 1.5e300, 0.1, 3.25, 123456.789]);
  if (kind < 6) return text(random);
  if (kind === 6) return Array.from({ length: random.below(3) }, () => json(random, depth + 1));
  return object(random, depth + 1);
}
function object(random: Random, depth = 0): Record<string, unknown> {
  const keys = ["city", "unit", "päth", "a b", "items", "1st"].filter(() => random.chance(0.4));
  return Object.fromEntries(keys.map((key) => [key, json(random, depth)]));
}

function tool(random: Random): unknown {
  const names = ["city", "unit", "count", "tags", "where"].filter(() => random.chance(0.6));
  const property = () => ({
    type: random.pick(["string", "integer", "number", "boolean", "array", "object"]),
    description: text(random),
    ...(random.chance(0.3) && { enum: ["a", "b c"] }),
    ...(random.chance(0.2) && { items: { type: "string" } }),
    ...(random.chance(0.2) && { default: json(random, 2) }),
  });
  const parameters = {
    type: "object",
    properties: Object.fromEntries(names.map((name) => [name, property()])),
    required: names.slice(0, 1),
  };
  return { type: "function", function: { name: random.pick(["get_weather", "search", "f"]), description: text(random), parameters } };
}

function content(random: Random, parts: boolean): Message["content"] {
  if (!parts) return text(random);
  const made = Array.from({ length: 1 + random.below(2) }, () => ({ type: "text", text: text(random) }) as Record<string, unknown>);
  if (random.chance(0.3)) made.unshift({ type: "image" });
  return made;
}

function answer(random: Random, parts: boolean, tools: boolean): Message[] {
  const message: Message = { role: "assistant", content: content(random, parts) };
  if (random.chance(0.15)) message[random.pick(["reasoning_content", "thinking", "reasoning"])] = text(random);
  if (!tools || random.chance(0.4)) return [message];
  const calls = Array.from({ length: 1 + random.below(2) }, (_, i) => ({
    ...(random.chance(0.7) && { id: `call_${i}abcdefg` }),
    type: "function",
    function: { name: "get_weather", arguments: random.chance(0.8) ? object(random) : JSON.stringify(object(random)) },
  }));
  message.tool_calls = calls;
  if (random.chance(0.3)) message.content = "";
  return [
    message,
    ...calls.map(({ id }) => ({ role: "tool", name: "get_weather", content: text(random), ...(id && { tool_call_id: id }) })),
  ];
}

export function conversation(random: Random): { messages: Message[]; add_generation_prompt: boolean; [name: string]: unknown } {
  const parts = random.chance(0.1);
  const tools = random.chance(0.3);
  const messages: Message[] = random.chance(0.5) ? [{ role: "system", content: content(random, parts && random.chance(0.5)) }] : [];
  for (let turns = 1 + random.below(3); turns > 0; --turns) {
    messages.push({ role: "user", content: content(random, parts) });
    if (turns > 1 || random.chance(0.5)) messages.push(...answer(random, parts, tools));
  }
  if (random.chance(0.05)) messages.splice(random.below(messages.length), 1);
  return {
    messages,
    add_generation_prompt: random.chance(0.5),
    ...(tools && { tools: Array.from({ length: 1 + random.below(2) }, () => tool(random)) }),
    ...(random.chance(0.1) && { documents: [{ title: "T", text: text(random) }] }),
    ...(random.chance(0.1) && { enable_thinking: random.chance(0.5) }),
    ...(random.chance(0.1) && { date_string: "26 Jul 2024" }),
  };
}
