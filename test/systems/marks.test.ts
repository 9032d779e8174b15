// What stands for a medium in the published prompts of BLIP-2, InstructBLIP and MiniGPT-4 is no letters here: a prompt that spells it says so, with a medium beside it
// or without, and a row of data with more or fewer of the marks of data than media is one that is named.
import { rmSync, writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { BridgeOptions } from "../../lib/models/bridges/index.js";
import { instruct } from "../../lib/train/instruct.js";
import { square, type Toy, toy } from "../anymal/toy.js";
import { Case, here } from "../case.js";
import { all, rejection } from "../train/stages.js";
import { blip2Folder } from "./blip2-cases.js";

const test = suite("marks in prompts");
let world: Toy;
const folders: string[] = [];
test.before(async () => {
  world = await toy();
  writeFileSync(world.path("a.ppm"), Buffer.concat([Buffer.from("P6 16 16 255\n"), Buffer.alloc(16 * 16 * 3, 99)]));
});
test.after(() => {
  world.remove();
  for (const one of folders) rmSync(one, { recursive: true });
});

const published = (name: string) => async () => {
  const folder = blip2Folder(new Case(name));
  folders.push(folder);
  return AnyMAL.fromPretrained(folder, { device: here });
};
const Q_FORMER = { type: "q-former", queries: 3, layers: 2, width: 16, normalize: "layernorm" } as const;
const minigpt4 = (projector: BridgeOptions) => () =>
  AnyMAL.assemble({ system: "minigpt4", llm: world.llm, device: here, modalities: { image: { encoder: world.clip, projector } } });
const SYSTEMS: Readonly<Record<string, { open: () => Promise<AnyMAL>; mark: string; around: string }>> = {
  "BLIP-2": { open: published("blip2-words"), mark: "<image>", around: "<image>" },
  InstructBLIP: { open: published("instructblip-words"), mark: "<image>", around: "<image>" },
  "MiniGPT-4": { open: minigpt4({ type: "concat-linear", patches: 2 }), mark: "<ImageHere>", around: "<Img><ImageHere></Img>" },
  "MiniGPT-4 with a Q-Former": { open: minigpt4({ ...Q_FORMER, frozen: true }), mark: "<ImageHere>", around: "<Img><ImageHere></Img>" },
};

for (const [name, { open, mark, around }] of Object.entries(SYSTEMS))
  test(`${name}: a text with ${mark} is refused with or without its picture; as letters it is taken; rows of data need as many pictures as marks`, async () => {
    using model = await open();
    const picture = square("red");
    const options = { maxNewTokens: 2, eosTokenId: [] as number[] };
    for (const prompt of [[`${around} what is it?`], [picture, `${around} what is it?`], [picture, "and", picture, `? ${around}`]]) {
      const error = await rejection(() => model.generateAll([prompt], options));
      assert.is(error.code, "E_PROMPT");
      assert.ok(error.message.includes(`text without ${mark}, which stands for a medium`) && /pass the medium itself/.test(error.message), error.message); // biome-ignore format: one line
    }
    const [plain] = await model.generateAll([[picture, "what is it?"]], options);
    model.prompt.splitSpecialTokens = true;
    assert.is((await model.generateAll([[picture, `what is ${mark}?`]], options)).length, 1);
    model.prompt.splitSpecialTokens = false;
    assert.equal(await model.generateAll([[picture, "what is it?"]], options), [plain]);

    // A row that names no pictures at all is one of text, in which a mark is such a text.
    const said = (value: string) => [
      { from: "human", value },
      { from: "gpt", value: "red" },
    ];
    const good = { id: "good", image: world.path("a.ppm"), conversations: said("<image> color?") };
    for (const [count, images, code] of [
      [2, 1, "E_ROW"],
      [1, 2, "E_ROW"],
      [1, 0, "E_PROMPT"],
    ] as const) {
      const pictures = images ? { image: new Array(images).fill(world.path("a.ppm")) } : {};
      const data = world.path("rows.json");
      writeFileSync(data, JSON.stringify([good, { id: "bad", ...pictures, conversations: said(`${"<image> ".repeat(count)}color?`) }]));
      const error = await rejection(() => all(instruct(model, { data, steps: 1, batch: 2, lora: false })));
      assert.is(error.code, code, error.message);
      assert.match(error.message, images ? new RegExp(`one image for every <image>, got ${count} marks and ${images}`) : /text without .*<image>/); // biome-ignore format: one line
    }
  });

test.run();
