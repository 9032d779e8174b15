// Options of media wherever they can be given: in a script, for a whole file, in a row, in a recipe, on the command line. The numbers are the same.
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { inFlags } from "../../lib/cli/in-flags.js";
import { mediaOption } from "../../lib/cli/media-flags.js";
import { describeError } from "../../lib/cli/output.js";
import { inline, mediaPart } from "../../lib/cli/prompt-text.js";
import { readCaptions } from "../../lib/data/captions.js";
import { readConversations } from "../../lib/data/conversations.js";
import { featureKey } from "../../lib/data/feature-key.js";
import { mediaOf } from "../../lib/data/row.js";
import { type ImuOptions, type ImuPart, imu, loadImuAt } from "../../lib/media/imu.js";
import { MEDIA_OPTIONS, type MediaOptions } from "../../lib/media/media-options.js";
import type { MediaPart } from "../../lib/media/part.js";
import { recipe } from "../../lib/train/recipe.js";
import { at, DEGREES, G, table } from "../media/imu-signal.js";
import { dataError, Folder, rejects } from "./files.js";

const test = suite("options of media");
const folder = new Folder();
test.after(() => folder.remove());

// Nothing of this file can be known without options.
const path = folder.write(
  "odd.csv",
  table("n,sx,sy,sz,rx,ry,rz", (i) => [i, ...at(i, { acceleration: 1 / G, gyroscope: DEGREES })]),
);
const columns = { ax: "sx", ay: "sy", az: "sz", gx: "rx", gy: "ry", gz: "rz" };
const options: ImuOptions = { sampleRate: 100, acceleration: "g", gyroscope: "deg/s", columns, axes: ["x", "-z", "y"], seconds: 2 };
const FLAGS = [
  "imu.sampleRate=100",
  "imu.acceleration=g",
  "imu.gyroscope=deg/s",
  "imu.columns.ax=sx",
  'imu.columns={ ay: sy, az: "sz", gx: rx }',
  "imu.columns.gy=ry",
  "imu.columns.gz=rz",
  "imu.axes=x,-z,y",
  "imu.seconds=2",
];
const flags = () => FLAGS.reduce<MediaOptions>((before, flag) => mediaOption(flag, before), {});
const caption = (value: unknown) => folder.write("captions.jsonl", JSON.stringify({ imu: value, caption: "a nod" }));
const mediumOf = async (rows: ReturnType<typeof readCaptions>) => mediaOf((await rows)[0]!)[0] as ImuPart;

test("one recording by every way gives the same samples", async () => {
  const want = await loadImuAt(imu(path, options), 200);
  assert.is(want.samples.length, 6 * 400);
  const written = recipe({ media: { imu: { ...options } }, align: { imu: { data: caption("odd.csv") } } });
  const chat = inline(`what moves? <imu:${path}>`, flags())[1] as ImuPart;
  const conversation = folder.write(
    "talk.json",
    JSON.stringify([{ imu: { path: "odd.csv", ...options }, conversations: [{ from: "human", value: "<imu>?" }, { from: "gpt", value: "a nod" }] }]), // biome-ignore format: a row
  );
  const parts = (part: object) =>
    folder.write("parts.json", JSON.stringify([{ messages: [{ role: "user", content: [part, { type: "text", text: "?" }] }, { role: "assistant", content: "a nod" }] }])); // biome-ignore format: a row
  const ways: [string, ImuPart][] = [
    ["a file's media", await mediumOf(readCaptions(caption("odd.csv"), { media: { imu: options } }))],
    ["a row", await mediumOf(readCaptions(caption({ path: "odd.csv", ...options })))],
    ["a row before the file's", await mediumOf(readCaptions(caption({ path: "odd.csv", ...options }), { media: { imu: { acceleration: "m/s2", seconds: 1 } } }))], // biome-ignore format: one way
    ["a conversation", await mediumOf(readConversations(conversation))],
    ["a part", await mediumOf(readConversations(parts({ type: "imu", imu: { path: "odd.csv", ...options } })))],
    ["a part's own keys", await mediumOf(readConversations(parts({ type: "imu", path: "odd.csv", ...options })))],
    ["a recipe", await mediumOf(readCaptions(caption("odd.csv"), { media: written.media }))],
    ["flags", mediaPart("imu", path, flags()) as ImuPart],
    ["a chat", chat],
  ];
  for (const [way, part] of ways) assert.equal((await loadImuAt(part, 200)).samples, want.samples, way);
});

