// What a process holds after many answers, training steps and loads, and the longest its event loop was held.
//   node --expose-gc long.mjs ROOT WORLD DEVICE ANSWERS STEPS LOADS
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";

const [root, world, backend, ...counts] = process.argv.slice(2);
const [answers, steps, loads] = counts.map(Number);
const { AnyMAL, align, audio, device, image, imu, video } = await import(join(root, "dist/index.mjs"));

const files = (modality) => readdirSync(join(world, modality, "heldout")).map((file) => join(world, modality, "heldout", file));
const tiny = (name) => join(root, "models/tiny", name);
const [pictures, clips, sounds, motions] = ["image", "video", "audio", "imu"].map(files);
const assemble = () =>
  AnyMAL.assemble({
    device: device(backend),
    llm: tiny("llama"),
    modalities: {
      image: { encoder: tiny("clip"), projector: { type: "resampler", layers: 2, tokens: 8, heads: 4 } },
      video: { encoder: tiny("clip"), frames: 4, select: "pooled", projector: { type: "resampler", layers: 1, tokens: 8, heads: 4 } },
      audio: { encoder: tiny("clap"), select: "embeds", projector: { type: "linear", mode: "pooled", tokens: 4 } },
      imu: { encoder: tiny("imu2clip"), select: "embeds", projector: { type: "linear", mode: "pooled", tokens: 2 } },
    },
  });
const PROMPTS = [
  (i) => [image(pictures[i % pictures.length]), "what color is the star?"],
  (i) => [audio(sounds[i % sounds.length]), "on which note does it start?"],
  (i) => [video(clips[i % clips.length], { onNotice() {} }), "what color is the circle?"],
  (i) => [imu(motions[i % motions.length]), "what is the person doing?"],
  () => ["what do you see in the picture? ".repeat(4)],
];

const lag = monitorEventLoopDelay({ resolution: 1 });
const table = [];
let wrong = 0;
let passed = 0;

async function measure(what, share) {
  const d = device(backend);
  await d.synchronize();
  for (let i = 0; i < 3; ++i) globalThis.gc();
  const { bytesInUse, bytesReserved, tensors } = d.memory();
  const row = {
    what,
    "%": share,
    "resident MiB": Math.round(process.memoryUsage.rss() / 2 ** 20),
    "reserved MiB": Math.round((bytesReserved / 2 ** 20) * 10) / 10,
    "in use MiB": Math.round((bytesInUse / 2 ** 20) * 10) / 10,
    tensors,
    "longest stall ms": Math.round(lag.max / 1e6),
    "p99.9 ms": Math.round(lag.percentile(99.9) / 1e6),
  };
  lag.reset();
  table.push(row);
  return { bytesInUse, bytesReserved, tensors, rss: process.memoryUsage.rss() };
}
const expect = (ok, sentence) => {
  if (ok) ++passed;
  else {
    console.log(`FAIL ${sentence}`);
    ++wrong;
  }
};
/** Fewer rounds than this have not met all sizes, nor warmed up what V8 and the system's allocator keep. */
const WARM = 400;
/** Every figure at the end is what it was at a quarter. Resident memory, which V8 and the system's allocator round, is what it was at half, within a sixteenth. */
function flat(what, count, from, half, to) {
  expect(to.tensors === from.tensors, `${what}: ${from.tensors} tensors at 25 %, ${to.tensors} at the end`);
  expect(to.bytesInUse === from.bytesInUse, `${what}: ${from.bytesInUse} bytes in use at 25 %, ${to.bytesInUse} at the end`);
  expect(
    to.bytesReserved <= from.bytesReserved * (count >= WARM ? 1.01 : 1.1),
    `${what}: ${from.bytesReserved} bytes reserved at 25 %, ${to.bytesReserved} at the end`,
  );
  if (count >= WARM)
    expect(to.rss <= half.rss * (1 + 1 / 16), `${what}: ${half.rss >> 20} MiB resident at 50 %, ${to.rss >> 20} at the end`);
}
async function stages(what, count, run) {
  if (!count) return;
  lag.enable();
  await measure(what, 0);
  let [quarter, half, last] = [];
  for await (const done of run) {
    if (done === Math.floor(count / 4)) quarter = await measure(what, 25);
    if (done === Math.floor(count / 2)) half = await measure(what, 50);
    if (done === count) last = await measure(what, 100);
  }
  lag.disable();
  expect(quarter && half && last, `${what}: ended before ${count}`);
  if (quarter && half && last) flat(what, count, quarter, half, last);
}

/** Batches of 1 to 5 prompts of changing lengths and kinds, 1 to 12 tokens each; every answer equals the first one to the same question. */
async function* ask(model) {
  const first = new Map();
  for (let i = 0; i < answers; ++i) {
    const kind = i % (PROMPTS.length + 1);
    const maxNewTokens = 1 + (i % 12);
    const batch = kind < PROMPTS.length ? [PROMPTS[kind](i)] : PROMPTS.slice(0, 1 + (i % 5)).map((p) => p(i));
    const said = JSON.stringify(await model.generateAll(batch, { maxNewTokens }));
    const key = `${kind}/${i % 60}`;
    const before = first.get(key);
    if (before === undefined) first.set(key, said);
    else if (before !== said) expect(false, `answer ${i}: ${said} where it was ${before}`);
    yield i + 1;
  }
  expect(first.size > 0, "no answers");
}
async function* train(model) {
  const output = join(world, "run");
  const recipe = {
    modality: "image",
    data: join(world, "image/captions.train.jsonl"),
    steps,
    batch: 4,
    saveEvery: 250,
    learningRate: 1e-4,
    output,
  };
  for await (const { step } of align(model, recipe)) yield step;
  rmSync(output, { recursive: true, force: true });
}
async function* load() {
  for (let i = 0; i < loads; ++i) {
    (await assemble()).dispose();
    yield i + 1;
  }
}

const model = await assemble();
await stages("answers", answers, ask(model));
await stages("steps", steps, train(model));
model.dispose();
await stages("loads", loads, load());
const end = await measure("end", 100);
expect(end.tensors === 0 && end.bytesInUse === 0, `${end.tensors} tensors and ${end.bytesInUse} bytes are left`);
console.table(table);
console.log(`${passed} passed, ${wrong} failed`);
process.exitCode = wrong ? 1 : 0;
