// Self-consistent bootstrapping: what a model says of boxes and finds again, with one that answers by a rule and with a real one on the command line.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { type Box, boxText, parseBoxes } from "../../lib/data/boxes.js";
import { readConversations } from "../../lib/data/conversations.js";
import type { DataError } from "../../lib/data/row.js";
import { MediaError } from "../../lib/media/error.js";
import type { Answering } from "../../lib/train/asked.js";
import { bootstrap } from "../../lib/train/bootstrap.js";
import { type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { run, writeData } from "../cli/program.js";
import { rejection } from "./stages.js";

const test = suite("bootstrapping");
let world: Toy;
const SIZE = { width: 16, height: 16 };
const BOXES: [number, number, number, number][] = [
  [0, 0, 8, 8],
  [8, 8, 8, 8],
  [2, 2, 10, 10],
  [1, 1, 6, 12],
  [0, 0, 16, 16],
];
test.before(async () => {
  world = await toy();
  await writeData(world);
  mkdirSync(world.path("marks"));
  const annotations = BOXES.map((bbox, id) => ({ id, image_id: id < 3 ? 1 : 2, category_id: 1, bbox, iscrowd: id === 4 ? 1 : 0 }));
  const images = ["red.png", "blue.png"].map((name, i) => ({ id: i + 1, file_name: name, ...SIZE }));
  writeFileSync(world.path("marks/boxes.json"), JSON.stringify({ images, annotations, categories: [] }));
});
test.after(() => world.remove());

const options = () => ({ annotations: world.path("marks/boxes.json"), images: world.folder, output: world.path("marks/rows.jsonl") });
const corners = ([x, y, w, h]: readonly number[]): Box => [x!, y!, x! + w!, y! + h!];
const texts = BOXES.map((box) => boxText(corners(box), SIZE));

/** Calls box i "thing i", and sees it where `sees` says. */
function rule(sees: readonly string[], asked: string[] = []): Answering {
  return {
    generateAll: async (prompts) =>
      prompts.map((prompt) => {
        const question = String((prompt as readonly unknown[])[1]);
        asked.push(question);
        const [box] = parseBoxes(question);
        return box ? ` thing ${texts.indexOf(box.text)} ` : sees[Number(/thing (\d)/.exec(question)?.[1])]!;
      }),
  };
}
const half: Box = [8, 8, 16, 12];

test("pairs that agree become two rows each with the box that people drew; crowds are not asked about", async () => {
  const asked: string[] = [];
  // Found exactly; by half; not at all; as no box.
  const report = await bootstrap(rule([texts[0]!, `at ${boxText(half, SIZE)}`, texts[1]!, "no idea"], asked), options());
  assert.equal(report, { pictures: 2, boxes: 4, speechless: 0, malformed: 1, kept: 2, keptPictures: 1, unasked: 0 });
  assert.is(asked.length, 8);
  const rows = await readConversations(options().output);
  const said = rows.map(({ turns }) => turns.map(({ content }) => content.filter((part) => typeof part === "string").join("").trim())); // biome-ignore format: one line
  assert.equal(said.map(([, answer]) => answer), [texts[0], "thing 0", texts[1], "thing 1"]); // biome-ignore format: one line
  assert.match(said[0]![0]!, /thing 0/);
  assert.ok(said[3]![0]!.includes(texts[1]!));
  const [first] = readFileSync(options().output, "utf8").split("\n");
  const { image, box } = JSON.parse(first!);
  assert.equal([image, box], ["../red.png", corners(BOXES[0]!)]);
});

test("a box of which the model says nothing is counted, and not asked for", async () => {
  const asked: string[] = [];
  const all = rule(texts.slice(0, 4), asked);
  const silent: Answering = { generateAll: async (prompts) => (await all.generateAll(prompts)).map((said) => (said.trim() === "thing 1" ? "  " : said)) }; // biome-ignore format: one line
  const { boxes, speechless, kept } = await bootstrap(silent, options());
  assert.equal([boxes, speechless, kept, asked.length], [4, 1, 3, 7]);
});

test("the threshold is IoU's; another one keeps others, and questions may be one's own", async () => {
  const sees = [texts[0]!, boxText(half, SIZE), texts[1]!, texts[3]!];
  assert.is((await bootstrap(rule(sees), { ...options(), threshold: 0.51 })).kept, 2);
  const asked: string[] = [];
  const questions = { caption: (box: string) => `what ${box}`, grounding: (text: string) => `where ${text}` };
  assert.is((await bootstrap(rule(sees, asked), { ...options(), questions, batch: 1 })).kept, 3);
  assert.ok(asked.includes(`what ${texts[3]}`) && asked.includes("where thing 3"));
  assert.ok(readFileSync(options().output, "utf8").includes(`\\nwhere thing 3"`));
});

test("a picture that cannot be read is told, and the others are kept; without onProblem it ends the work and nothing is written", async () => {
  const good = rule(texts);
  const model: Answering = {
    generateAll: async (prompts, more) => {
      if (prompts.some((prompt) => JSON.stringify(prompt).includes("blue.png"))) throw new MediaError("E_MEDIA_FORMAT", "blue.png", "a picture", "a hole", "mend it"); // biome-ignore format: one line
      return good.generateAll(prompts, more);
    },
  };
  const problems: DataError[] = [];
  const report = await bootstrap(model, { ...options(), onProblem: (problem) => problems.push(problem) });
  assert.equal([report.kept, report.unasked, problems.length], [3, 1, 1]);
  assert.match(problems[0]!.message, /blue\.png/);
  const output = world.path("marks/none.jsonl");
  await rejection(() => bootstrap(model, { ...options(), output }));
  assert.not.ok(existsSync(output));
});

test("options out of range, unknown ones and a stop", async () => {
  for (const [more, wanted] of [
    [{ threshold: 0 }, /threshold/],
    [{ batch: 0 }, /batch/],
    [{ treshold: 1 }, /did you mean "threshold"/],
  ] as const)
    assert.match((await rejection(() => bootstrap(rule(texts), { ...options(), ...more }))).message, wanted);
  const signal = AbortSignal.abort(new Error("enough"));
  assert.is((await rejection(() => bootstrap(rule(texts), { ...options(), signal }))).message, "enough");
});

test("on the command line, with a model that has learned nothing: every box is asked, none found", async () => {
  const model = await AnyMAL.assemble({ llm: world.llm, device: here, system: "pink", modalities: { image: { encoder: world.clip } } });
  await model.save(world.path("pink"));
  model.dispose();
  const { annotations, images, output } = options();
  const flags = ["--model", world.path("pink"), "--annotations", annotations, "--images", images, "--output", output, "--json"];
  const { out, err, code } = await run(["bootstrap", ...flags]);
  // Its context may be too short for a question in tokens of a letter each.
  const { boxes, kept, speechless, malformed, unasked } = JSON.parse(out);
  assert.equal([boxes, kept], [4, 0], err);
  assert.ok(speechless + malformed + unasked >= 3, `${out}\n${err}`);
  assert.is(code, unasked ? 1 : 0, err);
  assert.is((await run(["bootstrap", "--model", "x"])).code, 2);
});

test.run();