test("a list of files in a row is one recording; a list without options is several", async () => {
  folder.write("walk/Accelerometer.csv", table("time_ms,x,y,z", (i) => [i * 10, ...at(i).slice(0, 3)])); // biome-ignore format: short
  folder.write("walk/Gyroscope.csv", table("time_ms,x,y,z", (i) => [i * 10, ...at(i).slice(3)])); // biome-ignore format: short
  const files = ["walk/Accelerometer.csv", "walk/Gyroscope.csv"];
  const both = await mediumOf(readCaptions(caption({ path: files })));
  assert.equal(both.source, files.map((file) => join(folder.path, file))); // biome-ignore format: short
  const whole = await mediumOf(readCaptions(caption("walk")));
  assert.equal((await loadImuAt(both, 100)).samples, (await loadImuAt(whole, 100)).samples);
  assert.is((await loadImuAt(both, 100)).samples.length, 6 * 301);
});

test("a list within a conversation's list is one clip, whose frames are looked at each by itself", async () => {
  for (const name of ["2.png", "1.png", "c.mp4"]) folder.write(`clips/${name}`, name);
  symlinkSync(folder.write("outside.png", "secret"), join(folder.path, "clips/link.png"));
  const rows = (videos: unknown[]) => {
    const content = `${"<video>".repeat(videos.length)}What?`;
    const messages = [{ role: "user", content }, { role: "assistant", content: "A ring." }]; // biome-ignore format: short
    return readConversations(folder.write("clips/rows.jsonl", JSON.stringify({ messages, videos })), { confine: true });
  };
  const path = (name: string) => join(folder.path, "clips", name);
  const [row] = await rows([["2.png", "1.png"], "c.mp4"]);
  const media = mediaOf(row!);
  assert.equal(media.map(({ source }) => source), [[path("2.png"), path("1.png")], path("c.mp4")]); // biome-ignore format: short
  const key = await featureKey(media[0]!, "clip");
  const turned = mediaOf((await rows([["1.png", "2.png"]]))[0]!);
  assert.is.not(await featureKey(turned[0]!, "clip"), key);
  const wrong = (frames: unknown, ...words: RegExp[]) => rejects(rows([frames]), dataError("E_ROW", ...words));
  await wrong(["1.png", "link.png"], /a link to outside of the root/);
  await wrong(["1.png", "../outside.png"], /outside of the root/);
  await wrong(["1.png", "none.png"], /none\.png, got no such file/);
  await wrong(["1.png", "."], /a folder/);
  await wrong(["1.png", 5], /the path of the video/);
});

test("a part of a message may name a clip's pictures, with options or without", async () => {
  for (const name of ["2.png", "1.png"]) folder.write(`parts/${name}`, name);
  const part = { type: "video", video: ["2.png", "1.png"] };
  const rowOf = (one: object) => ({ messages: [{ role: "user", content: [one, "What?"] }, { role: "assistant", content: "A ring." }] }); // biome-ignore format: short
  const rows = [part, { ...part, fps: 2 }].map((one) => JSON.stringify(rowOf(one))).join("\n");
  const read = await readConversations(folder.write("parts/rows.jsonl", rows));
  const [plain, rated] = read.map((row) => mediaOf(row)[0]!);
  const paths = ["2.png", "1.png"].map((name) => join(folder.path, "parts", name));
  assert.equal([plain!.source, rated!.source], [paths, paths]);
  assert.is((rated as { options: { fps?: number } }).options.fps, 2);
  const wrong = folder.write("parts/wrong.jsonl", JSON.stringify(rowOf({ type: "image", image: ["1.png", "2.png"] })));
  await rejects(readConversations(wrong), dataError("E_ROW", /the path of the image/));
});

test("what a row may not say", async () => {
  const wrong = (value: unknown, ...words: RegExp[]) => rejects(readCaptions(caption(value)), dataError("E_ROW", ...words));
  await wrong({ path: "odd.csv", sampelRate: 5 }, /imu\.sampelRate to be a known option/, /did you mean "sampleRate"/);
  await wrong({ path: "odd.csv", acceleration: "kg" }, /imu\.acceleration to be one of g, m\/s2, mg, got "kg"/);
  await wrong({ path: "odd.csv", columns: { bx: "sx" } }, /imu\.columns to be a mapping/);
  await wrong({ path: "odd.csv", onNotice: "x" }, /unknown/);
  await wrong({ file: "odd.csv" }, /the path of the imu, got an object with file/);
  await wrong({ path: [] }, /the path of the imu/);
  await wrong({ path: ["odd.csv", "none.csv"] }, /none\.csv, got no such file/);
  const row = (value: object) => folder.write("video.jsonl", JSON.stringify({ video: value, caption: "x" }));
  // A data set must not choose a program.
  folder.write("clip.mp4", "bytes");
  await rejects(readCaptions(row({ path: "clip.mp4", ffmpeg: "/elsewhere/evil" })), dataError("E_ROW", /no option ffmpeg in a row/));
  await readCaptions(row({ path: "clip.mp4", maxFrames: 1e9 }));
  await rejects(readCaptions(row({ path: "clip.mp4", maxFrames: 1e9 }), { confine: true }), dataError("E_ROW", /no option maxFrames/));
});

