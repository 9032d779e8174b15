// Questions about places out of annotations: the layouts of COCO and Objects365, RefCOCO and Visual Genome as they are published, and that each answer is true.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Box, boxPixels, boxText, parseBox, parseBoxes } from "../../lib/data/boxes.js";
import { readConversations } from "../../lib/data/conversations.js";
import { Draw } from "../../lib/data/draw.js";
import { type AnnotationOptions, readAnnotations } from "../../lib/data/referential/annotations.js";
import { listedEntries } from "../../lib/data/referential/object-lists.js";
import { centre, type MarkedPicture } from "../../lib/data/referential/picture.js";
import { quarterOf, REFERENTIAL_TASKS, type Referential, referential } from "../../lib/data/referential/tasks.js";
import { writeReferential } from "../../lib/data/referential/write.js";
import type { DataError } from "../../lib/data/row.js";
import { run } from "../cli/program.js";

const test = suite("referential questions");
const folder = mkdtempSync(join(tmpdir(), "anymal-referential-"));
const file = (name: string, value: unknown) => {
  const path = join(folder, name);
  writeFileSync(path, typeof value === "string" ? value : JSON.stringify(value));
  return path;
};
test.after(() => rmSync(folder, { recursive: true, force: true }));

async function all(path: string, options?: AnnotationOptions): Promise<MarkedPicture[]> {
  const pictures: MarkedPicture[] = [];
  for await (const one of readAnnotations(path, options)) pictures.push(one);
  return pictures;
}
const thrown = async (work: () => Promise<unknown>): Promise<DataError> =>
  work().then(() => assert.unreachable("nothing was thrown"), (error) => error); // biome-ignore format: one line

const COCO = {
  info: { description: 'a [list] in a text, and a " quote', licenses: [1, 2, { a: [3] }] },
  images: [
    { id: 7, file_name: "b.jpg", width: 200, height: 100, license: 1 },
    { id: 3, file_name: "sub/a.jpg", width: 64, height: 64 },
  ],
  annotations: [
    { id: 11, image_id: 7, category_id: 2, bbox: [10, 20, 30, 40], iscrowd: 0, segmentation: [[1, 2, 3, 4]] },
    { id: 12, image_id: 3, category_id: 1, bbox: [0, 0, 10, 10], iscrowd: 1 },
    { id: 13, image_id: 7, category_id: 1, bbox: [100, 50, 20.5, 10], isfake: 0 },
    { id: 14, image_id: 99, category_id: 1, bbox: [0, 0, 1, 1] },
  ],
  categories: [
    { id: 1, name: "dog" },
    { id: 2, name: 'traffic "light"' },
  ],
};

test("COCO's and Objects365's layout, entry by entry, categories behind what they name", async () => {
  const [b, a] = await all(file("coco.json", COCO));
  assert.equal(b, {
    image: "b.jpg",
    width: 200,
    height: 100,
    objects: [
      { id: 11, box: [10, 20, 40, 60], ignore: false, name: 'traffic "light"' },
      { id: 13, box: [100, 50, 120.5, 60], ignore: false, name: "dog" },
    ],
  });
  assert.equal([a!.image, a!.objects[0]!.ignore], ["sub/a.jpg", true]);
  const keys: string[] = [];
  for await (const { key, number } of listedEntries(file("pretty.json", JSON.stringify(COCO, null, 2)))) keys.push(`${key}${number}`);
  assert.equal(keys, ["images1", "images2", "annotations1", "annotations2", "annotations3", "annotations4", "categories1", "categories2"]);
});

test("a file that is cut off, empty, or of another kind is refused as a whole", async () => {
  const text = JSON.stringify(COCO);
  for (const [value, wanted] of [
    [text.slice(0, -30), /cut off/],
    ["", /an empty file/],
    ["{}", /images and annotations/],
    ['[{"caption": "x"}]', /sentences \(RefCOCO\)/],
  ] as const)
    assert.match((await thrown(() => all(file("bad.json", value)))).message, wanted);
  assert.match((await thrown(() => all(file("refs.json", [{ sentences: [] }])))).message, /pass its path as beside/);
});

