// A run of the first stage once more: equal to the bit where nothing changed, and what changed is named with the first step that shows it.
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { FirstStage } from "../../../lib/anymal/first-stage.js";
import { completeBridge } from "../../../lib/models/bridges/index.js";
import { type ReplayReport, replay } from "../../../lib/train/replay/replay.js";
import { representMedia } from "../../../lib/train/represent-media.js";
import { captions, type Toy, toy } from "../../anymal/toy.js";
import { here } from "../../case.js";
import { writeData } from "../../cli/program.js";
import { all, assembledIn, rejection } from "../stages.js";

const test = suite("replay of the first stage");
let world: Toy;
const STEPS = 5;
const Q_FORMER = { type: "q-former", queries: 2, layers: 1, width: 16, heads: 2, hidden: 16 } as const;
const first = (seed = 3) =>
  FirstStage.assemble({ encoder: world.clip, words: world.llm, projector: Q_FORMER, embedDim: 8, device: here, seed });
const options = () => ({ batch: 2, steps: STEPS, saveEvery: 4, learningRate: 1e-2, warmupSteps: 1, seed: 5 });
test.before(async () => {
  world = await toy();
  await writeData(world);
  const own = { ...options(), data: world.path("captions.jsonl"), output: world.path("run") };
  for (const resume of [false, true]) {
    using one = await first(resume ? 4 : 3); // a run that goes on has the weights that it saved
    for await (const { step } of representMedia(one, { ...own, resume })) if (step === 2 && !resume) break;
  }
});
test.after(() => world.remove());

const again = (run = "run", more: object = {}) => replay(world.path(run), { device: here, ...more });
/** The run with one of its files changed, or another file in its place. */
async function changedRun(file: string, change: (text: string) => string): Promise<ReplayReport> {
  rmSync(world.path("changed"), { recursive: true, force: true });
  cpSync(world.path("run"), world.path("changed"), { recursive: true });
  const path = world.path(`changed/${file}`);
  writeFileSync(path, change(readFileSync(path, "utf8")));
  return again("changed");
}
const told = ({ difference, causes }: ReplayReport) => [difference?.step, difference?.what, causes[0]?.kind];

test("nothing changed: rows, rates, losses, norms and weights are the run's, of both sittings", async () => {
  const { sittings } = JSON.parse(readFileSync(world.path("run/origin.json"), "utf8"));
  assert.equal(sittings.map(({ step }: { step: number }) => step), [0, 3]); // biome-ignore format: one line
  assert.not.ok("llm" in sittings[0]);
  assert.ok(existsSync(world.path("run/start/stage-one.safetensors")));
  assert.equal(await again(), { steps: STEPS, weights: [0, 3, 4, 5], causes: [] });
  assert.equal(await again("run", { until: 3 }), { steps: 3, weights: [0, 3], causes: [] });
});

test("a changed row, another seed, rate or length of captions, and other weights are told as that", async () => {
  const path = world.path("captions.jsonl");
  const before = readFileSync(path, "utf8");
  writeFileSync(path, before.replace(/"caption":"(\w+)"/, '"caption":"$1 too"'));
  const row = await again().finally(() => writeFileSync(path, before));
  assert.equal(told(row).slice(1), ["rows", "data"]);
  assert.match(row.causes[0]!.text, /captions\.jsonl is not what the run has read/);
  const rate = await changedRun("recipe.yaml", (text) => text.replace("learningRate: 0.01", "learningRate: 0.02"));
  assert.equal(told(rate), [2, "learning rate", "recipe"], "the first step of a warm-up");
  assert.match(rate.causes[0]!.text, /represent\.learningRate was 0\.01, is 0\.02/);
  const seed = await changedRun("recipe.yaml", (text) => text.replace("seed: 5", "seed: 6"));
  assert.is(told(seed)[2], "recipe");
  const short = await changedRun("recipe.yaml", (text) => text.replace(/maxLength: \d+/, "maxLength: 2"));
  assert.equal(told(short), [1, "loss", "recipe"]);
  using other = await first(9);
  assert.equal(told(await again("run", { model: other })).slice(0, 2), [0, "weights"]);
  const stage = await changedRun("start/first-stage.json", (text) => `${text} `);
  assert.equal([stage.difference, stage.causes.map(({ kind }) => kind)], [undefined, ["weights"]]);
});

