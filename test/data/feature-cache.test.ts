// Features are made once for a file, its processing and its encoder; nothing in the folder can break a run.
import { execFile, execFileSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { FeatureCache, type Features } from "../../lib/data/feature-cache.js";
import { featureKey, folderFingerprint } from "../../lib/data/feature-key.js";
import { KnownHashes } from "../../lib/data/known-hashes.js";
import { AnymalError, SafetensorsFile } from "../../lib/index.js";
import { audio } from "../../lib/media/audio.js";
import { image } from "../../lib/media/image.js";
import { Folder } from "./files.js";

let folder: Folder;
test.before.each(() => {
  folder = new Folder();
});
test.after.each(() => folder.remove());

const features = (n: number, first = 0): Features => ({ data: Float32Array.from({ length: n }, (_, i) => first + i / 7), shape: [1, n] });
const make =
  (n: number, first = 0) =>
  async () =>
    features(n, first);
const never = async (): Promise<Features> => {
  throw new Error("made again");
};
const stored = (): string[] =>
  (readdirSync(folder.path, { recursive: true, encoding: "utf8" }) as string[])
    .filter((name) => name.endsWith(".safetensors"))
    .map((name) => join(folder.path, name));
const bytesStored = () => stored().reduce((sum, path) => sum + statSync(path).size, 0);

test("memory: made once, the least recently used goes first", async () => {
  const cache = new FeatureCache({ memoryBytes: 3 * 400 });
  for (const key of ["a", "b", "c"]) await cache.getOrMake(key, make(100));
  await cache.getOrMake("a", never);
  await cache.getOrMake("d", make(100)); // b goes
  for (const key of ["a", "c", "d"]) await cache.getOrMake(key, never);
  assert.equal((await cache.getOrMake("b", make(100, 5))).data, features(100, 5).data);
  assert.equal(cache.counts, { memory: 4, disk: 0, made: 5 });
  await cache.getOrMake("large", make(1000));
  assert.equal((await cache.getOrMake("large", make(1000, 1))).data[0], 1, "larger than all of the memory: not kept");
  await cache.getOrMake("b", never);
});

test("a folder: another cache finds what was made, as an ordinary safetensors file", async () => {
  await new FeatureCache({ folder: folder.path }).getOrMake("a", async () => ({ ...features(12), shape: [2, 3, 2] }));
  const other = new FeatureCache({ folder: folder.path, memoryBytes: 0 });
  assert.equal(await other.getOrMake("a", never), { data: features(12).data, shape: [2, 3, 2] });
  await other.getOrMake("a", never);
  assert.equal(other.counts, { memory: 0, disk: 2, made: 0 });
  const [path] = stored();
  const file = new SafetensorsFile(path!);
  assert.equal(file.values("features"), features(12).data);
  file.close();
  assert.is(readdirSync(join(path!, "..")).length, 1, "nothing temporary stays");
});

test("bf16: half the room, and the first answer equals the later ones", async () => {
  const values = [1 / 3, -2.7, 65504, 1.00390625, 1.01171875, Number.NaN, Infinity, -0, 1e-40];
  const wanted = [0.333984375, -2.703125, 65536, 1, 1.015625, Number.NaN, Infinity, -0];
  const make = async () => ({ data: Float32Array.from(values), shape: [values.length] });
  const first = await new FeatureCache({ folder: folder.path, dtype: "bf16" }).getOrMake("a", make);
  const second = await new FeatureCache({ folder: folder.path, dtype: "bf16" }).getOrMake("a", never);
  assert.equal(Array.from(first.data).slice(0, -1), wanted);
  assert.equal(new Uint32Array(second.data.buffer), new Uint32Array(first.data.buffer));
  assert.ok((await new FeatureCache({ folder: folder.path }).getOrMake("a", make)).data[0] === Math.fround(1 / 3), "f32 is kept apart");
});

test("who asks while it is made waits for the same; a failure is not kept", async () => {
  const cache = new FeatureCache({ folder: folder.path });
  let made = 0;
  let [begun, finish] = [() => {}, () => {}];
  const beginning = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const ending = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const slow = async () => {
    made++;
    begun();
    await ending;
    return features(5);
  };
  const early = Array.from({ length: 4 }, () => cache.getOrMake("a", slow));
  await beginning;
  const late = Array.from({ length: 4 }, () => cache.getOrMake("a", slow));
  finish();
  const answers = await Promise.all([...early, ...late]);
  assert.is(made, 1);
  assert.ok(answers.every((answer) => answer === answers[0]));
  const failing = () =>
    cache.getOrMake("b", never).then(
      () => "made",
      (error: Error) => error.message,
    );
  assert.equal(await Promise.all([failing(), failing()]), ["made again", "made again"]);
  await cache.getOrMake("b", make(3));
  const wrong = await cache
    .getOrMake("c", async () => ({ data: new Float32Array(5), shape: [2, 3] }))
    .catch((error: AnymalError) => error.code);
  assert.is(wrong, "E_SHAPE");
});

test("entries that were damaged are made again and replaced", async () => {
  const damage: [string, (path: string) => void][] = [
    ["cut off", (path) => truncateSync(path, statSync(path).size - 3)],
    ["empty", (path) => truncateSync(path, 0)],
    ["no file of ours", (path) => writeFileSync(path, "x".repeat(400))],
    [
      "a bit flipped",
      (path) =>
        writeFileSync(
          path,
          readFileSync(path).map((byte, i, all) => (i === all.length - 5 ? byte ^ 1 : byte)),
        ),
    ],
    ["another tensor", (path) => writeFileSync(path, readFileSync(path, "latin1").replace('"features"', '"textures"'), "latin1")],
    ["no hash", (path) => writeFileSync(path, readFileSync(path, "latin1").replace("sha256", "sha255"), "latin1")],
    [
      "numbers of another width, well hashed",
      (path) => writeFileSync(path, readFileSync(path, "latin1").replace('"F32"', '"I32"'), "latin1"),
    ],
  ];
  await new FeatureCache({ folder: folder.path }).getOrMake("a", make(50));
  const [path] = stored();
  for (const [i, [what, harm]] of damage.entries()) {
    harm(path!);
    const made = await new FeatureCache({ folder: folder.path }).getOrMake("a", make(50, i + 1));
    assert.equal(made.data, features(50, i + 1).data, what);
    assert.equal((await new FeatureCache({ folder: folder.path }).getOrMake("a", never)).data, made.data, what);
  }
});

test("an entry that is a link or a pipe is not read, and what is made takes its place", async () => {
  const cache = () => new FeatureCache({ folder: folder.path, memoryBytes: 0 });
  await cache().getOrMake("a", make(12));
  const path = stored()[0]!;
  const aside = join(folder.path, "aside");
  const pipe = () => execFileSync("mkfifo", [path]);
  for (const [i, place] of [() => symlinkSync(aside, path), () => symlinkSync("/dev/zero", path), pipe].entries()) {
    renameSync(path, aside);
    place();
    const own = await cache().getOrMake("a", make(12, 10 + i));
    assert.is(own.data[0], 10 + i, "made again");
    assert.ok(lstatSync(path).isFile());
    assert.is((await cache().getOrMake("a", never)).data[0], 10 + i);
  }
});

test("the folder stays below its limit, and what was used lately stays in it", async () => {
  const options = { folder: folder.path, memoryBytes: 0 };
  await new FeatureCache(options).getOrMake("probe", make(1000));
  const size = bytesStored();
  const cache = new FeatureCache({ ...options, maxBytes: 6 * size });
  const age = () => {
    for (const path of stored()) utimesSync(path, new Date(), new Date(statSync(path).mtimeMs - 10_000));
  };
  await cache.getOrMake("favourite", make(1000));
  for (let i = 0; i < 20; ++i) {
    age();
    await cache.getOrMake("favourite", never);
    await cache.getOrMake(`${i}`, make(1000));
    assert.ok(bytesStored() <= 6 * size, `${i}: ${bytesStored()}`);
  }
  await cache.getOrMake("19", never);
  assert.is(await cache.getOrMake("probe", never).catch((error: Error) => error.message), "made again");
  await cache.getOrMake("huge", make(10_000));
  assert.ok(bytesStored() <= 6 * size, "larger than the limit: not written");
});

test("remains of a process that died go with the first look at the folder, files of others stay", async () => {
  const [old, fresh, other] = ["ab/1.safetensors.1.x.tmp", "ab/2.safetensors.1.x.tmp", "notes.txt"].map((name) => folder.write(name, "x"));
  utimesSync(old!, new Date(), new Date(Date.now() - 7_200_000));
  await new FeatureCache({ folder: folder.path }).getOrMake("a", make(5));
  assert.equal([old!, fresh!, other!].map(existsSync), [false, true, true]);
});

test("a folder that cannot be written warns once and costs nothing else", async () => {
  const blocked = folder.write("file", "x");
  const warnings: string[] = [];
  const note = (warning: Error) => void warnings.push(warning.message);
  process.on("warning", note);
  const cache = new FeatureCache({ folder: join(blocked, "cache") });
  for (const key of ["a", "b"]) assert.equal((await cache.getOrMake(key, make(5))).data, features(5).data);
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", note);
  assert.is(warnings.length, 1);
  assert.match(warnings[0]!, /feature cache: cannot write/);
});

test("two processes on one folder: both get every feature right", async () => {
  const script = `
    import { FeatureCache } from ${JSON.stringify(new URL("../../lib/data/feature-cache.ts", import.meta.url).href)};
    const cache = new FeatureCache({ folder: process.argv[1], memoryBytes: 0, maxBytes: 40000 });
    for (let i = 0; i < 120; ++i) {
      const key = (Math.floor(i / 2) * 7) % 24; // twice in a row: the second is there, whatever the other process removes
      const { data } = await cache.getOrMake(String(key), async () => ({ data: new Float32Array(600).fill(key), shape: [600] }));
      if (data.length !== 600 || data.some((value) => value !== key)) throw new Error("wrong features of " + key);
    }
    console.log(JSON.stringify(cache.counts));`;
  const run = () => promisify(execFile)(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script, folder.path]);
  const counts = (await Promise.all([run(), run()])).map(({ stdout }) => JSON.parse(stdout) as { disk: number; made: number });
  assert.ok(counts.every(({ disk, made }) => disk + made === 120));
  assert.ok(counts.reduce((sum, { disk }) => sum + disk, 0) > 0);
  assert.ok(bytesStored() <= 40_000 + 3_000, `${bytesStored()}`);
});

