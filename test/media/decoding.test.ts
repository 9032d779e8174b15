// How compressed sounds are decoded: in a worker, bounded by samples, stopped at once, and to the last sample.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Worker } from "node:worker_threads";
import audioDecode from "audio-decode";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type AudioOptions, audio, loadAudio, type Sound } from "../../lib/media/audio.js";
import { decoderInWorker } from "../../lib/media/decode-pool.js";
import { type Decoder, type Input, openDecoder } from "../../lib/media/decoder.js";
import { flacOf } from "./flac-file.js";
import { rejects } from "./media-case.js";

const load = (bytes: Uint8Array, options?: AudioOptions, signal?: AbortSignal): Promise<Sound> =>
  loadAudio(audio(bytes, options), { signal });
const fileOf = (name: string): string => fileURLToPath(new URL(`./files/${name}`, import.meta.url));
const mp3 = readFileSync(fileOf("tones.mp3"));
const inputOf = (bytes: Uint8Array, isEnd: boolean): Input => ({ parts: [{ bytes: Uint8Array.from(bytes) }], isEnd });
const inWorker = (signal?: AbortSignal): Decoder =>
  decoderInWorker("mp3", 1, signal, () => {
    throw new Error("no worker");
  });
/** Its thread is held until it is closed. */
async function begun(signal?: AbortSignal): Promise<Decoder> {
  const decoder = inWorker(signal);
  await decoder.next(inputOf(mp3.subarray(0, 700), false));
  return decoder;
}
/** Nearly three minutes in a few KB. */
const values = Array.from({ length: 300 }, (_, i) => 97 * i - 14000);
const long = flacOf(values, { rate: 96000, block: 50000 });

test("FLAC of constant frames: every frame is there, whatever the pieces", async () => {
  const { samples, sampleRate } = await load(long);
  assert.is(sampleRate, 96000);
  assert.is(samples.length, values.length * 50000);
  for (const [i, value] of values.entries())
    for (const at of [0, 24999, 49999]) assert.ok(Math.abs(samples[i * 50000 + at]! - value / 32768) < 1e-7, `frame ${i} at ${at}`);
  const silence = await load(flacOf(Array(200).fill(0), { rate: 192000, channels: 8, block: 65535 }), { maxSeconds: 70 });
  assert.is(silence.samples.length, 200 * 65535);
  assert.ok(silence.samples.every((v) => v === 0));
});

test("FLAC behind an ID3 tag: no frame is lost where its header would lie in two pieces", async () => {
  const short = flacOf(values, { block: 64 });
  for (const length of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) {
    const tag = Buffer.concat([Buffer.from("ID3\x04\0\0\0\0\0", "latin1"), Buffer.from([length]), Buffer.alloc(length)]);
    const { samples } = await load(Buffer.concat([tag, short]));
    assert.is(samples.length, values.length * 64, `${length}`);
    for (const [i, value] of values.entries()) assert.ok(Math.abs(samples[64 * i]! - value / 32768) < 1e-7, `frame ${i}`);
  }
});

test("limits hold before anything is decoded where the header tells, and while decoding where it does not", async () => {
  const silent = (told?: number) => flacOf(Array(40).fill(0), { rate: 96000, block: 50000, ...(told !== undefined && { told }) });
  await rejects(load(silent(), { maxSamples: 1e6 }), "E_MEDIA_LIMIT", /maxSamples/);
  await rejects(load(silent(0), { maxSamples: 1e6 }), "E_MEDIA_LIMIT", /maxSamples/);
  await rejects(load(silent(), { maxSeconds: 10 }), "E_MEDIA_LIMIT", /got 20\.833 s/);
  await rejects(load(silent(0), { maxSeconds: 10 }), "E_MEDIA_LIMIT", /at least/);
  assert.is((await load(silent(), { maxSamples: 1e6, seconds: 2, start: 18 })).samples.length, 192000);
  // By default 600 s at 192 kHz are the most, told or not.
  const most = flacOf([0], { rate: 192000, block: 4096, told: 599 * 192000 });
  assert.is((await load(most)).samples.length, 4096);
  await rejects(load(flacOf([0], { rate: 640000, told: 2 ** 28 }), {}), "E_MEDIA_LIMIT", /maxSamples/);
  await rejects(load(silent(), { maxSamples: 0 }), "E_MEDIA_OPTION", /maxSamples/);
});

test("an abort is heard while the decoder works and while a sound waits for its turn, and the next sounds are decoded", async () => {
  const want = await load(long, { seconds: 1 });
  for (const turns of [0, 1, 5, 40]) {
    const abort = new AbortController();
    const reason = new Error(`after ${turns} turns`);
    const loads = Array.from({ length: 5 }, () => load(long, {}, abort.signal).catch((error: unknown) => error));
    for (let i = 0; i < turns; ++i) await turn();
    abort.abort(reason);
    for (const result of await Promise.all(loads)) assert.is(result, reason);
    assert.equal(await load(long, { seconds: 1 }), want);
  }
});

test("an abort ends the wait for an answer, and for a thread where none is free", async () => {
  const abort = new AbortController();
  const reason = new Error("enough");
  const open = await begun();
  const working = await begun(abort.signal);
  const waits = inWorker(abort.signal)
    .next(inputOf(mp3, true))
    .catch((error: unknown) => error);
  const answer = working.next(inputOf(mp3.subarray(700), false)).catch((error: unknown) => error);
  abort.abort(reason);
  const heard = [await Promise.race([answer, turn("an answer")]), await Promise.race([waits, turn("it waits")])];
  open.close();
  working.close();
  assert.equal(heard, [reason, reason]);
});

