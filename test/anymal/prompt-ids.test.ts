// Tokens beyond the language model's table are told where the text is read, with name, id and rows.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { conversationOf, encodePrompt } from "../../lib/anymal/prompt.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { caseFolder } from "../case.js";

const tokenizer = Tokenizer.fromPretrained(caseFolder("tokenizer-llama2"));
const ask = (rows: number) => encodePrompt(tokenizer, conversationOf("star"), { generation: true, where: "rows.jsonl:7", rows });

test("an id that the table has no row for", () => {
  const ids = ask(Number.POSITIVE_INFINITY).parts.flatMap((part) => ("ids" in part ? Array.from(part.ids) : []));
  const highest = Math.max(...ids);
  assert.ok(ask(highest + 1).parts.length);
  assert.throws(
    () => ask(highest),
    (error: Error & { code?: string }) =>
      error.code === "E_PROMPT" &&
      error.message.startsWith(`rows.jsonl:7: expected tokens that the model has an embedding of, ids below ${highest}`) &&
      error.message.includes(`${JSON.stringify(tokenizer.decode([highest]))}, id ${highest}`),
  );
});

test.run();