test("keys: content, options, modality and encoder count; names and times do not", async () => {
  const [a, same, other] = [folder.write("a.png", "one"), folder.write("b.png", "one"), folder.write("c.png", "two")];
  const key = await featureKey(image(a), "clip");
  assert.match(key, /^[0-9a-f]{64}$/);
  assert.is(await featureKey(image(same), "clip"), key);
  assert.is(await featureKey(image(`file://${a}`), "clip"), key);
  assert.is(await featureKey(image(Buffer.from("one")), "clip"), key);
  assert.is(await featureKey(image("data:image/png;base64,b25l"), "clip"), key);
  assert.is(await featureKey(image(a, {}), "clip"), await featureKey(image(a), "clip"));
  const others = [
    await featureKey(image(other), "clip"),
    await featureKey(image(a), "siglip"),
    await featureKey(image(a, { maxPixels: 5 }), "clip"),
    await featureKey(audio(a), "clip"),
  ];
  assert.is(new Set([key, ...others]).size, 5);
  writeFileSync(a, "six"); // as long as before
  assert.is.not(await featureKey(image(a), "clip"), key);
  const sound = (samples: number[], sampleRate: number) => featureKey(audio({ samples: Float32Array.from(samples), sampleRate }), "clap");
  assert.is(await sound([1, 2], 8), await sound([1, 2], 8));
  assert.is(new Set([await sound([1, 2], 8), await sound([1, 3], 8), await sound([1, 2], 9), await sound([1, 2, 0], 8)]).size, 4);
  const missing = await featureKey(image(join(folder.path, "no.png")), "clip").catch((error: AnymalError) => error.code);
  assert.is(missing, "E_MEDIA_SOURCE");
});