test("confined data reads nothing from outside, beside a file or in a folder either", async () => {
  const outside = folder.write("gyro.csv", "secret");
  folder.write("data/acc.csv", "x");
  symlinkSync(outside, join(folder.path, "data/gyro.csv"));
  const data = (value: string) => folder.write("data/rows.jsonl", JSON.stringify({ imu: value, caption: "x" }));
  for (const value of ["acc.csv", "."])
    await rejects(readCaptions(data(value), { confine: true }), dataError("E_ROW", /a link to outside of the root/));
  await readCaptions(data("acc.csv"));
});

test("features are kept by all that is read", async () => {
  const [acc, gyro] = ["acc.csv", "gyro.csv"].map((name) => folder.write(`kept/${name}`, "1"));
  const part = (source: ImuPart["source"], own: ImuOptions = {}): MediaPart => ({ modality: "imu", source, options: own });
  const keys = () => Promise.all([part(acc!), part([acc!, gyro!]), part(join(folder.path, "kept"))].map((one) => featureKey(one, "f")));
  const before = await keys();
  assert.is(new Set(before).size, 3);
  assert.equal(await keys(), before);
  folder.write("kept/gyro.csv", "22");
  for (const [i, key] of (await keys()).entries()) assert.is.not(key, before[i]);
  const listening = part(acc!, { onNotice: () => {} });
  assert.is(await featureKey(listening, "f"), await featureKey(part(acc!), "f"));
});

test("a recipe's media are checked", () => {
  const wrong = (media: unknown, message: RegExp) => assert.throws(() => recipe({ media }), message);
  wrong({ imu: { sample_rate: 50 } }, /media\.imu\.sample_rate to be a known option.*did you mean "sampleRate"/);
  wrong({ imu: { maxGap: "long" } }, /media\.imu\.maxGap to be a number of at least 0, got "long"/);
  wrong({ smell: {} }, /media\.smell to be one of image, video, audio, imu/);
  wrong({ imu: 5 }, /media\.imu to be a mapping/);
  wrong([], /media to be a mapping/);
  assert.equal(recipe({ media: { video: { start: 2 } } }).media, { video: { start: 2 } });
});

test("flags", () => {
  assert.equal(flags(), { imu: options });
  assert.equal(mediaOption("imu.columns.time=01"), { imu: { columns: { time: "01" } } });
  assert.equal(mediaOption("imu.columns.time=7"), { imu: { columns: { time: 7 } } });
  assert.equal(mediaOption("imu.sort=true"), { imu: { sort: true } });
  assert.equal(mediaOption('imu.axes=[x, "-z", y]'), { imu: { axes: ["x", "-z", "y"] } });
  assert.equal(mediaOption("video.start=2", { imu: { row: 1 } }), { imu: { row: 1 }, video: { start: 2 } });
  for (const [text, message] of [
    ["imu.sampelRate=50", /did you mean "sampleRate"/],
    ["imu.sampleRate=fast", /a number above 0, got "fast"/],
    ["imu.columns.bx=a", /imu\.columns/],
    ["smell.x=1", /KIND\.OPTION=VALUE/],
    ["imu.row=", /KIND\.OPTION=VALUE/],
    ["imu=1", /KIND\.OPTION=VALUE/],
  ] as const)
    assert.throws(() => mediaOption(text), message);
});

test("what a message proposes is a flag that can be given", async () => {
  const proposals = [
    ['give the option time: "ms"', "give --media-option imu.time=ms"],
    ['say which with the option columns: { ax: "Acc X" }', `say which with --media-option 'imu.columns={ ax: "Acc X" }'`],
    ['with the option place: "left wrist"', "with --media-option 'imu.place=left wrist'"],
    ["with the option maxGap: 5.1", "with --media-option imu.maxGap=5.1"],
    ["give the option sampleRate in Hz", "give --media-option imu.sampleRate=… in Hz"],
    ["set the option fps", "set --media-option video.fps=…"],
    ["raise the option maxPixels", "raise --media-option KIND.maxPixels=… (KIND: image, video)"],
    ["pass the option frames", "pass the option frames"],
  ];
  for (const [said, want] of proposals) assert.is(inFlags(said!), want);
  const error = await loadImuAt(imu(path), 100).catch((cause) => cause);
  assert.match(describeError(error), /--media-option 'imu\.columns=\{ ax: "…"/);
  // Every option that the library's messages name is one of these.
  for (const [modality, schema] of Object.entries(MEDIA_OPTIONS))
    for (const name of Object.keys(schema))
      assert.match(inFlags(`the option ${name}`), new RegExp(`--media-option (KIND|${modality}).${name}=`));
});

test.run();