test("columns with other names and shares of kinds of media stand in its recipe", async () => {
  const rows: Record<string, unknown>[] = JSON.parse(readFileSync(world.path("instruct.json"), "utf8"));
  const data = [world.path("pictures.json"), world.path("sounds.json")];
  const [pictures, sounds] = data as [string, string];
  writeFileSync(pictures, JSON.stringify(rows.map(({ image: picture, ...row }) => ({ picture, ...row }))));
  const asked = (text: string) => [
    { from: "human", value: "<audio>" },
    { from: "gpt", value: text },
  ];
  writeFileSync(sounds, JSON.stringify(["one", "two"].map((text) => ({ audio: "red.png", conversations: asked(text) }))));
  using one = await first();
  const columns = { image: "picture" };
  const own = { columns, modalityWeights: { image: 3, audio: 1 }, batch: 4, onBadRow: "skip", onProblem: () => undefined } as const;
  await all(representMedia(one, { ...options(), ...own, data, steps: 2, output: world.path("renamed") }));
  assert.equal(await again("renamed"), { steps: 2, weights: [0, 2], causes: [] });
});

test("data that moved, or lay in memory, are passed; an encoder that moved is named", async () => {
  const moved = world.path("moved.jsonl");
  cpSync(world.path("captions.jsonl"), moved);
  const { causes, ...same } = await again("run", { data: moved });
  assert.equal([same, causes], [{ steps: STEPS, weights: [0, 3, 4, 5] }, []]);
  using one = await first();
  await all(representMedia(one, { ...options(), data: captions(1), steps: 2, output: world.path("memory") }));
  assert.match((await rejection(() => again("memory"))).message, /"rows that were in memory"; pass them to replay\(\) as data/);
  assert.is((await again("memory", { data: captions(1) })).steps, 2);
  const clip = world.path("clip-elsewhere");
  cpSync(world.clip, clip, { recursive: true });
  assert.is((await again("run", { encoders: { image: clip }, until: 1 })).steps, 1);
  const cut = join(clip, "preprocessor_config.json");
  writeFileSync(cut, `${readFileSync(cut, "utf8")} `);
  assert.match((await rejection(() => again("run", { encoders: { image: clip } }))).message, /the encoder of image as it was trained on/);
});

test("a model of another stage, a language model, and a folder that holds no first stage are refused", async () => {
  const linear = (text: string) => {
    const { projector, ...rest } = JSON.parse(text);
    return JSON.stringify({ ...rest, select: "patch", projector: completeBridge({ type: "linear" }, projector.dim, 0) });
  };
  using model = await assembledIn(world);
  assert.match((await rejection(() => again("run", { model }))).message, /replay: model: expected a FirstStage.*a AnyMAL/);
  assert.match((await rejection(() => again("run", { llm: world.llm }))).message, /a first stage has no language model/);
  for (const [change, message] of [
    [() => "{", /first-stage\.json/],
    [linear, /projector\.type to be q-former/],
    [(text: string) => text.replace('"queries": 2', '"queries": 3'), /query/],
    [(text: string) => text.replace('"embedDim": 8', '"embedDim": 0'), /embedDim to be an integer/],
    [(text: string) => text.replace('"modality": "image"', '"modality": 3'), /modality to be a kind of media/],
    [(text: string) => text.replace('"modality": "image"', '"modality": "smell"'), /smell/],
  ] as const)
    assert.match((await rejection(() => changedRun("start/first-stage.json", change))).message, message, String(change));
  const both = await rejection(() => FirstStage.fromPretrained(world.path(".")));
  assert.match(both.message, /first-stage\.json, or a run's folder.*representMedia\(\) wrote/);
});

test("a saved first stage is what it was, and trains on from its checkpoint", async () => {
  using saved = await FirstStage.fromPretrained(world.path("run"), { device: here });
  const hash = async ({ model }: FirstStage) =>
    Promise.all([...model.namedParameters()].map(async ([name, p]) => `${name} ${Buffer.from(await p.bytes()).toString("base64")}`));
  using one = await first();
  await all(representMedia(one, { ...options(), data: world.path("captions.jsonl") }));
  assert.equal(await hash(saved), await hash(one));
  assert.equal([saved.begin, saved.setup], [one.begin, one.setup]);
  assert.is((await all(representMedia(saved, { ...options(), steps: 1, data: captions(1) }))).length, 1);
});

test.run();
