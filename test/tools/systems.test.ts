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
import { worldScene, writeWorld } from "../../lib/data/world/write.js";
import { type Placed, writeScattered } from "../../tools/systems/scattered.js";
import { shots } from "../../tools/systems/shots.js";

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

test("a name counts once its colour has it, and one colour has one name in a row", async () => {
  const world = join(data, "world");
  await writeWorld(world, { seed: 1, train: { image: 60 }, heldout: { image: 8 } });
  const [file] = await shots.write({ data: world, seed: 1, effort: 0.01 });
  const names = new Set<string>();
  const listed = JSON.parse(readFileSync(join(world, "image", "instruct.train.json"), "utf8")) as { image: string }[];
  for (const row of await readConversations(file as string)) {
    const known = new Map<string, string>();
    const answers = row.turns.filter(({ role }) => role === "assistant");
    assert.is(mediaOf(row).length, answers.length);
    for (const [i, { content, weight = 1 }] of answers.entries()) {
      const index = listed.findIndex(({ image }) => String((mediaOf(row)[i] as { source: unknown }).source).endsWith(image));
      const { scene } = worldScene(1, "image", "train", index);
      const color = scene.modality === "image" ? scene.things[0]!.color : "";
      assert.is(weight, known.has(color) ? 1 : 0);
      assert.is(known.get(color) ?? content[0], content[0]);
      known.set(color, content[0] as string);
      names.add(content[0] as string);
    }
    assert.ok(known.size <= 2 && [3, 5].includes(answers.length));
  }
  assert.ok(names.size > 3);
});

test.run();
