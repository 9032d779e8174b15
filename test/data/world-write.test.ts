// The tiny world as a folder: the same bytes for the same seed, files that our loaders and readers take, questions that their media answer.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readCaptions } from "../../lib/data/captions.js";
import { readConversations } from "../../lib/data/conversations.js";
import { Draw } from "../../lib/data/draw.js";
import { DataError } from "../../lib/data/row.js";
import { caption, questions } from "../../lib/data/world/language.js";
import { renderAudio } from "../../lib/data/world/render-audio.js";
import { renderImage } from "../../lib/data/world/render-image.js";
import { renderImu } from "../../lib/data/world/render-imu.js";
import { renderVideo } from "../../lib/data/world/render-video.js";
import type { AudioScene, ImageScene, ImuScene, VideoScene } from "../../lib/data/world/scenes.js";
import { type WorldOptions, worldScene, writeWorld } from "../../lib/data/world/write.js";
import { audio, loadAudio } from "../../lib/media/audio.js";
import { image, loadImage, type Pixels } from "../../lib/media/image.js";
import { imu, loadImu } from "../../lib/media/imu.js";
import { loadVideo, video } from "../../lib/media/video.js";
import { some } from "../some.js";

const MODALITIES = ["image", "video", "audio", "imu"] as const;
const SPLITS = ["train", "heldout"] as const;
const COUNTS = { image: 6, video: 6, audio: 3, imu: 3 };
const OPTIONS: WorldOptions = { seed: 5, train: COUNTS, heldout: COUNTS, mixed: { train: 8, heldout: 8 } };

const folders: string[] = [];
const newFolder = () => {
  folders.push(mkdtempSync(join(tmpdir(), "anymal-world-")));
  return folders.at(-1)!;
};
const filesOf = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: "utf8", withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
const json = (path: string) => JSON.parse(readFileSync(path, "utf8"));

const world = newFolder();
test.before(() => writeWorld(world, OPTIONS));
test.after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

test("the same seed writes the same bytes, another does not", async () => {
  const [again, other] = [newFolder(), newFolder()];
  await writeWorld(again, OPTIONS);
  await writeWorld(other, { ...OPTIONS, seed: 6 });
  const names = filesOf(world);
  assert.equal(filesOf(again), names);
  assert.is(names.length, 2 * (6 + 6 + 3 + 3) + 4 * 4 + 2);
  for (const name of names) assert.ok(readFileSync(join(world, name)).equals(readFileSync(join(again, name))), name);
  const media = names.filter((name) => !name.includes("json"));
  for (const name of media) assert.not(readFileSync(join(world, name)).equals(readFileSync(join(other, name))), name);
});

test("more files leave the first ones as they are", async () => {
  const more = newFolder();
  await writeWorld(more, { seed: 5, train: { image: 9 }, heldout: {} });
  for (const name of some(filesOf(world).filter((file) => file.startsWith("image/train/"))))
    assert.ok(readFileSync(join(world, name)).equals(readFileSync(join(more, name))), name);
});

/** The mean and the largest difference of two pictures. */
function differences(got: Pixels, want: Pixels): [number, number] {
  assert.equal([got.width, got.height], [want.width, want.height]);
  const all = got.data.map((v, i) => Math.abs(v - want.data[i]!));
  return [all.reduce((sum, v) => sum + v, 0) / all.length, Math.max(...all)];
}

test("pictures: PNG as rendered, every third a JPEG close to it", async () => {
  for (let i = 0; i < COUNTS.image; ++i) {
    const { scene, draw } = worldScene(5, "image", "train", i);
    const want = renderImage(scene as ImageScene, draw);
    const got = await loadImage(image(join(world, `image/train/0000${i}.${i % 3 === 2 ? "jpg" : "png"}`)));
    if (i % 3 < 2) assert.equal(differences(got, want), [0, 0]);
    else assert.ok(differences(got, want)[0] < 4, `${differences(got, want)}`);
  }
});

test("clips: GIF and every third a WebP, eight frames close to what was rendered", async () => {
  for (let i = 0; i < COUNTS.video; ++i) {
    const { scene, draw } = worldScene(5, "video", "heldout", i);
    const want = renderVideo(scene as VideoScene, draw);
    const got = await loadVideo(video(join(world, `video/heldout/0000${i}.${i % 3 === 2 ? "webp" : "gif"}`)), 8);
    assert.is(new Set(got.frames).size, 8);
    assert.ok(Math.abs(got.fps! - want.fps) < 0.5, `${got.fps} frames per second`);
    for (const [f, frame] of want.frames.entries()) {
      const [mean] = differences(got.frames[f]!, frame);
      assert.ok(mean < 3.5, `${i}: frame ${f} differs by ${mean}`);
    }
  }
});

test("sounds: WAV within half a step of 16 bits", async () => {
  const { scene, draw } = worldScene(5, "audio", "train", 1);
  const want = renderAudio(scene as AudioScene, draw);
  const got = await loadAudio(audio(join(world, "audio/train/00001.wav")));
  assert.equal([got.sampleRate, got.samples.length], [16000, 32000]);
  const worst = got.samples.reduce((most, v, t) => Math.max(most, Math.abs(v - want.samples[t]!)), 0);
  assert.ok(worst < 1 / 32000, `${worst}`);
});