test("a bad entry is named by its column, and with onProblem the others are kept", async () => {
  const annotations = [{ id: 1, image_id: 7, category_id: 1, bbox: [1, 2, 3] }, { id: 2, image_id: 7, category_id: 1, bbox: [1, 2, -3, 4] }, ...COCO.annotations]; // biome-ignore format: one line
  const path = file("some.json", { ...COCO, annotations });
  const error = await thrown(() => all(path));
  assert.equal([error.code, error.row, error.column], ["E_ROW", 1, "bbox"]);
  const problems: DataError[] = [];
  const [b] = await all(path, { onProblem: (problem) => problems.push(problem) });
  assert.equal([b!.objects.length, problems.length], [2, 2]);
  assert.match(problems[1]!.message, /width and a height of 0 or more/);
});

const REFS = [
  { ref_id: 0, ann_id: 11, image_id: 7, split: "train", sentences: [{ sent: "left light", raw: "Left light." }, { sent: "the light", raw: "" }] },
  { ref_id: 1, ann_id: 13, image_id: 7, split: "val", sentences: [{ raw: "a dog", sent: "" }] },
  { ref_id: 2, ann_id: 77, image_id: 7, split: "val", sentences: [{ sent: "nothing" }] },
]; // biome-ignore format: one line

test("RefCOCO's sentences with the boxes of COCO's instances, by split", async () => {
  const beside = file("instances.json", COCO);
  const path = file("refs.json", REFS);
  const [one, ...more] = await all(path, { beside, split: "train" });
  assert.equal(more, []);
  assert.equal(one!.regions, [
    { text: "left light", box: [10, 20, 40, 60] },
    { text: "the light", box: [10, 20, 40, 60] },
  ]);
  const problems: DataError[] = [];
  const val = await all(path, { beside, split: "val", onProblem: (problem) => problems.push(problem) });
  assert.equal([val.length, val[0]!.regions![0]!.text, problems[0]!.column], [1, "a dog", "ann_id"]);
});

const SIZES = [
  { image_id: 1, width: 100, height: 80, url: "https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg" },
  { image_id: 2, width: 50, height: 50 },
];
const man = { object_id: 5, x: 10, y: 10, w: 20, h: 40, name: "man" };
const horse = { object_id: 6, x: 40, y: 30, w: 50, h: 45, names: ["horse"] };
const hat = { object_id: 7, x: 12, y: 5, w: 10, h: 6, name: "hat" };

test("Visual Genome's objects, relationships and regions, pictures in its two folders", async () => {
  const beside = file("image_data.json", SIZES);
  const [objects] = await all(file("objects.json", [{ image_id: 1, objects: [man, horse, { ...hat, names: [] }] }]), { beside });
  assert.equal(
    [objects!.image, objects!.width, objects!.objects.map(({ name }) => name)],
    ["VG_100K_2/1.jpg", 100, ["man", "horse", "hat"]],
  );
  const relationships = [
    { predicate: "Riding ", subject: man, object: horse },
    { predicate: "wears", subject: man, object: hat },
  ];
  const [related] = await all(file("relationships.json", [{ image_id: 1, relationships }]), { beside });
  assert.equal(related!.relations, [
    { subject: 5, object: 6, predicate: "riding" },
    { subject: 5, object: 7, predicate: "wears" },
  ]);
  assert.equal(related!.objects[1], { id: 6, name: "horse", box: [40, 30, 90, 75] });
  const regions = [{ region_id: 1, phrase: "a man on a horse", x: 1, y: 2, width: 3, height: 4 }, { region_id: 2, phrase: " ", x: 0, y: 0, width: 1, height: 1 }]; // biome-ignore format: one line
  const [told] = await all(file("regions.json", [{ id: 2, regions }]), { beside });
  assert.equal([told!.image, told!.regions], ["VG_100K/2.jpg", [{ text: "a man on a horse", box: [1, 2, 4, 6] }]]);
  assert.is((await thrown(() => all(file("objects.json", [{ image_id: 9, objects: [] }]), { beside }))).column, "image_id");
});

