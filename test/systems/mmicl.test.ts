// MMICL: its prompts to the letter and to the token, names of pictures in texts and nobody else's control tokens, and the whole from stage to answer.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { conversationOf, encodePrompt, type PromptInput } from "../../lib/anymal/prompt.js";
import type { Demonstration } from "../../lib/data/mmicl.js";
import { type PictureForm, picturePrompt } from "../../lib/data/mmicl.js";
import type { Content } from "../../lib/data/row.js";
import { mmicl, PROXIES } from "../../lib/systems/mmicl.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import { type Color, captions, colors, square, type Toy, toy, withoutTemplate } from "../anymal/toy.js";
import { Case, caseFolder, caseNames, here } from "../case.js";
import { all, rejection } from "../train/stages.js";

const test = suite("MMICL");
let world: Toy;
let tokenizer: Tokenizer;
test.before(async () => {
  world = await toy();
  tokenizer = Tokenizer.fromPretrained(withoutTemplate(caseFolder("tokenizer-llama2"), world.path("plain")), { addedTokens: PROXIES });
});
test.after(() => world.remove());

const { written } = mmicl;
const SYSTEM = { system: "" };
const pictures = (count: number) => Array.from({ length: count }, (_, i) => square(colors[i % colors.length] as Color));
const shownAs = (content: Content, picture: string) => content.map((part) => (typeof part === "string" ? part : picture)).join("");
interface Prompt {
  style: PictureForm | "in_context";
  images: number;
  question: string;
  items: [string, string][];
  text: string;
}
const contentOf = ({ style, images, question, items }: Prompt): Content => {
  if (style !== "in_context") return picturePrompt(pictures(images), question, style);
  const demonstrations = items.map(([asked, answer]): Demonstration => ({ question: asked, ...(answer && { answer }) }));
  return picturePrompt(pictures(images), demonstrations);
};

for (const name of caseNames(/^mmicl-prompt/)) {
  const { info } = new Case(name);
  const run: string = info.placeholder.repeat(info.tokens_per_image);

  test(`${name}: the names are those of the published code`, () => {
    assert.equal(info.special_tokens.slice(1), PROXIES);
  });

  for (const [i, prompt] of (info.prompts as Prompt[]).entries())
    test(`${name}: prompt ${i}, ${prompt.style} with ${prompt.images}, in letters and in tokens`, () => {
      const [turn] = conversationOf(contentOf(prompt), { written });
      assert.is(shownAs(turn!.content, run), prompt.text);
      const known = Tokenizer.fromPretrained(world.path("plain"), { addedTokens: info.special_tokens });
      const { parts } = encodePrompt(known, [turn!], { written, rows: Infinity, generation: true });
      const place = known.specialTokens.get(info.placeholder) as number;
      const ids = parts.flatMap((part) =>
        "ids" in part ? [...Array.from(part.ids)] : new Array<number>(info.tokens_per_image).fill(place),
      );
      const bare = prompt.text.replace(new RegExp(` *(${run}) *`, "g"), "$1"); // a picture separates words by itself
      assert.equal(ids, known.encode(bare));
    });
}

test("pictures that nobody declared are, with the names that follow, over turns, and in demonstrations as published", () => {
  const [a, b, c] = pictures(3);
  const turns = conversationOf(
    [
      { role: "user", content: [a!, b!, "what differs?"] },
      { role: "assistant", content: ["colours"] },
      { role: "user", content: ["and ", c!, " from <image0>?"] },
    ],
    { written },
  );
  assert.is(shownAs(turns[0]!.content, "P"), "image 0 is <image0>P.\nimage 1 is <image1>P.\nwhat differs?");
  assert.is(shownAs(turns[2]!.content, "P"), "and image 2 is <image2>P.\n from <image0>?");
  // Any name directly before a picture declares it, as the published data does that calls two of them <image0>.
  const [own] = conversationOf(["see <image0>", a!, ", not <image0>", b!], { written });
  assert.is(shownAs(own!.content, "P"), "see <image0>P, not <image0>P");
  const demonstrations = [{ question: "which?", answer: "a" }, { question: "which?" }];
  const shown = shownAs(picturePrompt([a!, b!], demonstrations), "P");
  const [bare] = conversationOf([a!, "which? a\n\n", b!, "which?"], { written });
  assert.is(shownAs(bare!.content, "P"), shown);
});

const encoded = (prompt: PromptInput, more = {}) =>
  encodePrompt(tokenizer, conversationOf(prompt, { written }), { written, rows: Infinity, generation: true, ...more }).parts.flatMap(
    (part): (number | string)[] => ("ids" in part ? Array.from(part.ids) : ["picture"]),
  );

