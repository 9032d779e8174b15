// LLaMA-Factory's public demo sets (data/mllm_*demo.json and their v1 forms, alpaca_en_demo.json), rebuilt in layout with files of ours: they are read and train as
// they are.

import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openRows } from "../../lib/data/open-rows.js";
import { mediaOf } from "../../lib/data/row.js";
import { encodeClip, encodeWav } from "../../lib/data/world/encode.js";
import { instruct } from "../../lib/train/instruct.js";
import { type Toy, toy } from "../anymal/toy.js";
import { Folder } from "../data/files.js";
import { all, assembledIn } from "./stages.js";

const test = suite("demo sets");
let world: Toy;
let folder: Folder;
test.before(async () => {
  world = await toy();
  folder = new Folder();
  const background = "#1e28dc";
  const png = sharp({ create: { width: 16, height: 16, channels: 3, background } });
  for (const n of [1, 2, 3]) folder.write(`mllm_demo_data/${n}.jpg`, await png.jpeg().toBuffer());
  // Theirs are .mp4 and .mp3; ours are of formats that are read without ffmpeg.
  const frames = [200, 20].map((level) => ({ data: new Uint8Array(16 * 16 * 3).fill(level), width: 16, height: 16 }));
  const samples = Float32Array.from({ length: 8000 }, (_, i) => Math.sin(i / 6) / 2);
  for (const n of [1, 2]) {
    folder.write(`mllm_demo_data/${n}.gif`, await encodeClip({ frames, fps: 2 }, "gif"));
    folder.write(`mllm_demo_data/${n}.wav`, encodeWav({ samples, sampleRate: 8000 }));
  }
});
test.after(() => {
  world.remove();
  folder.remove();
});

const said = (...turns: [string, string][]) => turns.map(([role, content]) => ({ role, content }));
const IMAGES = [
  {
    messages: said(
      ["user", "<image>Who are they?"],
      ["assistant", "They are two."],
      ["user", "What are they doing?"],
      ["assistant", "They play."],
    ),
    images: ["mllm_demo_data/1.jpg"],
  },
  { messages: said(["user", "<image>Who is he?"], ["assistant", "He is one."]), images: ["mllm_demo_data/2.jpg"] },
  { messages: said(["user", "<image>Describe it."], ["assistant", "It is blue."]), images: ["mllm_demo_data/3.jpg"] },
];
const VIDEOS = [{ messages: said(["user", "<video>Why is it funny?"], ["assistant", "It falls."]), videos: ["mllm_demo_data/1.gif"] }];
const AUDIOS = [{ messages: said(["user", "<audio>What's that sound?"], ["assistant", "Glass."]), audios: ["mllm_demo_data/1.wav"] }];
const BOTH = [
  {
    messages: said(["user", "<video><audio>What does it say?"], ["assistant", "It says so."]),
    videos: ["mllm_demo_data/2.gif"],
    audios: ["mllm_demo_data/2.wav"],
  },
];
const ALPACA = [
  { instruction: "Describe a process.", input: "", output: "It goes on." },
  { instruction: "Evaluate this.", input: "My name is", output: "Good." },
];
/** The v1 form: media as parts, a weight on each message. */
const v1 = (rows: readonly (typeof IMAGES)[0][]) =>
  rows.map(({ messages, images }) => ({
    messages: messages.map(({ role, content }) => ({
      role,
      content: content
        .split(/(<image>)/)
        .filter(Boolean)
        .map((piece) => (piece === "<image>" ? { type: "image_url", value: images[0] } : { type: "text", value: piece })),
      loss_weight: role === "assistant" ? 1 : 0,
    })),
  }));

test("each set is read as it is: its media in their places, its answers", async () => {
  for (const [name, rows, media, answers] of [
    ["mllm_demo.json", IMAGES, ["image", "image", "image"], 4],
    ["v1_mllm_demo.json", v1(IMAGES), ["image", "image", "image"], 4],
    ["mllm_video_demo.json", VIDEOS, ["video"], 1],
    ["mllm_audio_demo.json", AUDIOS, ["audio"], 1],
    ["mllm_video_audio_demo.json", BOTH, ["video", "audio"], 1],
    ["alpaca_en_demo.json", ALPACA, [], 2],
  ] as const) {
    const source = await openRows(folder.write(name, JSON.stringify(rows)), {});
    const read = await Promise.all(Array.from({ length: source.length }, (_, i) => source.row(i)));
    assert.is(read.length, rows.length, name);
    assert.equal(
      read.flatMap((row) => mediaOf(row).map(({ modality }) => modality as string)),
      [...media],
      name,
    );
    assert.is(read.flatMap(({ turns }) => turns).filter(({ role }) => role === "assistant").length, answers, name);
    await source.close();
  }
});

test("pictures in both forms of rows, and Alpaca's beside them, train: both forms alike to the bit", async () => {
  const alpaca = folder.write("alpaca.json", JSON.stringify(ALPACA));
  const options = {
    batch: 5,
    microBatch: 5,
    learningRate: 1e-2,
    steps: 3,
    lora: { r: 2, alpha: 4, dropout: 0, targetModules: ["q_proj"] },
  } as const;
  const losses = [];
  for (const [name, rows] of Object.entries({ v0: IMAGES, v1: v1(IMAGES) })) {
    using model = await assembledIn(world);
    const steps = await all(instruct(model, { ...options, data: [folder.write(`${name}.json`, JSON.stringify(rows)), alpaca] }));
    losses.push(steps.map(({ loss }) => loss));
  }
  const [first, second] = losses as [number[], number[]];
  assert.equal(second, first);
  assert.ok((first.at(-1) as number) < (first[0] as number), first.join());
});

test("films, sounds, and films with their sounds train", async () => {
  const clap = fileURLToPath(new URL("../../models/tiny/clap", import.meta.url));
  const { video } = world.options().modalities;
  const audio = { encoder: clap, projector: { type: "linear" } } as const;
  const data = Object.entries({ VIDEOS, AUDIOS, BOTH }).map(([name, rows]) => folder.write(`${name}.json`, JSON.stringify(rows)));
  using model = await assembledIn(world, { modalities: { video: video!, audio } });
  const steps = await all(instruct(model, { batch: 3, microBatch: 3, learningRate: 1e-2, steps: 3, lora: false, data }));
  assert.is(steps.length, 3);
  assert.ok((steps.at(-1)?.loss as number) < (steps[0]?.loss as number), steps.map(({ loss }) => loss).join());
});

test.run();