/** A picture of named boxes, of which some names come twice and one is a crowd's. */
function drawn(seed: number): MarkedPicture {
  const draw = new Draw(seed, "picture");
  const [width, height] = [60 + draw.below(300), 60 + draw.below(300)];
  const box = (): Box => {
    const [x, y] = [draw.below(width - 20), draw.below(height - 20)];
    return [x, y, x + 5 + draw.below(width - x - 5), y + 5 + draw.below(height - y - 5)];
  };
  const names = ["cat", "dog", "cup", "cup", "tree", "crowd"];
  const objects = Array.from({ length: 7 }, (_, id) => ({ id, name: names[id] ?? "crowd", box: box(), ignore: id === 6 }));
  const relations = Array.from({ length: 5 }, () => {
    const [subject, object] = draw.shuffled([0, 1, 2, 3, 4]) as [number, number];
    return { subject, object, predicate: draw.pick(["on", "near", "behind"]) };
  });
  return { image: `${seed}.jpg`, width, height, objects, relations, regions: [{ text: "the red part", box: box() }] };
}

/** Is the answer true of the picture? */
function isTrue({ task, question, answer, box }: Referential, picture: MarkedPicture, square: boolean): boolean {
  const { objects, relations = [], regions = [] } = picture;
  const text = (of: Box) => boxText(of, picture, { square });
  const at = (place: string) => objects.find((one) => text(one.box) === place)!;
  const [first, second] = parseBoxes(question).map((one) => at(one.text));
  const [place] = /(top|bottom) (left|right)/.exec(question) ?? [];
  const ends = parseBoxes(answer).map((one) => at(one.text));
  const name = /"([^"]+)"/.exec(question)?.[1];
  const counted = objects.filter((one) => one.name === name);
  switch (task) {
    case "relation": {
      const between = relations.filter(({ subject, object }) => subject === first!.id && object === second?.id);
      if (/^(How|What is the)/.test(question)) return between.some(({ predicate }) => predicate === answer);
      if (/^(The .* something|Something)/.test(question)) {
        const word = relations.map(({ predicate }) => predicate).find((one) => new RegExp(`is ${one} (something|the)`).test(question));
        const [a, b] = question.startsWith("The") ? [first!, ends[0]!] : [ends[0]!, first!];
        const key = question.startsWith("The") ? ("subject" as const) : ("object" as const);
        const fitting = relations.filter((one) => one.predicate === word && one[key] === first!.id);
        return fitting.length === 1 && fitting[0]!.subject === a.id && fitting[0]!.object === b.id && answer.startsWith(ends[0]!.name!);
      }
      return between.some(({ predicate }) => question.includes(`] ${predicate} the `)) === (answer === "yes");
    }
    case "spatial":
      if (question.startsWith("Seen")) return quarterOf(second!.box, first!.box) === answer;
      if (question.startsWith("Which")) {
        const there = objects.filter((one) => !one.ignore && one !== first && quarterOf(one.box, first!.box) === place);
        return there.length === 1 && there[0] === ends[0] && answer.startsWith(ends[0]!.name!);
      }
      return (quarterOf(first!.box, second!.box) === place) === (answer === "yes");
    case "point-qa": {
      const [x, y] = Array.from(question.matchAll(/\d\.\d{3}/g), Number);
      const [px, py] = boxPixels([x!, y!, x!, y!], picture, { square });
      // Printed with three decimals the point may have left a box by half a thousandth.
      const slack = 0.0006 * Math.max(picture.width, picture.height);
      return objects.some((one) => one.name === answer && px >= one.box[0] - slack && px <= one.box[2] + slack && py >= one.box[1] - slack && py <= one.box[3] + slack); // biome-ignore format: one line
    }
    case "counting":
      return answer === String(counted.length) && !counted.some(({ ignore }) => ignore);
    case "detection":
      return answer.split(" ").sort().join() === counted.map((one) => text(one.box)).sort().join(); // biome-ignore format: one line
    case "grounding":
      return parseBox(answer) !== undefined && answer === text(box!) && [...objects, ...regions].some((one) => one.box === box);
    case "grounding-caption": {
      const told = [...regions, ...objects.map((one) => ({ text: one.name!, box: one.box }))].filter((one) => one.text === answer);
      return told.length === 1 && question.includes(text(told[0]!.box));
    }
  }
}

