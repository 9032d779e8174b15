// Synthetic instructions: texts to pairs, pairs to those that only the description tells, with a model that answers by a rule and a real one on the command line.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AnswerOptions } from "../../lib/anymal/anymal.js";
import type { PromptInput } from "../../lib/anymal/prompt.js";
import { readConversations } from "../../lib/data/conversations.js";
import type { DataError, Turn } from "../../lib/data/row.js";
import { MediaError } from "../../lib/media/error.js";
import type { Answering } from "../../lib/train/asked.js";
import { agreement } from "../../lib/train/synthesis/agreement.js";
import { exchangesIn, SYNTHESIS_KINDS, type SynthesisName } from "../../lib/train/synthesis/kinds.js";
import { type SynthesizeOptions, synthesize } from "../../lib/train/synthesis/synthesize.js";
import { type Toy, toy } from "../anymal/toy.js";
import { run } from "../cli/program.js";
import { rejection } from "./stages.js";

const test = suite("synthetic instructions");
let world: Toy;
test.before(async () => {
  world = await toy();
  for (const name of ["red.png", "blue.png"]) writeFileSync(world.path(name), "seen by nobody");
  const captions = ["red.png a red square", "blue.png a blue square", "red.png a square on a wall"];
  const lines = captions.map((line) => JSON.stringify({ image: line.split(" ")[0], caption: line.slice(line.indexOf(" ") + 1) }));
  writeFileSync(world.path("captions.jsonl"), lines.join("\n"));
  const images = ["red.png", "green.png"].map((file_name, id) => ({ id, file_name, width: 10, height: 20 }));
  const annotations = [0, 1].map((id) => ({ id, image_id: id, category_id: 7, bbox: [1, 2, 4, 8], iscrowd: 0 }));
  writeFileSync(world.path("boxes.json"), JSON.stringify({ images, annotations, categories: [{ id: 7, name: "ball" }] }));
});
test.after(() => world.remove());

const options = (more: Partial<SynthesizeOptions> = {}): SynthesizeOptions => ({
  captions: world.path("captions.jsonl"),
  output: world.path("rows.jsonl"),
  kinds: ["conversation"],
  ...more,
});

interface Seen {
  prompts: PromptInput[];
  options: AnswerOptions[];
}
/** Writes `text` of each medium, and answers questions by `told` or `blind`. */
function writer(text: (description: string) => string, told: Answer, blind: Answer, seen?: Seen): Answering {
  return {
    generateAll: async (prompts, how = {}) => {
      seen?.options.push(how);
      return prompts.map((prompt) => {
        seen?.prompts.push(prompt);
        if (typeof prompt !== "string") return text(String((prompt as Turn[]).at(-1)!.content[0]));
        const [question] = /[^\n]*\?/.exec(prompt)!;
        return prompt.startsWith(question) ? blind(question, "") : told(question, prompt);
      });
    },
  };
}
type Answer = (question: string, prompt: string) => string;
const colour = (text: string) => /red|blue/.exec(text)?.[0] ?? "none";
const PAIRS =
  "Question: What colour is it?\nAnswer: It is COLOUR.\nQuestion: What shape is it?\nAnswer: A square.\nQuestion: Who made it?\nAnswer: Tom.";
const written = (description: string) => PAIRS.replace("COLOUR", colour(description));
/** Everybody guesses squares, and nobody is told who made it. */
const told: Answer = (question, prompt) =>
  question.includes("colour") ? colour(prompt) : question.includes("shape") ? "square" : "unknown";
const blind: Answer = (question) => (question.includes("shape") ? "probably a square" : "green");

test("pairs are found however they are marked, and what has no partner is left out", () => {
  const one = [{ question: "what?", answer: "that" }];
  for (const text of [
    "Question: what?\nAnswer: that",
    "question: what? answer: that",
    "1. **Question:** what?\n   **Answer:** that",
    "Sure! Here it is:\n\nQ: what?\nA: that",
    "User: what?\nAssistant: that\n===\nthe end",
    "Question 1: what?\nAnswer 1: that\nQuestion 2: nobody answers",
    "Answer: to nothing\nQuestion: what?\nAnswer: that",
    "Question: about <image>?\nAnswer: a mark\nQuestion: what?\nAnswer: that",
    "Question:\nAnswer: to an empty one\nQuestion: what?\nAnswer: that\nQuestion: and?\nAnswer:",
  ])
    assert.equal(exchangesIn(text), one, text);
  assert.equal(exchangesIn("Question: is b: a letter?\nAnswer: yes: b is"), [{ question: "is b: a letter?", answer: "yes: b is" }]);
  assert.equal(exchangesIn("no form at all"), []);
});

test("answers agree by the words that say something", () => {
  assert.is(agreement("It is red.", "The colour is red"), 1);
  assert.is(agreement("red", "blue"), 0);
  assert.is(agreement("a dog on two chairs", "2 chairs and a cat"), 2 / 3);
  assert.is(agreement("Yes, a dog.", "yes"), 1);
  assert.is(agreement("yes", "no, yes"), 0);
  assert.is(agreement("it is", "it is"), 1);
  assert.is(agreement("it is", "he has"), 0);
});

