// MIC's instances as conversations: a picture for each of its places, whichever way they are written, and what is wrong with an instance.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readRows } from "../../lib/data/any-layout.js";
import { readConversations } from "../../lib/data/conversations.js";
import type { LayoutName } from "../../lib/data/layouts.js";
import { brief, dataError, Folder, rejects } from "./files.js";

const test = suite("MIC");
let folder: Folder;
test.before.each(() => {
  folder = new Folder();
  for (const name of ["a.png", "b.png"]) folder.write(name, "bytes");
});
test.after.each(() => folder.remove());

const file = (...rows: object[]) => folder.write("mic.jsonl", rows.map((row) => JSON.stringify(row)).join("\n"));
const read = async (...rows: object[]) => (await readRows(file(...rows))).map((row) => brief(row, folder));
const instance = (input_text: string, input_image: unknown, more = {}) => ({ input_text, input_image, output_text: "a cat", ...more });
const PAIR = ["user: image 0 is <image0>[image:a.png], image 1 is <image1>[image:b.png]. Which?", "assistant: a cat"];
const text = (place: string) => `image 0 is <image0>${place}, image 1 is <image1>${place}. Which?`;

test("pictures stand where their characters do: one each, as many as rows, those of the code for Vicuna", async () => {
  const both = ["./a.png", "b.png"];
  const places = ["图", "图".repeat(32), "<visual_embedding>", "<visual_embedding>".repeat(4)];
  const rows = places.map((place) => instance(text(place), both, { output_image: "" }));
  assert.equal(
    await read(...rows),
    rows.map(() => PAIR),
  );
  // Two pictures of one name, one behind the other; one alone under a text, and none.
  assert.equal(await read(instance("see 图图", both), instance("图 what?", "a.png"), instance("what?", "b.png"), instance("hi", [])), [
    ["user: see [image:a.png][image:b.png]", "assistant: a cat"],
    ["user: [image:a.png] what?", "assistant: a cat"],
    ["user: what?[image:b.png]", "assistant: a cat"],
    ["user: hi", "assistant: a cat"],
  ]);
});

test("it is told by its columns, in tables and by whichever reader", async () => {
  const seen: (LayoutName | undefined)[] = [];
  await readRows(file(instance(text("图"), ["a.png", "b.png"])), { onLayout: (_, layout) => seen.push(layout) });
  assert.equal(seen, ["mic"]);
  const table = folder.write("mic.csv", `input_text,input_image,output_text\n"${text("图")}","[""a.png"",""b.png""]",a cat\n`);
  for (const reader of [readRows, readConversations])
    assert.equal(
      (await reader(table)).map((row) => brief(row, folder)),
      [PAIR],
    );
  // A row that has a conversation too is that.
  const conversations = [
    { from: "human", value: "hi" },
    { from: "gpt", value: "ho" },
  ];
  assert.equal(await read(instance("x", [], { conversations })), [["user: hi", "assistant: ho"]]);
});

test("an instance that cannot be is named, with what it lacks", async () => {
  const wrong: [object, RegExp][] = [
    [instance(text("图"), ["a.png"]), /mic\.jsonl:1: expected one 图 for each picture of input_image, which names 1, got 2/],
    [instance("<image0>图 what?", ["a.png", "b.png"]), /which names 2, got 1/],
    [instance("图 what?", []), /which names 0, got 1/],
    [instance("图 what?", "a.png", { output_image: "c.png" }), /no output_image: answers are text/],
    [instance("图 what?", "a.png", { output_text: "" }), /with text/],
    [{ ...instance("", "a.png"), input_text: 7 }, /input_text with text, got 7/],
    [instance("图 what?", "[a.png"), /input_image as a path or a list of paths/],
    [instance("图 what?", "none.png"), /none\.png/],
  ];
  for (const [row, words] of wrong) await rejects(read(row), dataError("E_ROW", words));
  const kept = await readRows(file(...wrong.map(([row]) => row), instance(text("图"), ["a.png", "b.png"])), {
    onBadRow: "skip",
    onProblem: () => undefined,
  });
  assert.equal(
    kept.map((row) => brief(row, folder)),
    [PAIR],
  );
});

test.run();