test("recordings: CSV with three decimals", async () => {
  const { scene, draw } = worldScene(5, "imu", "train", 2);
  const want = renderImu(scene as ImuScene, draw);
  const got = await loadImu(imu(join(world, "imu/train/00002.csv")));
  assert.ok(Math.abs(got.sampleRate - 100) < 1e-6);
  assert.is(got.samples.length, want.samples.length);
  const worst = got.samples.reduce((most, v, t) => Math.max(most, Math.abs(v - want.samples[t]!)), 0);
  assert.ok(worst < 0.00051, `${worst}`);
});

test("captions say what the scene shows, and our reader takes them", async () => {
  for (const modality of MODALITIES)
    for (const split of SPLITS) {
      const rows = await readCaptions(join(world, modality, `captions.${split}.jsonl`));
      assert.is(rows.length, COUNTS[modality]);
      for (const [i, row] of rows.entries()) {
        assert.equal(row.turns.at(-1)!.content, [caption(worldScene(5, modality, split, i).scene)]);
        const media = row.turns.flatMap(({ content }) => content.filter((part) => typeof part !== "string"));
        assert.equal(
          media.map((part) => part.modality),
          [modality],
        );
      }
    }
});

const marksOf = (text: string) => [...text.matchAll(/<(\w+)>/g)].map((match) => match[1]);
/** A question of a held-out row, answered as the scene says (the phrasing is drawn, so all phrasings are asked for). */
function answers(modality: (typeof MODALITIES)[number], index: number, question: string): string[] {
  const { scene } = worldScene(5, modality, "heldout", index);
  const all = Array.from({ length: 20 }, (_, i) => questions(scene, new Draw(i), { heldOnly: true })).flat();
  return all.filter((asked) => asked.question === question).map(({ answer }) => answer);
}

for (const modality of MODALITIES) {
  test(`${modality}: several questions in training, one about what is held out`, async () => {
    const train = json(join(world, modality, "instruct.train.json"));
    assert.is(train.length, COUNTS[modality]);
    for (const { conversations } of train) assert.ok(conversations.length >= 6);
    for (const [i, row] of json(join(world, modality, "instruct.heldout.json")).entries()) {
      const [asked, answered] = row.conversations;
      assert.is(row.conversations.length, 2);
      assert.ok(asked.value.endsWith(` <${modality}>`), asked.value);
      const question = asked.value.slice(0, asked.value.indexOf(" <"));
      assert.ok(answers(modality, i, question).includes(answered.value), `${i}: ${question} ${answered.value}`);
      assert.ok(row.kind);
    }
    for (const split of SPLITS)
      assert.is((await readConversations(join(world, modality, `instruct.${split}.json`))).length, COUNTS[modality]);
  });
}

test("two media in a prompt, and the question fits one of them", async () => {
  for (const split of SPLITS) {
    const rows = json(join(world, "mixed", `instruct.${split}.json`));
    assert.is(rows.length, 8);
    for (const row of rows) {
      const marks = marksOf(row.conversations[0].value);
      assert.is(new Set(marks).size, 2);
      assert.not.equal([...marks].sort(), ["image", "video"]);
      assert.is(row.conversations.length, split === "train" ? 8 : 2);
    }
    const read = await readConversations(join(world, "mixed", `instruct.${split}.json`));
    assert.ok(read.every(({ turns }) => turns[0]!.content.filter((part) => typeof part !== "string").length === 2));
  }
  const fits = json(join(world, "mixed", "instruct.heldout.json")).map(
    (row: Record<string, string> & { conversations: { value: string }[] }) => {
      const [asked, answered] = row.conversations;
      const question = asked!.value.slice(0, asked!.value.indexOf(" <"));
      const about = marksOf(asked!.value).filter((modality) => {
        const m = modality as (typeof MODALITIES)[number];
        return answers(m, Number.parseInt(row[m]!.slice(-9), 10), question).includes(answered!.value);
      });
      return about.length;
    },
  );
  assert.equal(fits, Array(8).fill(1));
});

test("progress counts every file; an abort stops", async () => {
  const seen: number[] = [];
  const stop = new AbortController();
  const folder = newFolder();
  const options = { seed: 1, train: { image: 40 }, heldout: {}, signal: stop.signal };
  const reason = await writeWorld(folder, {
    ...options,
    onProgress: ({ done, total }) => {
      assert.is(total, 40);
      seen.push(done);
      if (done === 10) stop.abort(new Error("enough"));
    },
  }).catch((error: unknown) => error);
  assert.is((reason as Error).message, "enough");
  assert.equal(
    seen,
    seen.map((_, i) => i + 1),
  );
  assert.ok(seen.length < 40 && !filesOf(folder).some((file) => file.endsWith(".jsonl")));
});

test("what cannot be written says why", async () => {
  const refused = async (folder: string, options: WorldOptions, ...words: RegExp[]) => {
    const error = await writeWorld(folder, options).then(
      () => undefined,
      (e: unknown) => e,
    );
    assert.instance(error, DataError);
    for (const word of words) assert.match((error as DataError).message, word);
  };
  const none = { train: {}, heldout: {} };
  await refused(world, { ...none, seed: 0.5 }, /whole number as seed, got 0\.5/);
  await refused(world, { ...none, seed: 0, train: { audio: -1 } }, /whole numbers of files, got -1/);
  await refused(world, { ...none, seed: 0, train: { image: 2, video: 2 }, mixed: { train: 1 } }, /two modalities to mix/);
  const file = join(newFolder(), "file");
  writeFileSync(file, "");
  await refused(join(file, "world"), { ...none, seed: 0, train: { image: 1 } }, /a folder to write the world into/, /ENOTDIR/);
});

test.run();