test("keys of folders: a clip by its frames, an encoder by its configurations and weights", async () => {
  folder.write("model/config.json", "{}");
  folder.write("model/model.safetensors", "weights");
  const before = await folderFingerprint(join(folder.path, "model"));
  folder.write("model/README.md", "anything");
  mkdirSync(join(folder.path, "model/onnx"));
  symlinkSync(join(folder.path, "model/README.md"), join(folder.path, "model/link.md"));
  assert.is(await folderFingerprint(join(folder.path, "model")), before);
  folder.write("model/model.safetensors", "Weights");
  assert.is.not(await folderFingerprint(join(folder.path, "model")), before);
  const clip = (name: string) => featureKey({ modality: "video", source: join(folder.path, name), options: {} }, "clip");
  for (const name of ["x", "y"]) folder.write(`${name}/0.png`, "one");
  assert.is(await clip("x"), await clip("y"));
  folder.write("y/1.png", "one");
  assert.is.not(await clip("x"), await clip("y"));
});

test("of hashes that are known, the oldest goes; one of a file that has changed is not known", () => {
  const known = new KnownHashes(2);
  for (const place of ["a", "b", "a", "c"]) known.set(place, "1", `hash of ${place}`);
  assert.is(known.get("a", "1"), "hash of a");
  assert.is(known.get("b", "1"), undefined);
  assert.is(known.get("c", "1"), "hash of c");
  assert.is(known.get("c", "2"), undefined);
  const many = new KnownHashes();
  for (let i = 0; i < 70_000; ++i) many.set(`${i}`, "1", "x");
  assert.is(many.get("0", "1"), undefined);
  assert.is(many.get("69999", "1"), "x");
});

test("options that are wrong", () => {
  for (const [options, message] of [
    [{ maxBytes: -1 }, /maxBytes: expected a number of bytes/],
    [{ memoryBytes: Number.NaN }, /memoryBytes/],
    [{ dtype: "f16" as "bf16" }, /f32 or bf16, got f16/],
  ] as const)
    assert.throws(
      () => new FeatureCache(options),
      (error: Error) => error instanceof AnymalError && message.test(error.message),
    );
});

test.run();