test("a text names pictures that are there; other names and other control tokens are refused, or letters", () => {
  const [a, b] = pictures(2);
  const proxy = (n: number) => tokenizer.specialTokens.get(`<image${n}>`) as number;
  const ids = encoded([a!, b!, "is <image1> as <image0>?"]);
  assert.equal(
    ids.filter((id) => id === proxy(0) || id === proxy(1)),
    [proxy(0), proxy(1), proxy(1), proxy(0)],
  );
  const refused = (prompt: PromptInput, pattern: RegExp) =>
    assert.throws(
      () => encoded(prompt),
      (error: Error & { code?: string }) => error.code === "E_PROMPT" && pattern.test(error.message),
    );
  refused([a!, b!, "is <image2> there?"], /got "<image2>"; it names a medium that the prompt has not; if the letters are meant/);
  refused([a!, "see <visual_embedding>"], /text without <visual_embedding>/);
  refused("is <image0> there?", /got "<image0>"; it names a medium/);
  const { bosToken, eosToken } = tokenizer;
  for (const token of [bosToken, eosToken])
    assert.throws(() => encoded([a!, `see ${token}`]), new RegExp(`text without control tokens, got "${token}"; if the letters`));
  const letters = encoded([a!, `is <image2> or ${eosToken} as <image0>?`], { splitSpecialTokens: true });
  assert.equal([letters.includes(proxy(2)), letters.includes(tokenizer.eosTokenId as number)], [false, false]);
  assert.is(letters.filter((id) => id === proxy(0)).length, 2);
  refused(pictures(PROXIES.length + 1), /the control token "<image20>".*addedTokens/);
  assert.is(encoded(pictures(PROXIES.length)).filter((id) => id === "picture").length, PROXIES.length);
});

test("prompts of pictures say what is wrong with what they are made of", () => {
  const [a, b] = pictures(2);
  assert.throws(() => picturePrompt([], "what?"), /at least one picture/);
  assert.throws(() => picturePrompt([a!], "what?", "show" as never), /one of declare, use, got "show"/);
  assert.throws(() => picturePrompt([a!, b!], [{ question: "what?" }]), /a question for each of 2 pictures, got 1/);
  assert.throws(() => picturePrompt([a!, b!], [{ question: "what?" }, { question: "what?" }]), /an answer in demonstration 1 of 2/);
});

const assembled = (more = {}) =>
  AnyMAL.assemble({
    ...{ llm: world.llm, device: here, system: "mmicl", prompt: { ...SYSTEM, written } },
    modalities: { image: { encoder: world.clip, projector: { type: "q-former", queries: 3, layers: 2, width: 8 } } },
    ...more,
  });
const pairs = captions().map(({ where, turns: [question, answer] }, i) => ({
  where,
  turns: [{ ...question!, content: [square(colors[(i + 1) % colors.length]!), ...question!.content, "in <image1>"] }, answer!],
}));
const numbers = { data: pairs, batch: 4, warmupSteps: 0, learningRate: 1e-2, schedule: "constant" } as const;
const ask = (model: AnyMAL) =>
  model.generateAll([["see ", square("red")], [square("blue"), square("red"), "<image0> or <image1>?"], "see "], { maxNewTokens: 4 });

test("aligned, taught on pairs, saved, loaded: it answers the same, and a run goes on to the bit", async () => {
  using model = await assembled();
  assert.is((await all(align(model, { ...numbers, data: captions(), steps: 1, modality: "image" }))).length, 1);
  const output = world.path("mmicl-run");
  const steps = await all(instruct(model, { ...numbers, steps: 4, output }));
  assert.ok(steps.at(-1)!.loss < steps[0]!.loss);
  const want = await ask(model);
  using again = await AnyMAL.fromPretrained(output, { device: here });
  assert.equal([again.system, again.addedTokens, again.prompt.written], ["mmicl", [...PROXIES], written]);
  assert.equal(await ask(again), want);

  const halves = world.path("mmicl-halves");
  const bits = async (folder: string) => {
    using trained = await AnyMAL.fromPretrained(folder, { device: here });
    const weights = [...trained.llm.namedParameters("llm"), ...trained.projector("image").namedParameters("image")];
    return Promise.all(weights.map(async ([name, tensor]) => [name, Buffer.from(await tensor.bytes()).toString("base64")]));
  };
  for (const [stop, resume] of [
    [2, false],
    [undefined, true],
  ] as const) {
    using half = await assembled();
    await all(align(half, { ...numbers, data: captions(), steps: 1, modality: "image" }));
    const ended = new AbortController();
    for await (const { step } of instruct(half, { ...numbers, steps: 4, output: halves, resume, signal: ended.signal }))
      if (step === stop) ended.abort();
  }
  assert.equal(await bits(halves), await bits(output));
});

test("through LoRA the same two layers train, and nothing of the language model itself", async () => {
  using model = await assembled({ quantization: "nf4" });
  await all(instruct(model, { ...numbers, steps: 1, lora: {} }));
  const names = Array.from(model.adapter!.wraps.keys(), (path) => path.split(".").at(-1));
  assert.equal([...new Set(names)].sort(), ["q_proj", "v_proj"]);
  assert.equal([...model.trained], []);
  const error = await rejection(() => all(instruct(model, { ...numbers, steps: 1, opens: ["llm.*.q_proj.weight"] })));
  assert.match(error.message, /is quantised/);
});

test("a checkpoint's proxy is one that can be", async () => {
  using model = await assembled();
  const folder = world.path("mmicl-saved");
  await model.save(folder);
  const file = join(folder, "anymal.json");
  assert.ok(existsSync(file));
  const json = JSON.parse(readFileSync(file, "utf8"));
  assert.equal(json.prompt.written, written);
  for (const proxy of ["<image>", "{n}", 7]) {
    const error = await rejection(() => assembled({ prompt: { written: { ...written, proxy } } }));
    assert.match(error.message, /prompt\.written\.proxy: expected a control token with \{n\}/);
  }
});

test.run();
