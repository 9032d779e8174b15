// Published data sets by their own layouts, on small copies that are written here.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openRows } from "../../lib/data/open-rows.js";
import { READERS, type ReaderName } from "../../lib/data/readers.js";
import type { MediaPart } from "../../lib/media/part.js";
import { dataError, Folder, parquetOf, rejects } from "./files.js";

let folder: Folder;
test.before.each(() => {
  folder = new Folder();
});
test.after.each(() => folder.remove());

/** Each row in short: [kind:name@start+seconds], what is asked, what is answered. */
async function read(as: ReaderName, name: string, content: unknown, media: readonly string[]): Promise<string[]> {
  for (const one of media) folder.write(one, "bytes");
  const from = folder.write(name, typeof content === "string" || content instanceof Uint8Array ? content : JSON.stringify(content));
  const rows = await openRows([{ from, as }], { prompts: ["?"] });
  const brief = (part: string | MediaPart) => {
    if (typeof part === "string") return part;
    const { start, seconds } = part.options as { start?: number; seconds?: number };
    return `[${part.modality}:${String(part.source).replace(`${folder.path}/`, "")}${seconds === undefined ? "" : `@${start}+${seconds}`}]`;
  };
  const all = [];
  for (let i = 0; i < rows.length; ++i) all.push((await rows.row(i)).turns.map(({ content }) => content.map(brief).join("")).join(" -> "));
  await rows.close();
  return all;
}