test("what only the description tells becomes rows; what is answered otherwise with it, or the same without it, is left out", async () => {
  const seen: Seen = { prompts: [], options: [] };
  const report = await synthesize(writer(written, told, blind, seen), options({ seed: 5 }));
  assert.equal(report, { media: 2, texts: 2, malformed: 0, pairs: 6, unsure: 2, guessed: 2, refused: 0, kept: 2, rows: 2, unasked: 0 });
  const rows = await readConversations(options().output);
  const said = rows.map(({ turns }) => turns.map(({ content }) => content.filter((part) => typeof part === "string").join("").trim())); // biome-ignore format: one line
  assert.equal(said, ["red", "blue"].map((name) => ["What colour is it?", `It is ${name}.`])); // biome-ignore format: one line
  const [first] = readFileSync(options().output, "utf8").split("\n");
  assert.equal(JSON.parse(first!).image, "red.png");
  // Both captions of the red picture stand in one description; the checks are greedy, the texts drawn.
  const [turns] = seen.prompts as [Turn[]];
  assert.equal(turns.map(({ role }) => role), ["system", "user"]); // biome-ignore format: one line
  assert.match(String(turns[0]!.content[0]), /takes in a picture\./);
  assert.match(String(turns[1]!.content[0]), /^a red square\na square on a wall\n/);
  assert.equal(seen.options.map(({ temperature, seed }) => [temperature, seed]), [[0.7, 5], [undefined, undefined], [undefined, undefined]]); // biome-ignore format: one line
});

test("each check can be left out, and a judge of one's own sees what is left", async () => {
  const model = writer(written, told, blind);
  assert.is((await synthesize(model, options({ verify: false }))).kept, 4);
  assert.is((await synthesize(model, options({ needsMedium: false }))).kept, 4);
  const asked: string[] = [];
  const keep: SynthesizeOptions["keep"] = ({ answer }, { path }) => asked.push(answer) > 0 && path.endsWith("red.png");
  const { kept, refused, rows } = await synthesize(model, options({ keep }));
  assert.equal([kept, refused, rows, asked], [1, 1, 1, ["It is red.", "It is blue."]]);
});

test("things and places stand beside the captions of the same file, or alone", async () => {
  const seen: Seen = { prompts: [], options: [] };
  const { media } = await synthesize(writer(written, told, blind, seen), options({ annotations: world.path("boxes.json") }));
  assert.is(media, 3);
  const described = seen.prompts.filter((one) => typeof one !== "string").map((turns) => String((turns as Turn[]).at(-1)!.content[0]));
  assert.match(described[0]!, /^a red square\na square on a wall\n\nball: \[0\.100,0\.100,0\.500,0\.500\]\n\n/);
  assert.match(described[2]!, /^ball: /);
});

test("the three kinds: a detailed text is an answer by itself and is not checked; of reasoning the first pair is taken", async () => {
  const model = writer((text) => (text.includes("in detail") ? "A long text." : PAIRS), () => "nothing", () => "nothing"); // biome-ignore format: one line
  const kinds = Object.keys(SYNTHESIS_KINDS) as SynthesisName[];
  const { texts, pairs, kept } = await synthesize(model, options({ kinds, verify: false }));
  assert.equal([texts, pairs], [6, 8]); // reasoning's question is the conversation's first
  assert.is(kept, 8);
  const [, detail] = await readConversations(options().output);
  assert.equal(detail!.turns[1]!.content, ["A long text."]);
  assert.is((await synthesize(model, options({ kinds }))).kept, 2);
});

test("texts without a pair are counted; what cannot be asked is told and the others are kept", async () => {
  const all = writer(written, told, blind);
  const model: Answering = {
    generateAll: async (prompts, how) => {
      if (prompts.some((prompt) => typeof prompt !== "string" && JSON.stringify(prompt).includes("blue"))) throw new MediaError("E_MEDIA_SOURCE", "x", "a", "b", "c"); // biome-ignore format: one line
      return all.generateAll(prompts, how);
    },
  };
  const problems: DataError[] = [];
  const { unasked, kept, texts } = await synthesize(model, options({ onProblem: (problem) => problems.push(problem) }));
  assert.equal([unasked, kept, texts, problems.length], [1, 1, 1, 1]);
  assert.is((await rejection(() => synthesize(model, options()))).code, "E_MEDIA_SOURCE");
  const silent = await synthesize(writer(() => "no form", told, blind), options()); // biome-ignore format: one line
  assert.equal([silent.malformed, silent.rows, readFileSync(options().output, "utf8")], [2, 0, ""]);
});

test("options out of range are refused before anything is asked", async () => {
  const nobody: Answering = { generateAll: () => assert.unreachable() as never };
  for (const [more, code, word] of [
    [{ captions: undefined }, "E_DATA", /captions or annotations/],
    [{ kinds: ["poem"] }, "E_VALUE", /conversation, detail, reasoning/],
    [{ kinds: [] }, "E_VALUE", /at least one/],
    [{ threshold: 0 }, "E_VALUE", /threshold/],
    [{ each: 0 }, "E_VALUE", /each/],
    [{ captions: world.path("none.jsonl") }, "E_DATA", /none\.jsonl/],
  ] as const) {
    const error = await rejection(() => synthesize(nobody, options(more as Partial<SynthesizeOptions>)));
    assert.is(error.code, code);
    assert.match(error.message, word);
  }
});

test("the command asks a language model alone, and says what is longer than its context", async () => {
  const args = ["--llm", world.llm, "--captions", world.path("captions.jsonl"), "--output", world.path("cli.jsonl"), "--kind", "detail"];
  const short = await run(["synthesize", ...args, "--max-new-tokens", "4", "--json"]);
  assert.is(short.code, 1);
  assert.match(short.err, /128 tokens of the model's context/);
  const config = join(world.llm, "config.json");
  writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, "utf8")), max_position_embeddings: 1024 }));
  const { code, err, json } = await run(["synthesize", ...args, "--max-new-tokens", "4", "--json"]);
  assert.is(code, 0, err);
  const [report] = json();
  assert.equal([report!.media, report!.texts], [2, 2]);
  assert.ok(existsSync(world.path("cli.jsonl")));
  const bare = await run(["synthesize", "--llm", world.llm]);
  assert.is(bare.code, 2);
  assert.match(bare.err, /--captions or --annotations/);
});

test.run();
