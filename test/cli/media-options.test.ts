// Options of media through the commands: what an error proposes is given as it says, and by every way the model sees the same.
import { readFileSync, writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { describeError } from "../../lib/cli/output.js";
import { type Toy, toy } from "../anymal/toy.js";
import { inProcess, run } from "./program.js";

const test = suite("command line: options of media");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const write = (name: string, content: unknown): string => {
  writeFileSync(world.path(name), typeof content === "string" ? content : JSON.stringify(content));
  return world.path(name);
};
const columns = { ax: "sx", ay: "sy", az: "sz", gx: "rx", gy: "ry", gz: "rz" };
const options = { sampleRate: 50, acceleration: "g", columns };
const flags = ["imu.sampleRate=50", "imu.acceleration=g", `imu.columns=${JSON.stringify(columns)}`].flatMap((flag) => [
  "--media-option",
  flag,
]);

test("align and generate with flags, a recipe's media and a row's own", async () => {
  const rows = Array.from({ length: 150 }, (_, i) => `${i},${Math.sin(i / 3) / 9},1,0,${Math.cos(i / 5)},0,0`);
  write("odd.csv", ["n,sx,sy,sz,rx,ry,rz", ...rows].join("\n"));
  const plain = write("plain.jsonl", { imu: "odd.csv", caption: "shaking" });
  const own = write("own.jsonl", { imu: { path: "odd.csv", ...options }, caption: "shaking" });
  const model = {
    llm: world.llm,
    quantization: "none",
    modalities: { imu: { encoder: world.imu, projector: { type: "linear", mode: "pooled", tokens: 2 } } },
  };
  const config = (name: string, data: string, media?: object) =>
    write(name, { model, align: { imu: { data, steps: 2, batch: 1 } }, ...(media && { media }) });
  const align = (recipe: string, output: string, more: string[] = []) =>
    inProcess(["align", "--config", recipe, "--output", world.path(output), "--device", "cpu", "--json", ...more]);

  const refused = await align(config("refused.yaml", plain), "refused");
  const said = describeError(refused.error);
  assert.match(said, /^E_ROW: .*plain\.jsonl:1: .*odd\.csv: .*--media-option 'imu\.columns=\{ ax: "…"/);
  assert.not.match(said, /the option/);
  const ways = [
    await align(config("flags.yaml", plain), "flags", flags),
    await align(config("media.yaml", plain, { imu: options }), "media"),
    await align(config("rows.yaml", own), "rows"),
    await align(config("both.yaml", plain, { imu: { ...options, acceleration: "m/s2" } }), "both", [
      "--media-option",
      "imu.acceleration=g",
    ]),
  ];
  const losses = ways.map(({ error, value }) => {
    assert.is(error, undefined, String(error));
    return value.filter(({ type }) => type === "step").map(({ loss }) => loss);
  });
  assert.is(losses[0]!.length, 2);
  for (const loss of losses) assert.equal(loss, losses[0]);
  for (const output of ["flags", "media", "both"])
    assert.equal(parse(readFileSync(world.path(`${output}/recipe.yaml`), "utf8")).media, { imu: options });

  const generate = (...more: string[]) =>
    inProcess(["generate", "--model", world.path("flags"), "--max-new-tokens", "3", "--device", "cpu", "--json", ...more]);
  const one = await generate("what moves?", "--imu", world.path("odd.csv"), ...flags);
  assert.is(one.error, undefined, String(one.error));
  const many = write("questions.jsonl", { prompt: "what moves?", imu: { path: "odd.csv", ...options } });
  const asked = await generate("--prompts", many);
  const flagged = await generate("--prompts", write("flagged.jsonl", { prompt: "what moves?", imu: "odd.csv" }), ...flags);
  for (const { value } of [asked, flagged]) assert.is((value[0]!.answers as { answer: string }[])[0]!.answer, one.value[0]!.answer);

  const chat = await run(
    ["chat", "--model", world.path("flags"), "--max-new-tokens", "3", "--device", "cpu", "--json"],
    `<imu:${world.path("odd.csv")}> what moves?\n`,
  );
  assert.match(String((chat.json()[0]!.error as { message: string }).message), /--media-option 'imu\.columns=/);
});

test("a wrong flag is a wrong command line", async () => {
  const { error } = await inProcess(["generate", "--model", "x", "y", "--media-option", "imu.sampelRate=5"]);
  assert.match(describeError(error), /^E_USAGE: anymal generate: .*did you mean "sampleRate"/);
});

test.run();