const CASES: Readonly<Record<ReaderName, () => Promise<void>>> = {
  async clotho() {
    const csv = 'file_name,caption_1,caption_2,caption_3,caption_4,caption_5\na b.wav,one,"two, too",three,four,five\n';
    const rows = await read("clotho", "clotho_captions_development.csv", csv, ["a b.wav"]);
    assert.equal(
      rows,
      ["one", "two, too", "three", "four", "five"].map((text) => `?[audio:a b.wav] -> ${text}`),
    );
  },
  async audiocaps() {
    const csv = "audiocap_id,youtube_id,start_time,caption\n91139,r1nicOVtvkQ,130,A woman talks nearby\n";
    assert.equal(await read("audiocaps", "train.csv", csv, ["r1nicOVtvkQ.wav"]), [
      "?[audio:r1nicOVtvkQ.wav@130+10] -> A woman talks nearby",
    ]);
  },
  async audioset() {
    const head =
      "# Segments csv created Sun Mar  5 10:54:25 2017\n# num_ytids=2, num_segs=2\n# YTID, start_seconds, end_seconds, positive_labels\n";
    const csv = `${head}-0Rx, 420.000, 430.500, "/m/03v3yw,/m/0k4j"\nb1, 0.000, 8.000, "/m/0k4j"\n`;
    const heard = ["?[audio:-0Rx.wav@420+10.5] -> Keys, jangling; Car", "?[audio:b1.wav@0+8] -> Car"];
    const ontology = [
      { id: "/m/03v3yw", name: "Keys, jangling", child_ids: [] },
      { id: "/m/0k4j", name: "Car", restrictions: ["blacklist"] },
    ];
    folder.write("ontology.json", JSON.stringify(ontology));
    assert.equal(await read("audioset", "eval_segments.csv", csv, ["-0Rx.wav", "b1.wav"]), heard);
    folder.write("class_labels_indices.csv", 'index,mid,display_name\n0,/m/03v3yw,"Keys, jangling"\n1,/m/0k4j,Car\n');
    folder.write("ontology.json", "[]");
    assert.equal(await read("audioset", "eval_segments.csv", csv, []), heard);
  },
  async obelics() {
    const images = [
      ["https://x/1.jpg", null, null, "https://x/2.jpg", "https://x/gone.jpg", null, "https://x/1.jpg"],
      ["https://x/gone.jpg", null],
    ];
    const texts = [
      [null, "First.", "More.", null, null, "Second.", null],
      [null, "Nothing is seen."],
    ];
    // What was fetched: tables beside folders, one of them without a picture.
    const keys = { key: ["000000000", "000000001", "000000002"], status: ["success", "failed_to_download", "success"] };
    const url = ["https://x/1.jpg", "https://x/gone.jpg", "https://x/2.jpg"];
    folder.write("images/00000.parquet", parquetOf({ url, ...keys }));
    const document = parquetOf({ images, metadata: ["[]", "[]"], general_metadata: ["{}", "{}"], texts });
    assert.equal(await read("obelics", "train-00000.parquet", document, ["images/00000/000000000.jpg", "images/00000/000000002.png"]), [
      "[image:images/00000/000000000.jpg] -> First.\n\nMore. -> [image:images/00000/000000002.png] -> Second.",
    ]);
    const paths = parquetOf({ images: [[null, "a.png", null]], texts: [["Before.", null, "After."]] });
    assert.equal(await read("obelics", "own.parquet", paths, ["a.png"]), ["Before.\n[image:a.png] -> After."]);
  },
  async laion() {
    const columns = {
      url: ["https://x/1.jpg", "https://x/2.jpg", "https://x/3.jpg"],
      caption: ["one", "two", "three"],
      key: ["000000000", "000000001", "000000002"],
      status: ["success", "failed_to_download", "success"],
    };
    const files = ["00000/000000000.jpg", "00000/000000002.webp"];
    const rows = ["?[image:00000/000000000.jpg] -> one", "?[image:00000/000000002.webp] -> three"];
    assert.equal(await read("laion", "00000.parquet", parquetOf(columns), files), rows);
    const table = parquetOf({ URL: [...columns.url].reverse(), TEXT: ["c", "b", "a"], NSFW: ["UNLIKELY", null, null] });
    assert.equal(await read("laion", "part-00000.parquet", table, []), [
      "?[image:00000/000000002.webp] -> c",
      "?[image:00000/000000000.jpg] -> a",
    ]);
  },
  async "coco-captions"() {
    const annotations = [
      { image_id: 7, id: 1, caption: "A cat." },
      { image_id: 9, id: 2, caption: "A dog." },
      { image_id: 7, id: 3, caption: "Still a cat." },
    ];
    const images = [
      { id: 9, file_name: "000000000009.jpg" },
      { id: 7, file_name: "000000000007.jpg" },
    ];
    assert.equal(
      await read("coco-captions", "captions.json", { info: {}, images, annotations }, ["000000000007.jpg", "000000000009.jpg"]),
      ["?[image:000000000007.jpg] -> A cat.", "?[image:000000000009.jpg] -> A dog.", "?[image:000000000007.jpg] -> Still a cat."],
    );
  },
  async karpathy() {
    const image = (filename: string, split: string, ...raw: string[]) => ({
      filepath: "val2014",
      filename,
      split,
      sentences: raw.map((one) => ({ raw: one })),
    });
    const images = [image("a.jpg", "train", "x", "y"), image("b.jpg", "test", "z"), image("c.jpg", "restval", "w")];
    assert.equal(await read("karpathy", "dataset_coco.json", { images, dataset: "coco" }, ["val2014/a.jpg", "val2014/c.jpg"]), [
      "?[image:val2014/a.jpg] -> x",
      "?[image:val2014/a.jpg] -> y",
      "?[image:val2014/c.jpg] -> w",
    ]);
  },
  async "visual-genome-regions"() {
    const regions = [{ region_id: 1, x: 10, y: 20, width: 30, height: 40, phrase: "a clock", image_id: 1 }];
    assert.equal(await read("visual-genome-regions", "region_descriptions.json", [{ id: 1, regions }], ["VG_100K/1.jpg"]), [
      "[image:VG_100K/1.jpg]\nWhat is in the box [10, 20, 30, 40]? -> a clock",
    ]);
  },
  async "visual-genome-qa"() {
    const qas = [{ qa_id: 1, question: "What?", answer: "A clock.", image_id: 1 }];
    assert.equal(await read("visual-genome-qa", "question_answers.json", [{ id: 1, qas }], ["VG_100K/1.jpg"]), [
      "[image:VG_100K/1.jpg]\nWhat? -> A clock.",
    ]);
  },
  async howto100m() {
    // What is no text keeps its place: the times of the next one are not its.
    const content = { vid: { start: [1.5, 5, 8], end: [4, 6, 9], text: ["take the pan", null, "stir"] } };
    assert.equal(await read("howto100m", "caption.json", content, ["vid.mp4"]), [
      "?[video:vid.mp4@1.5+2.5] -> take the pan",
      "?[video:vid.mp4@8+1] -> stir",
    ]);
  },
  async "ego4d-narrations"() {
    const narrations = [
      { timestamp_sec: 1, narration_text: "#C C picks a cup" },
      { timestamp_sec: 30.5, narration_text: "#C C looks at #unsure" },
      { timestamp_sec: 40, narration_text: "#O A man walks" },
    ];
    const content = { videos: { uid: { narration_pass_1: { narrations }, status: "complete" } } };
    assert.equal(await read("ego4d-narrations", "narration.json", content, ["uid.mp4"]), [
      "?[video:uid.mp4@0+5] -> C picks a cup",
      "?[video:uid.mp4@37.5+5] -> A man walks",
    ]);
  },
  async mmc4() {
    const text = ["Intro.", "First.", "More.", "Second."];
    const infos = [
      { image_name: "b.png", matched_text_index: 3 },
      { image_name: "a.png", matched_text_index: 1 },
    ];
    const line = JSON.stringify({ url: "x", text_list: text, image_info: infos, similarity_matrix: [[0]] });
    assert.equal(await read("mmc4", "docs_shard_0_v2.jsonl", line, ["a.png", "b.png"]), [
      "Intro.\n[image:a.png] -> First. More. -> [image:b.png] -> Second.",
    ]);
    const odd = JSON.stringify({ text_list: [...text.slice(0, 2), null, text[3]], image_info: infos });
    assert.equal(await read("mmc4", "docs_shard_1_v2.jsonl", odd, ["a.png", "b.png"]), [
      "Intro.\n[image:a.png] -> First. -> [image:b.png] -> Second.",
    ]);
  },
};
for (const name of Object.keys(READERS) as ReaderName[]) test(name, CASES[name]);

