// What the trials of systems ask: pictures whose things stand anywhere, and rules that only examples tell.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Box, boxIou } from "../../lib/data/boxes.js";
import { readConversations } from "../../lib/data/conversations.js";
import { mediaOf } from "../../lib/data/row.js";
import { FRAME } from "../../lib/data/world/render-image.js";
import type { ImageScene } from "../../lib/data/world/scenes.js";
import { worldScene, writeWorld } from "../../lib/data/world/write.js";
import { type Placed, writeScattered } from "../../tools/systems/scattered.js";
import { attributes, names, shotsOf } from "../../tools/systems/shots.js";

const data = mkdtempSync(join(tmpdir(), "anymal-trials-"));
test.after(() => rmSync(data, { recursive: true }));

const share = (list: readonly Placed[], right: (own: Box, i: number) => boolean): number =>
  list.filter(({ things }, i) => right(things[0]!.box, i)).length / list.length;

test("things stand anywhere, whole and apart: neither a quarter nor another picture's place is the place", async () => {
  const all = await writeScattered(data, { name: "somewhere", held: true, count: 200, seed: 3 });
  for (const { things } of all) {
    for (const { box } of things) assert.ok(box.every((side) => side >= 0 && side <= FRAME) && box[0] < box[2] && box[1] < box[3]);
    if (things[1]) assert.is(boxIou(things[0]!.box, things[1].box), 0);
  }
  assert.ok(share(all, (own, i) => boxIou(own, all[(i + 1) % all.length]!.things[0]!.box) >= 0.5) < 0.1);
  const quarter = (from: number, to: number) => ((from + to) / 2 > FRAME / 2 ? 0.75 : 0.25) * FRAME;
  const guessed = ([x1, y1, x2, y2]: Box): Box => [quarter(x1, x2) - 8, quarter(y1, y2) - 8, quarter(x1, x2) + 8, quarter(y1, y2) + 8];
  assert.ok(share(all, (own) => boxIou(own, guessed(own)) >= 0.5) < 0.4);
});

/** Of each row of few shots: what stands in its pictures, the answers, and which of them count. */
async function shown(rule: Parameters<typeof shotsOf>[0]) {
  const world = join(data, "world");
  await writeWorld(world, { seed: 1, train: { image: 60 }, heldout: { image: 8 } });
  const [file] = await shotsOf(rule).write({ data: world, seed: 1, effort: 0.01 });
  const listed = JSON.parse(readFileSync(join(world, "image", "instruct.train.json"), "utf8")) as { image: string }[];
  const thingOf = (source: string) => {
    const { scene } = worldScene(1, "image", "train", listed.findIndex(({ image }) => source.endsWith(image))); // biome-ignore format: one line
    return (scene as ImageScene).things[0]!;
  };
  return (await readConversations(file as string)).map((row) => {
    const answers = row.turns.filter(({ role }) => role === "assistant");
    const things = mediaOf(row).map((part) => thingOf(String((part as { source: unknown }).source)));
    assert.is(things.length, answers.length);
    assert.ok([3, 5].includes(answers.length));
    return answers.map(({ content, weight = 1 }, i) => ({ thing: things[i]!, answer: content[0] as string, weight }));
  });
}

test("a name counts once its colour has it, and one colour has one name in a row", async () => {
  const all = new Set<string>();
  for (const row of await shown(names)) {
    const known = new Map<string, string>();
    for (const { thing, answer, weight } of row) {
      assert.is(weight, known.has(thing.color) ? 1 : 0);
      assert.is(known.get(thing.color) ?? answer, answer);
      known.set(thing.color, answer);
      all.add(answer);
    }
    assert.ok(known.size <= 2);
  }
  assert.ok(all.size > 3);
});

test("one attribute is asked for in a row, which the first answer tells and the question does not", async () => {
  const asked = new Set<string>();
  for (const row of await shown(attributes)) {
    const kind = (["color", "shape", "place"] as const).filter((one) => row.every(({ thing, answer }) => thing[one] === answer));
    assert.is(kind.length, 1);
    asked.add(kind[0] as string);
    assert.equal(
      row.map(({ weight }) => weight),
      row.map((_, i) => (i ? 1 : 0)),
    );
  }
  assert.is(asked.size, 3);
});

test.run();
