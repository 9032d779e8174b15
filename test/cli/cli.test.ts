// The command line as one uses it: the program as a child, on a toy.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { PromptInput } from "../../lib/anymal/prompt.js";
import { describeError, UsageError } from "../../lib/cli/output.js";
import { image } from "../../lib/media/image.js";
import { type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { inProcess, run, start, writeData } from "./program.js";

const test = suite("command line");
let world: Toy;
test.before(async () => {
  world = await toy();
  await writeData(world);
});
test.after(() => world.remove());

const picture = (color: string) => world.path(`${color}.png`);
async function answers(folder: string, prompts: readonly PromptInput[]): Promise<string[]> {
  using model = await AnyMAL.fromPretrained(folder, { device: here });
  const all: string[] = [];
  for (const prompt of prompts) all.push((await model.generateAll([prompt], { maxNewTokens: 5 }))[0] as string);
  return all;
}

test("help is quick to find, and a wrong command line exits with 2", async () => {
  const [help, wrong] = await Promise.all([run(["align", "--help"]), run(["align", "--stepz", "3"])]);
  assert.is(help.code, 0, help.err);
  assert.match(help.out, /Usage: anymal align .*--model <folder>.*--json.*Example:\n {2}anymal align --/s);
  assert.is(wrong.code, 2);
  assert.is(wrong.out, "");
  assert.is(wrong.err, "E_USAGE: anymal align: unknown option '--stepz' (Did you mean --steps?); see anymal align --help\n");
});

test("Ctrl-C during align saves, says how to go on, and going on ends the run", async () => {
  const output = world.path("run");
  const args = ["align", "--llm", world.llm, "--encoder", `image=${world.clip}`, "--modality", "image", "--output", output];
  args.push("--projector", "image=resampler,layers=1,tokens=4", "--data", world.path("captions.jsonl"), "--prompt", "see ");
  args.push("--steps", "80", "--batch", "2", "--learning-rate", "0.01", "--device", "cpu", "--quantization", "none");
  const first = start([...args, "--json"]);
  await first.lines(3);
  first.kill("SIGINT");
  const stopped = await first.done;
  assert.is(stopped.code, 130, stopped.err);
  const { step: saved } = JSON.parse(readFileSync(join(output, "checkpoint/trainer_state.json"), "utf8"));
  const lines = stopped.json();
  assert.equal(Object.keys(lines[0]!).slice(0, 3), ["type", "stage", "modality"]);
  assert.equal([lines[1]!.type, lines[1]!.step, lines[1]!.steps, typeof lines[1]!.loss], ["step", 2, 80, "number"]);
  const { type, step, stopped: early } = lines.at(-1)!;
  assert.equal([type, step, early], ["result", saved, true]);
  assert.ok(saved >= 3 && saved < 80, `saved at ${saved}`);
  assert.match(stopped.err, /finishing the step and saving/);
  assert.ok(stopped.err.includes(`stopped at step ${saved}, saved in ${join(output, "checkpoint")}`), stopped.err);
  const next = /go on with: anymal (.*)/.exec(stopped.err)?.[1] as string;
  assert.match(next, /--prompt 'see ' .*--json --resume$/);

  const again = await run([...args, "--resume"]);
  assert.is(again.code, 0, again.err);
  assert.match(again.err, new RegExp(`^align image ${saved + 1}/80 · loss [\\d.]+ · \\d+ tokens/s`, "m"));
  assert.match(again.err, /captions\.jsonl: captions of media \(captions\)/);
  assert.match(again.err, /align image 80\/80 /);
  assert.match(again.out, /^align image: 80 steps in .*, loss .*; model in .*run\n$/);
  const log = readFileSync(join(output, "log.jsonl"), "utf8").trim().split("\n");
  assert.equal(
    log.map((line) => JSON.parse(line).step),
    Array.from({ length: 80 }, (_, i) => i + 1),
  );
});

test("generate answers as the library does: media at their marks, and many prompts with bad ones among them", async () => {
  const output = world.path("run");
  const [red, blue] = [image(picture("red")), image(picture("blue"))];
  const [marked, after, plain] = await answers(output, [["see ", red, " or ", blue, "?"], ["see ", blue], "hello"]);
  const file = world.path("prompts.jsonl");
  const broken = world.path("broken.png");
  writeFileSync(broken, "no picture");
  const rows = [
    { image: ["red.png", "blue.png"], prompt: "see <image> or <image>?" },
    { image: "none.png", prompt: "see " },
    { image: "broken.png", prompt: "see " },
    { image: "red.png", prompt: "see <image> or <image>?" },
    { image: "blue.png", prompt: "see " },
    { prompt: "hello" },
  ];
  writeFileSync(file, [...rows.map((row) => JSON.stringify(row)), "{"].join("\n"));
  const model = ["--model", output, "--device", "cpu", "--max-new-tokens", "5"];
  const [one, many] = await Promise.all([
    run(["generate", "see <image> or <image>?", ...model, "--image", picture("red"), "--image", picture("blue")]),
    run(["generate", ...model, "--prompts", file, "--batch", "4", "--json"]),
  ]);
  assert.equal([one.code, one.out, one.err], [0, marked ? `${marked}\n` : "", ""]); // a model of no training may end at once
  const { value } = await inProcess(["generate", ...model, "see ", "--image", picture("blue"), "--json"]);
  const { answer, tokens, seconds } = value[0]!;
  assert.is(answer, after);
  assert.ok((tokens as number) >= 1 && (tokens as number) <= 5 && (seconds as number) > 0, `${tokens} tokens in ${seconds} s`);
  const long = await inProcess(["generate", ...model, "see ", "--image", picture("blue"), "--min-new-tokens", "5", "--json"]);
  assert.is(long.value[0]!.tokens, 5);
  assert.is(many.code, 1);
  const result = many.json()[0] as { answers: object[]; problems: { row: number; code: string }[] };
  assert.equal(result.answers, [
    { row: 1, answer: marked },
    { row: 5, answer: after },
    { row: 6, answer: plain },
  ]);
  assert.equal(
    result.problems.map(({ row, code }) => [row, code]).sort(),
    [
      [2, "E_ROW"],
      [3, "E_MEDIA_FORMAT"],
      [4, "E_PROMPT"],
      [7, "E_ROW"],
    ],
    many.out,
  );
  assert.match(many.err, /prompts\.jsonl:2: .*none\.png/);
  assert.match(many.err, /4 of 7 rows without an answer/);
});

test("generate searches beams, draws several answers and scores those that are given, as the library does", async () => {
  const model = ["--model", world.path("run"), "--device", "cpu", "--max-new-tokens", "5", "see ", "--image", picture("blue")];
  using llm = await AnyMAL.fromPretrained(world.path("run"), { device: here });
  const prompt: PromptInput = ["see ", image(picture("blue"))];
  const beams = { numBeams: 3, lengthPenalty: -0.5, earlyStopping: true, numReturnSequences: 2, maxNewTokens: 5 };
  const flags = ["--num-beams", "3", "--length-penalty", "-0.5", "--early-stopping", "true", "--num-return-sequences", "2"];
  const found = await llm.answers([prompt], beams);
  assert.equal((await inProcess(["generate", ...model, ...flags, "--json"])).value[0]!.answers, found[0]);
  const { numReturnSequences, ...best } = beams;
  const [text] = await llm.generateAll([prompt], best);
  assert.is(text, found[0]![0]!.text);
  const draws = { temperature: 1.2, seed: 3, numReturnSequences: 3, maxNewTokens: 5 };
  const drawn = await inProcess(["generate", ...model, "--temperature", "1.2", "--seed", "3", "--num-return-sequences", "3", "--json"]);
  assert.equal(drawn.value[0]!.answers, (await llm.answers([prompt], draws))[0]);
  const scored = await inProcess(["generate", ...model, "--score", "yes", "--score", "no", "--json"]);
  const [scores] = await llm.scoreAnswers([prompt], ["yes", "no"]);
  assert.equal(scored.value[0]!.scores, JSON.parse(JSON.stringify(scores)));
  const shown = await run(["generate", ...model, "--score", "yes", "--score", "no"]);
  const lines = shown.out.trim().split("\n");
  assert.match(lines[0]!, new RegExp(`^${scores![0]!.logProb.toFixed(4)}  [\\d.]+ %  yes$`));
  const shares = lines.map((line) => Number(/([\d.]+) %/.exec(line)![1]));
  assert.ok(Math.abs(shares[0]! + shares[1]! - 100) < 0.02, shown.out);
  const refused = await llm.generateAll([prompt], draws).catch((error) => error);
  assert.match(refused.message, /ask answers\(\)/);
  const stopped = await llm.answers([prompt], { ...beams, stop: "." }).catch((error) => error);
  assert.match(stopped.message, /stop to be left out with numBeams/);
});

test("chat remembers turns until it is told not to, and lives on after a bad one", async () => {
  const output = world.path("run");
  const red = image(picture("red"));
  const [first] = await answers(output, [["see ", red]]);
  const turns = [
    { role: "user", content: ["see ", red] },
    { role: "assistant", content: [(first as string).trim()] },
    { role: "user", content: ["more?"] },
  ] as const;
  const [second, alone] = await answers(output, [turns, "more?"]);
  assert.not.equal(second, alone);
  const typed = [`see <image:${picture("red")}>`, "see <image:none.png>", "more?", "/help", "/reset", "more?", "/exit", "never"];
  const chat = await run(["chat", "--model", output, "--device", "cpu", "--max-new-tokens", "5", "--json"], typed.join("\n"));
  assert.equal(
    chat.json().map(({ answer, error }) => answer ?? (error as { code: string }).code),
    [first, "E_MEDIA_SOURCE", second, alone],
    chat.err,
  );
  assert.is(chat.code, 1);
  assert.match(chat.err, /^E_MEDIA_SOURCE: none\.png/);
  assert.match(chat.err, /<image:path>.*\n.*\/reset/);
});

test("one recipe holds the model, several modalities and both stages; flags override it", async () => {
  const motion = world.path("motion.jsonl");
  const samples = Array.from({ length: 150 }, (_, i) => `${i / 50},${Math.sin(i / 3)},0,9.8,0,0,0`);
  writeFileSync(world.path("motion.csv"), ["time,ax,ay,az,gx,gy,gz", ...samples].join("\n"));
  writeFileSync(motion, JSON.stringify({ imu: "motion.csv", caption: "shaking" }));
  const yaml = world.path("recipe.yaml");
  const recipe = {
    model: {
      llm: world.llm,
      quantization: "nf4",
      modalities: {
        image: { encoder: world.clip, projector: { type: "resampler", layers: 1, tokens: 4 } },
        imu: { encoder: world.imu, projector: { type: "linear", mode: "pooled", tokens: 2 } },
      },
    },
    align: {
      image: { data: world.path("captions.jsonl"), steps: 90, batch: 2 },
      imu: { data: motion, steps: 90, batch: 1 },
    },
    instruct: { data: world.path("instruct.json"), steps: 2, batch: 2, lora: { r: 2, alpha: 4 } },
    output: world.path("whole"),
  };
  writeFileSync(yaml, JSON.stringify(recipe));
  const early = await inProcess(["instruct", "--config", yaml]);
  assert.instance(early.error, UsageError);
  assert.match(early.error!.message, /stage 1 comes first: anymal align --config/);
  const align = await inProcess(["align", "--config", yaml, "--steps", "2", "--json"]);
  assert.is(align.error, undefined, String(align.error));
  assert.equal(
    align.value.map(({ type, modality, step, steps }) => `${type} ${modality} ${step}/${steps}`),
    ["step image 1/2", "step image 2/2", "result image 2/2", "step imu 1/2", "step imu 2/2", "result imu 2/2"],
  );
  assert.ok(existsSync(world.path("whole/align/anymal.json")));
  const instruct = await inProcess(["instruct", "--config", yaml, "--lora-r", "3", "--json"]);
  assert.is(instruct.error, undefined, String(instruct.error));
  const { output, stopped } = instruct.value.at(-1)!;
  assert.equal([output, stopped], [world.path("whole/instruct"), false]);
  using model = await AnyMAL.fromPretrained(output as string, { device: here });
  assert.equal([model.adapter?.config.r, model.adapter?.config.alpha, model.modalities], [3, 4, ["image", "imu"]]);
  assert.is(model.quantization?.format, "nf4");
});

test("what is wrong with files is told before anything is loaded, in one paragraph with a code", async () => {
  const yaml = world.path("bad.yaml");
  writeFileSync(yaml, "align:\n  image:\n    data: captions.jsonl\n    learning_rat: 0.1\n");
  const model = ["--llm", world.path("nowhere"), "--encoder", `image=${world.clip}`];
  const align = ["align", ...model, "--modality", "image", "--data"];
  const cases: [string[], RegExp][] = [
    [["align", "--steps", "many"], /^E_USAGE: .*'many' is invalid\. Expected an integer of at least 1/],
    [
      ["generate", "--model", "x", "hello", "--image", "none.png"],
      /^E_MEDIA_SOURCE: none\.png: expected the file of image, got no such file/,
    ],
    [["generate", "--model", "x", "<image>"], /^E_PROMPT: prompt: expected one image for every <image>, got 1 marks and 0 files/],
    [["align", "--config", yaml], /^E_RECIPE: .*align\.image\.learning_rat .*did you mean "learningRate"\?/],
    [
      ["align", "--config", world.path("none.yaml")],
      /^E_RECIPE: recipe: expected [^:]*none\.yaml to be a readable file, got "ENOENT: no such file or directory"; it, or /,
    ],
    [[...align, "none.jsonl", "--output", "x"], /^E_DATA: none\.jsonl: expected a data file, got no such file/],
    [
      [...align, world.path("captions.jsonl"), "--output", world.path("run")],
      /^E_RECIPE: .*run: expected a folder without a run.*--resume goes on/,
    ],
    [[...align, world.path("captions.jsonl")], /^E_USAGE: .*--output is needed/],
    [["align", "--modality", "imu", ...model, "--data", yaml, "--output", "x"], /^E_MODALITY: .*--encoder imu=FOLDER/],
    [["instruct", "--no-lora", "--lora-r", "2", "--data", yaml, "--output", "x"], /^E_USAGE: .*--no-lora leaves nothing/],
    [["chat"], /^E_USAGE: anymal chat: --model is needed/],
  ];
  for (const [args, pattern] of cases) {
    const { error } = await inProcess(args);
    assert.match(describeError(error), pattern);
    assert.not.match(describeError(error), /\n/);
  }
});

test.run();