test("a file of another set, and a reader that is none", async () => {
  const from = folder.write("captions.json", "[]");
  const told = async (as: string, words: RegExp) =>
    openRows([{ from, as: as as ReaderName }], {}).then(
      () => assert.unreachable(as),
      ({ message }: Error) => assert.match(message, words),
    );
  await told("coco-captions", /captions\.json: expected COCO's captions_\*\.json.*got a list; name the reader whose file it is/);
  await told("coco", /data: as: expected one of clotho, .*got coco/);
  folder.write("captions.json", '{"images": 3}');
  await told("coco-captions", /got nothing of it/);
});

test("what belongs to a file and is not there is named, with what brings it", async () => {
  const told = (from: string, as: ReaderName, ...words: (string | RegExp)[]) =>
    rejects(openRows([{ from, as }], {}), dataError("E_DATA", ...words));
  const segments = folder.write("eval_segments.csv", '# YTID\na, 0.000, 10.000, "/m/1"\n');
  await told(segments, "audioset", "names of the labels in class_labels_indices.csv or ontology.json beside it, got none of the two");
  const urls = folder.write("part.parquet", parquetOf({ URL: ["https://x/1.jpg", "http://x/2.jpg"], TEXT: ["a", "b"] }));
  await told(urls, "laion", "2 URLs, of which none was fetched", /img2dataset --url_list part\.parquet .*--url_col URL --caption_col TEXT/);
  await rejects(openRows(urls, {}), dataError("E_DATA", "media are files, not URLs", /img2dataset.*reader "laion"/));
  const web = folder.write("web.parquet", parquetOf({ images: [["https://x/1.jpg", null]], texts: [[null, "Words."]] }));
  await told(web, "obelics", "1 URLs, of which none was fetched");
  await told(urls, "obelics", "OBELICS");
});

test("bad lines of AudioSet and documents of OBELICS are named, and the others are kept", async () => {
  folder.write("class_labels_indices.csv", "index,mid,display_name\n0,/m/1,Car\n");
  folder.write("ok.wav", "bytes");
  const lines = [
    'ok, 0.000, 10.000, "/m/1"',
    'ok, 10.000, 10.000, "/m/1"',
    "what is this",
    'ok, 0.000, 1.000, "/m/2"',
    'ok, 5.000, 7.500, "/m/1"',
  ];
  const told: string[] = [];
  const reading = { onBadRow: "skip", onProblem: ({ message }: Error) => void told.push(message) } as const;
  const rows = await openRows([{ from: folder.write("s.csv", `# YTID\n${lines.join("\n")}\n`), as: "audioset" }], reading);
  assert.is(rows.length, 2);
  assert.equal(
    told.map((message) => /s\.csv:(\d+): expected/.exec(message)?.[1]),
    ["3", "4", "5"],
  );
  assert.match(told[0] as string, /expected YTID, start_seconds/);
  assert.match(told[2] as string, /labels of .*got "\/m\/2"/);
  const uneven = parquetOf({
    images: [["a.png", null], [null]],
    texts: [
      [null, "x"],
      ["y", "z"],
    ],
  });
  folder.write("a.png", "bytes");
  told.length = 0;
  const documents = await openRows([{ from: folder.write("d.parquet", uneven), as: "obelics" }], reading);
  assert.is(documents.length, 1);
  assert.match(told.join(), /d\.parquet:2: expected images and texts, lists of one length, got 1 and 2/);
});

test.run();