test("any number wait with one signal, and Node.js sees no leak in it", async () => {
  const warnings: string[] = [];
  const heard = ({ message }: Error) => warnings.push(message);
  process.on("warning", heard);
  const { signal } = new AbortController();
  await Promise.all(Array.from({ length: 30 }, () => load(readFileSync(fileOf("tones.flac")), {}, signal)));
  await turn();
  process.off("warning", heard);
  assert.equal(warnings, []);
});

test("many at once are what they are one by one", async () => {
  const names = ["flac", "mp3", "ogg", "opus", "m4a", "webm", "aiff"].map((kind) => readFileSync(fileOf(`tones.${kind}`)));
  const damaged = Buffer.from(names[0]!).fill(0, 42);
  const all = [...names, damaged, ...names, damaged, ...names];
  const one: unknown[] = [];
  for (const bytes of all) one.push(await load(bytes).catch((error: Error) => error.message));
  assert.equal(await Promise.all(all.map((bytes) => load(bytes).catch((error: Error) => error.message))), one);
});

test("short sounds in a line behind one that is aborted, or at fault, are decoded all the same", async () => {
  const [want, wantLong] = [await load(mp3), await load(long, { seconds: 1 })];
  const abort = new AbortController();
  const dense = flacOf(Array(900).fill(0), { rate: 96000, block: 50000 }); // whole at once in its bytes, not in its samples
  const loads = Array.from({ length: 4 }, () => [
    load(dense, {}, abort.signal).catch((error: unknown) => error),
    load(mp3),
    load(long, { seconds: 1 }),
    load(mp3, {}, abort.signal).catch((error: unknown) => error),
    load(mp3),
  ]);
  await turn();
  const reason = new Error("enough");
  abort.abort(reason);
  for (const [first, ...line] of loads) {
    assert.is(await first, reason);
    const [second, third, fourth, fifth] = await Promise.all(line);
    assert.equal([second, third, fifth], [want, wantLong, want]);
    if (fourth !== reason) assert.equal(fourth, want);
  }
});

test("a decoder in a worker gives what one on this thread gives", async () => {
  const there = inWorker();
  const here = await openDecoder(audioDecode, "mp3", 1);
  for (const [bytes, isEnd] of [
    [mp3.subarray(0, 700), false],
    [mp3.subarray(700), true],
  ] as const)
    assert.equal(await there.next(inputOf(bytes, isEnd)), await here.next(inputOf(bytes, isEnd)));
  there.close();
  here.close();
});

test("a thread that ended by itself is given to no sound, and is not waited for", async () => {
  const want = await load(long, { seconds: 1 });
  const threads: Worker[] = [];
  const heard = (thread: Worker) => threads.push(thread);
  process.on("worker", heard);
  try {
    // More than there are of threads, so that none is left which this test does not know.
    const abort = new AbortController();
    const loads = Array.from({ length: 4 }, () => load(long, {}, abort.signal).catch(() => {}));
    await turn();
    abort.abort();
    await Promise.all(loads);
    const decoder = await begun();
    assert.ok(threads.length);
    await Promise.all(threads.map((thread) => thread.terminate()));
    const error = await decoder.next(inputOf(mp3.subarray(700), true)).catch((e: NodeJS.ErrnoException) => e);
    assert.is((error as NodeJS.ErrnoException).code, "ANYMAL_NO_ANSWER");
    decoder.close();
    assert.equal(await load(long, { seconds: 1 }), want);
    // Ended while it was idle, which the next sound hears when it has been given it.
    for (const thread of threads) void thread.terminate();
    assert.equal(await load(long, { seconds: 1 }), want);
    (await begun()).close(); // a thread is to be had afterwards
    const closed = await begun();
    await Promise.all(threads.map((thread) => thread.terminate()));
    closed.close();
    assert.equal(await load(long, { seconds: 1 }), want);
  } finally {
    process.off("worker", heard);
  }
});

test("where no thread runs, all that wait for one are decoded without", async () => {
  const preload = 'import { isMainThread } from "node:worker_threads"; if (!isMainThread) throw new Error("none here");';
  const script = `
    import(${JSON.stringify(new URL("../../lib/media/audio.ts", import.meta.url).href)}).then(async ({ audio, loadAudio }) => {
      const loads = Array.from({ length: 9 }, () => loadAudio(audio(${JSON.stringify(fileOf("tones.flac"))})));
      console.log((await Promise.all(loads)).map(({ samples }) => samples.length).join());
    });`;
  const flags = ["--import", "tsx", "--import", `data:text/javascript,${encodeURIComponent(preload)}`];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, "-e", script]);
  assert.is(stdout.trim(), Array(9).fill(4000).join());
});

test("a process ends by itself after a sound, and while one is abandoned in the middle", async () => {
  const script = `
    const { audio, loadAudio } = await import(${JSON.stringify(new URL("../../lib/media/audio.ts", import.meta.url).href)});
    const abort = new AbortController();
    const { samples } = await loadAudio(audio(${JSON.stringify(fileOf("tones.flac"))}));
    const left = loadAudio(audio(${JSON.stringify(fileOf("tones.mp3"))}), { signal: abort.signal }).catch((error) => error.message);
    setImmediate(() => abort.abort(new Error("enough")));
    console.log(samples.length, await left);`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script]);
  assert.match(stdout, /^4000 (enough|\[object Object\]|undefined)/);
});

test.run();
