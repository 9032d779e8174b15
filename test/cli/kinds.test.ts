// --kinds FILE: kinds of media of the user's own on the command line.
import { writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadKinds } from "../../lib/cli/kinds.js";
import { mediaOption } from "../../lib/cli/media-flags.js";
import { program } from "../../lib/cli/program.js";
import { inline } from "../../lib/cli/prompt-text.js";
import { type Toy, toy } from "../anymal/toy.js";
import { inProcess } from "./program.js";

const test = suite("command line: kinds of one's own");
let world: Toy;
let own = "";
const here = new URL("../../", import.meta.url).href;
test.before(async () => {
  world = await toy();
  for (const i of [0, 1]) writeFileSync(world.path(`${i}.wave`), Array.from({ length: 8 }, (_, t) => i + (t % 2)).join("\n"));
  own = world.path("own.mjs");
  writeFileSync(own, `export { wave } from ${JSON.stringify(`${here}test/anymal/own-kind.ts`)};\nexport const other = 1;\n`);
});
test.after(() => world.remove());
test.after.each(() => loadKinds([]));

const command = (name: string) => program().commands.find((one) => one.name() === name)!;

test("a kind has a flag, a mark, options and a column", async () => {
  assert.not.match(command("generate").helpInformation(), /--wave/);
  await loadKinds(["generate", `--kinds=${own}`]);
  assert.match(command("generate").helpInformation(), /--wave <file>\s+a wave, a number a line;/);
  assert.match(command("generate").description(), /<imu> and <wave> mark/);
  assert.match(command("align").helpInformation(), /"imu", "wave"/);
  assert.equal(mediaOption("wave.gain=2"), { wave: { gain: 2 } });
  assert.throws(() => mediaOption("wave.gian=2"), /did you mean "gain"/);
  const [text, medium] = inline("see <wave:a.wave>", { wave: { gain: 2 } });
  assert.equal(text, "see ");
  assert.equal(typeof medium === "object" && [medium.modality, medium.source, medium.options], ["wave", "a.wave", { gain: 2 }]);
});

test("it is aligned and asked by commands, and asked for where it is missing", async () => {
  writeFileSync(world.path("waves.jsonl"), [0, 1].map((i) => JSON.stringify({ wave: `${i}.wave`, caption: `${i}` })).join("\n"));
  writeFileSync(world.path("asked.csv"), `prompt,wave\nwhich?,${world.path("1.wave")}\n`);
  const kinds = ["--kinds", own];
  const training = ["align", "--llm", world.llm, "--modality", "wave", "--data", world.path("waves.jsonl"), "--steps", "1", "--batch", "2"];
  await loadKinds(kinds);
  const lacking = await inProcess([...training, ...kinds, "--output", world.path("run")]);
  assert.match(String(lacking.error?.message), /E_MODALITY|projection for wave, got none; add --projector wave=linear/);
  const aligned = await inProcess([...training, ...kinds, "--projector", "wave=linear", "--output", world.path("run"), "--json"]);
  assert.is(aligned.error, undefined, aligned.error?.stack);
  const model = ["--model", world.path("run"), "--max-new-tokens", "2", "--json"];
  for (const asked of [
    ["which?", "--wave", world.path("0.wave")],
    ["--prompts", world.path("asked.csv")],
  ]) {
    const { error } = await inProcess(["generate", ...kinds, ...model, ...asked]);
    assert.is(error, undefined, error?.stack);
  }
  await loadKinds([]);
  const { error } = await inProcess(["generate", ...model, "which?"]);
  assert.match(String(error?.message), /kind of media "wave".*--kinds FILE/);
});

test("a file that is no module of kinds is refused, and a name that another flag has", async () => {
  const file = (name: string, text: string) => {
    writeFileSync(world.path(name), text);
    return world.path(name);
  };
  const mediaKind = `import { mediaKind } from ${JSON.stringify(`${here}lib/media/kinds/own.ts`)};\n`;
  const refused: [string, RegExp][] = [
    [world.path("none.mjs"), /no such file/],
    [file("empty.mjs", "export const a = 1;\n"), /it exports none/],
    [file("broken.mjs", "export const = 1;\n"), /broken\.mjs/],
    [
      file("twice.mjs", `${mediaKind}export const image = mediaKind({ name: "image", load: () => 1, blank: () => 0 });\n`),
      /a second "image"/,
    ],
  ];
  for (const [path, message] of refused) {
    const error = await loadKinds(["--kinds", path]).catch((cause) => cause);
    assert.match(error.message, message);
    assert.ok(["E_USAGE", "E_MODALITY"].includes(error.code));
  }
  await loadKinds([
    "--kinds",
    file("taken.mjs", `${mediaKind}export const seed = mediaKind({ name: "seed", load: () => 1, blank: () => 0 });\n`),
  ]);
  assert.throws(program, /seed is called as another flag/);
});

test.run();