for (const square of [false, true])
  test(`every answer is true of its picture${square ? ", padded to a square" : ""}, and no task is left out`, () => {
    const seen = new Map<string, number>();
    for (let seed = 0; seed < 60; ++seed) {
      const picture = drawn(seed);
      for (const one of referential(picture, { seed, most: 4, square })) {
        seen.set(one.task, (seen.get(one.task) ?? 0) + 1);
        assert.ok(isTrue(one, picture, square), `${one.task}: ${one.question} ${one.answer}`);
        assert.not.match(one.question + one.answer, /undefined|NaN/);
      }
    }
    assert.equal([...seen.keys()].sort(), [...REFERENTIAL_TASKS].sort());
    for (const [task, count] of seen) assert.ok(count >= 30, `${task}: ${count}`);
  });

test("the same options ask the same, others something else; what nobody knows is refused", () => {
  const picture = drawn(1);
  assert.equal(referential(picture, { seed: 3 }), referential(picture, { seed: 3 }));
  assert.not.equal(referential(picture, { seed: 3 }), referential(picture, { seed: 4 }));
  assert.equal([...new Set(referential(picture, { tasks: ["counting"], most: 9 }).map(({ task }) => task))], ["counting"]);
  assert.throws(() => referential(picture, { tasks: ["count" as "counting"] }), /counting/);
  assert.throws(() => referential(picture, { most: 0 }), /at least 1/);
  assert.throws(() => referential(picture, { squares: true } as object), /did you mean "square"/);
  assert.equal(referential({ image: "x", width: 5, height: 5, objects: [] }), []);
  assert.equal(centre([0, 0, 4, 2]), [2, 1]);
  assert.is(quarterOf([0, 0, 2, 2], [0, 5, 2, 9]), undefined);
  assert.is(quarterOf([0, 0, 2, 2], [5, 5, 9, 9]), "top left");
  assert.is(quarterOf([6, 0, 9, 2], [0, 5, 4, 9]), "top right");
  assert.is(quarterOf([0, 6, 2, 9], [5, 0, 9, 4]), "bottom left");
});

test("written as conversations that training reads; a picture outside of its folder is refused", async () => {
  for (const name of ["b.jpg", "a.jpg"]) file(name, "bytes");
  const inside = { ...COCO, images: [COCO.images[0], { ...COCO.images[1], file_name: "a.jpg" }] };
  const path = file("inside.json", inside);
  const output = join(folder, "rows", "places.jsonl");
  const { out, code, err } = await run([
    "data",
    "referential",
    path,
    output,
    "--square",
    "--json",
    "--task",
    "grounding",
    "--task",
    "counting",
  ]);
  assert.is(code, 0, err);
  const rows = await readConversations(output);
  assert.equal(JSON.parse(out).rows, rows.length);
  assert.ok(rows.length >= 3);
  const text = readFileSync(output, "utf8").trim().split("\n").map((line) => JSON.parse(line)); // biome-ignore format: one line
  assert.is(text[0].image, "../b.jpg");
  for (const { task, box, conversations } of text)
    if (task === "grounding") assert.is(conversations[1].value, boxText(box, { width: 200, height: 100 }, { square: true }));
  const outside = file("outside.json", { ...COCO, images: [{ ...COCO.images[0], file_name: "../b.jpg" }] });
  assert.match((await thrown(() => writeReferential(outside, join(folder, "no.jsonl")))).message, /a picture inside of/);
  assert.not.ok(existsSync(join(folder, "no.jsonl")), "a file that could not be written whole is there");
});

test.run();
