// Sounds: every WAV, every compressed kind, windows, limits, another rate, and what a bad file says.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type AudioOptions, type AudioPart, audio, loadAudio, resampled, type Sound } from "../../lib/media/audio.js";
import { MediaError } from "../../lib/media/error.js";
import { Case, caseNames, near } from "../case.js";
import { abortedAtEveryLook } from "./aborts.js";
import { rejects, temporaryFolder } from "./media-case.js";
import { readWav, s16, type WavOptions, wavFile } from "./wav-file.js";

const load = (source: AudioPart["source"], options?: AudioOptions): Promise<Sound> => loadAudio(audio(source, options));
const samplesOf = async (source: AudioPart["source"], options?: AudioOptions): Promise<number[]> => [
  ...(await load(source, options)).samples,
];
const fileOf = (name: string): string => fileURLToPath(new URL(`./files/${name}`, import.meta.url));

for (const name of caseNames(/^clap/)) {
  const c = new Case(name);
  for (const file of readdirSync(c.folder).filter((f) => f.endsWith(".wav")))
    test(`${name}: ${file} to the bit`, async () => {
      const bytes = readFileSync(join(c.folder, file));
      const { rate, frames } = readWav(bytes);
      const want = Float32Array.from(frames, (channels) => channels.reduce((a, b) => a + b, 0) / channels.length);
      const { samples, sampleRate } = await load(join(c.folder, file));
      assert.is(sampleRate, rate);
      assert.is(samples.length, want.length);
      assert.is(
        samples.findIndex((v, i) => v !== want[i]),
        -1,
      );
      const clip = (c.info.clips as { file: string; samples: number }[]).find((one) => one.file === file);
      if (clip) assert.is(samples.length, clip.samples);
    });

  const to = c.info.resampling;
  if (to)
    test(`${name}: ${to.file} resampled as soxr does`, async () => {
      const { samples } = await resampled(await load(join(c.folder, to.file)), to.target);
      const want = c.values("ref.resampled.soxr_hq");
      assert.is(samples.length, want.length);
      let square = 0;
      for (let i = 400; i < want.length - 400; ++i) square += (samples[i]! - want[i]!) ** 2;
      const rms = Math.sqrt(square / (want.length - 800));
      assert.ok(rms < 0.03 * to.signal_rms, `differs by ${rms} of ${to.signal_rms}`);
    });
}

const floats = (values: number[], size: 4 | 8): Uint8Array =>
  new Uint8Array((size === 4 ? Float32Array : Float64Array).from(values).buffer);
const FORMATS: [what: string, data: Uint8Array, want: number[], options: WavOptions][] = [
  ["u8", Uint8Array.of(0, 128, 192, 255), [-1, 0, 0.5, 127 / 128], { bits: 8 }],
  ["s16", s16([-32768, 0, 16384, 32767]), [-1, 0, 0.5, 32767 / 32768], { bits: 16 }],
  ["s24", Uint8Array.of(0, 0, 0x80, 0, 0, 0x40, 0xff, 0xff, 0xff), [-1, 0.5, -1 / 8388608], { bits: 24 }],
  ["20 bits in 24", Uint8Array.of(0, 0, 0x80, 0, 0, 0x40), [-1, 0.5], { bits: 20 }],
  ["s32", new Uint8Array(Int32Array.of(-(2 ** 31), 2 ** 30).buffer), [-1, 0.5], { bits: 32 }],
  ["f32", floats([-1.5, 0.25], 4), [-1.5, 0.25], { bits: 32, tag: 3 }],
  ["f64", floats([-1.5, 0.25], 8), [-1.5, 0.25], { bits: 64, tag: 3 }],
  ["A-law", Uint8Array.of(0xd5, 0x55, 0xaa, 0x2a), [8, -8, 32256, -32256].map((v) => v / 32768), { bits: 8, tag: 6 }],
  ["µ-law", Uint8Array.of(0xff, 0xfe, 0x80, 0x00), [0, 8, 32124, -32124].map((v) => v / 32768), { bits: 8, tag: 7 }],
];
for (const [what, data, want, options] of FORMATS)
  test(`WAV of ${what}, also extensible, among other chunks, and in two channels`, async () => {
    for (const extensible of [false, true]) {
      const whole = wavFile(data, { ...options, extensible });
      const { samples, sampleRate } = await load(whole);
      assert.is(sampleRate, 8000);
      assert.equal([...samples], want);
      const others: [string, Uint8Array][] = [["LIST", Buffer.from("odd")], ["fact", Buffer.alloc(4)]]; // biome-ignore format: short
      assert.equal(await samplesOf(wavFile(data, { ...options, extensible, before: others, after: others })), want);
      if (want.length % 2 === 0) {
        const pairs = want.flatMap((v, i) => (i % 2 ? [] : [(v + want[i + 1]!) / 2]));
        assert.equal(await samplesOf(wavFile(data, { ...options, extensible, channels: 2 })), pairs);
      }
    }
  });

test("a WAV from a path, a file: URL, bytes and a data: URL", async () => {
  using folder = temporaryFolder();
  const bytes = wavFile(s16([1, 2, 3]));
  writeFileSync(folder.file("a.wav"), bytes);
  const url = new URL(`file://${folder.file("a.wav")}`);
  const data = `data:audio/wav;base64,${bytes.toString("base64")}`;
  for (const source of [folder.file("a.wav"), url, String(url), bytes, new Uint8Array(bytes), new Uint8Array(bytes).buffer, data])
    assert.equal(
      await samplesOf(source as string),
      [1, 2, 3].map((v) => v / 32768),
    );
});

test("writers that did not know the size, files that were cut, RF64", async () => {
  const want = [1, 2, 3].map((v) => v / 32768);
  const data = s16([1, 2, 3]);
  for (const dataSize of [0, 0xffffffff, 0x7fffffff, 1000]) assert.equal(await samplesOf(wavFile(data, { dataSize })), want, `${dataSize}`);
  assert.equal(await samplesOf(wavFile(data, { magic: "RF64", dataSize: 0xffffffff, before: [["ds64", Buffer.alloc(28)]] })), want);
  assert.equal(await samplesOf(wavFile(data).subarray(0, -1)), want.slice(0, 2)); // half a sample is none
  assert.equal(await samplesOf(wavFile(data, { dataSize: 4, after: [["junk", Buffer.alloc(2)]] })), want.slice(0, 2));
});

test("a window and the limits", async () => {
  using folder = temporaryFolder();
  const values = Array.from({ length: 16000 }, (_, i) => i);
  writeFileSync(folder.file("a.wav"), wavFile(s16(values.flatMap((v) => [v, v])), { channels: 2 }));
  const sound: Sound = { samples: Float32Array.from(values, (v) => v / 32768), sampleRate: 8000 };
  for (const source of [folder.file("a.wav"), sound]) {
    const part = async (options: AudioOptions) => (await samplesOf(source, options)).map((v) => v * 32768);
    assert.equal(await part({ start: 0.5, seconds: 0.25 }), values.slice(4000, 6000));
    assert.equal(await part({ start: 1.75 }), values.slice(14000));
    assert.equal(await part({ seconds: 0.001 }), values.slice(0, 8));
    assert.is((await part({ start: 1.5, seconds: 100, maxSeconds: 1 })).length, 4000);
    await rejects(load(source, { start: 2 }), "E_MEDIA_OPTION", /start/, /of 2 s/);
    await rejects(load(source, { maxSeconds: 1 }), "E_MEDIA_LIMIT", /at most 1 s/, /got 2 s/, /maxSeconds/);
    for (const options of [{ start: -1 }, { seconds: 0 }, { seconds: Number.NaN }, { maxSeconds: -1 }, { start: "1" as never }])
      await rejects(load(source, options), "E_MEDIA_OPTION", /in seconds/);
  }
  await rejects(load(folder.file("a.wav"), { maxBytes: 10_000 }), "E_MEDIA_LIMIT", /maxBytes/);
  assert.is((await load(folder.file("a.wav"), { maxBytes: 10_000, seconds: 0.2 })).samples.length, 1600); // only that is read
});

test("bad WAVs say what is wrong", async () => {
  const data = s16([1, 2, 3]);
  await rejects(load(wavFile(new Uint8Array())), "E_MEDIA_FORMAT", /at least one sample/, /leave it out/);
  await rejects(load(wavFile(new Uint8Array(), { after: [["LIST", Buffer.alloc(40)]] })), "E_MEDIA_FORMAT", /at least one sample/);
  await rejects(load(wavFile(data).subarray(0, 44)), "E_MEDIA_FORMAT", /at least one sample/);
  await rejects(load(wavFile(data).subarray(0, 36)), "E_MEDIA_FORMAT", /"data"/, /none/);
  await rejects(load(wavFile(data).subarray(0, 30)), "E_MEDIA_FORMAT", /"fmt "/);
  await rejects(load(wavFile(data).subarray(0, 12)), "E_MEDIA_FORMAT", /"fmt "/);
  await rejects(load(wavFile(data, { magic: "RIFX" })), "E_MEDIA_FORMAT", /RIFX/, /convert/);
  await rejects(load(wavFile(data, { channels: 0 })), "E_MEDIA_FORMAT", /0 channels/);
  await rejects(load(wavFile(data, { rate: 0 })), "E_MEDIA_FORMAT", /0 Hz/);
  await rejects(load(wavFile(data, { rate: 4_000_000_000 })), "E_MEDIA_FORMAT");
  await rejects(load(wavFile(data, { bits: 40 })), "E_MEDIA_FORMAT", /40 bits/);
  await rejects(load(wavFile(data, { tag: 3, bits: 16 })), "E_MEDIA_FORMAT", /16 bits, format 3/);
  await rejects(load(wavFile(data, { align: 7 })), "E_MEDIA_FORMAT", /block of 7/);
  await rejects(load(wavFile(data, { tag: 0x1234 })), "E_MEDIA_FORMAT", /WAV/);
  const guid = wavFile(data, { extensible: true });
  guid[50] = 1;
  await rejects(load(guid), "E_MEDIA_FORMAT", /extensible/);
  await rejects(load(wavFile(floats([0, Number.NaN], 4), { tag: 3, bits: 32 })), "E_MEDIA_FORMAT", /NaN at sample 1/);
});

test("what is no sound at all", async () => {
  using folder = temporaryFolder();
  await rejects(load(folder.file("none.wav")), "E_MEDIA_SOURCE", /none\.wav/, /no such file/);
  await rejects(load(folder.path), "E_MEDIA_SOURCE", /a folder/);
  await rejects(load("https://example.org/a.mp3"), "E_MEDIA_SOURCE", /network/);
  await rejects(load(7 as never), "E_MEDIA_SOURCE");
  writeFileSync(folder.file("empty.wav"), "");
  await rejects(load(folder.file("empty.wav")), "E_MEDIA_FORMAT", /empty/);
  writeFileSync(folder.file("text.wav"), "This is no sound.");
  await rejects(load(folder.file("text.wav")), "E_MEDIA_FORMAT", /text\.wav/, /FLAC, MP3/);
  await rejects(load(Buffer.from("RIFF\0\0\0\0AVI LIST")), "E_MEDIA_FORMAT");
  await rejects(load(Buffer.from("\x89PNG\r\n\x1a\n0000", "latin1")), "E_MEDIA_FORMAT");
  for (const samples of [new Float32Array(), [1, 2] as never, undefined as never])
    await rejects(load({ samples, sampleRate: 8000 }), "E_MEDIA_FORMAT", /Float32Array/);
  for (const sampleRate of [0, -1, Number.NaN, 44100.5])
    await rejects(load({ samples: new Float32Array(4), sampleRate }), "E_MEDIA_FORMAT");
  await rejects(load({ samples: Float32Array.of(0, Infinity), sampleRate: 8000 }), "E_MEDIA_FORMAT", /Infinity at sample 1/);
});

test("a damaged header is read or refused, never more", async () => {
  const whole = wavFile(s16(Array.from({ length: 40 }, (_, i) => i * 700)), { before: [["LIST", Buffer.alloc(10)]], extensible: true });
  let state = 1;
  const random = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  let [read, refused] = [0, 0];
  for (let k = 0; k < 400; ++k) {
    const bytes = Buffer.from(whole);
    for (let n = 1 + random(3); n > 0; --n) bytes[12 + random(74)] = random(256);
    const result = await load(bytes.subarray(0, random(4) ? undefined : 12 + random(80))).catch((error) => error);
    if (result instanceof MediaError) ++refused;
    else {
      assert.ok(result.samples instanceof Float32Array && result.samples.length > 0 && result.samples.length <= whole.length, `${result}`);
      ++read;
    }
  }
  assert.ok(read > 20 && refused > 20, `${read} read, ${refused} refused`);
});

/** Amplitude of one frequency in the middle of a sound. */
function amplitude({ samples, sampleRate }: Sound, hertz: number): number {
  const [from, n] = [Math.round(0.06 * sampleRate), Math.round(0.1 * sampleRate)]; // whole periods of 440 and 1000 Hz
  let [re, im] = [0, 0];
  for (let i = 0; i < n; ++i) {
    const angle = (2 * Math.PI * hertz * i) / sampleRate;
    re += samples[from + i]! * Math.cos(angle);
    im += samples[from + i]! * Math.sin(angle);
  }
  return (2 * Math.hypot(re, im)) / n;
}

const COMPRESSED = ["flac", "mp3", "ogg", "opus", "m4a", "webm", "mp4", "aiff"].map((kind) => `tones.${kind}`).concat("tones-adpcm.wav");
for (const name of COMPRESSED)
  test(`${name}: the mean of its channels`, async () => {
    const sound = await load(fileOf(name));
    assert.is(sound.sampleRate, /opus|webm/.test(name) ? 48000 : 16000);
    const seconds = sound.samples.length / sound.sampleRate;
    assert.ok(Math.abs(seconds - 0.25) < 0.035, `${seconds} s`);
    assert.ok(Math.abs(amplitude(sound, 440) - 0.4) < 0.02, `440 Hz at ${amplitude(sound, 440)}`);
    assert.ok(amplitude(sound, 1000) < 0.02, `1000 Hz at ${amplitude(sound, 1000)}`); // turned round on the right: gone from the mean
    const part = await load(fileOf(name), { start: 0.05, seconds: 0.1 });
    const first = Math.round(0.05 * sound.sampleRate);
    assert.equal(part.samples, sound.samples.slice(first, first + Math.round(0.1 * sound.sampleRate)));
    const bytes = readFileSync(fileOf(name));
    assert.equal(await load(bytes), sound);
    await rejects(load(bytes, { maxSeconds: 0.2 }), "E_MEDIA_LIMIT", /maxSeconds/);
    await rejects(load(bytes, { start: 1 }), "E_MEDIA_OPTION", /start/);
    await rejects(load(bytes, { maxBytes: 1000 }), "E_MEDIA_LIMIT", /maxBytes/);
    assert.equal(readFileSync(fileOf(name)), bytes, "the caller's bytes are as they were");
  });

test("FLAC and AIFF are exact", async () => {
  for (const name of ["tones.flac", "tones.aiff"]) {
    const { samples } = await load(fileOf(name));
    near(
      samples,
      Array.from(samples, (_, i) => 0.4 * Math.sin((2 * Math.PI * 440 * i) / 16000)),
      1.01 / 32768,
      name,
    );
  }
});

test("compressed files that are cut are read as far as they go, or refused", async () => {
  let [read, refused] = [0, 0];
  for (const name of COMPRESSED)
    for (const part of [0.02, 0.3, 0.7]) {
      const bytes = readFileSync(fileOf(name));
      const result = await load(bytes.subarray(0, Math.floor(bytes.length * part))).catch((error) => error);
      if (result instanceof MediaError) ++refused;
      else {
        assert.ok(result.samples?.length > 0 && result.samples.length < 0.29 * result.sampleRate, `${name}: ${result}`);
        ++read;
      }
    }
  assert.ok(read > 3 && refused > 3, `${read} read, ${refused} refused`);
});

test("a long compressed file: decoded only as far as it is needed, across pieces without a seam", async () => {
  const one = readFileSync(fileOf("tones.mp3"));
  const many = Buffer.concat(Array.from({ length: 200 }, () => one));
  const few = Buffer.concat(Array.from({ length: 20 }, () => one));
  const whole = await load(few);
  const seconds = whole.samples.length / whole.sampleRate;
  assert.ok(seconds > 4, `${seconds} s`);
  const from = await load(many, { start: 1, seconds: 2, maxSeconds: 2 });
  assert.equal(from.samples, whole.samples.slice(whole.sampleRate, 3 * whole.sampleRate));
  await rejects(load(many, { maxSeconds: 1 }), "E_MEDIA_LIMIT", /at least/);
});

test("an MP4 that says it is longer than the limit is refused before it is decoded", async () => {
  const bytes = readFileSync(fileOf("tones.m4a"));
  const at = bytes.indexOf("mvhd") + 4;
  const long = Buffer.from(bytes);
  long.writeUInt32BE(bytes.readUInt32BE(at + 12) * 1000, at + 16);
  await rejects(load(long), "E_MEDIA_LIMIT", /got 1000 s/);
  assert.is((await load(long, { seconds: 0.1 })).samples.length, 1600);
  assert.is((await load(long, { maxSeconds: 2000 })).samples.length, (await load(bytes)).samples.length);
  long.writeUInt32BE(bytes.readUInt32BE(at + 12) * 5000, at + 16);
  await rejects(load(long, { seconds: 0.1 }), "E_MEDIA_LIMIT", /got 5000 s/);
});

test("another rate: a sum of sines stays what it is", async () => {
  const hertz = [110, 997, 2500, 3400];
  const at = (t: number): number => hertz.reduce((sum, f, i) => sum + Math.sin(2 * Math.PI * f * t + i) / hertz.length, 0);
  for (const [from, to] of [
    [44100, 48000],
    [8000, 48000],
    [48000, 8000],
    [16000, 44100],
    [11025, 16000],
  ] as const) {
    // biome-ignore format: short
    const sound: Sound = { samples: Float32Array.from({ length: from / 4 }, (_, i) => at(i / from)), sampleRate: from };
    const { samples, sampleRate } = await resampled(sound, to);
    assert.is(sampleRate, to);
    assert.is(samples.length, Math.ceil((sound.samples.length * to) / from));
    const [a, b] = [Math.round(samples.length / 4), Math.round((samples.length * 3) / 4)];
    near(
      samples.subarray(a, b),
      Array.from({ length: b - a }, (_, i) => at((a + i) / to)),
      3e-6,
      `${from} to ${to}`,
    );
  }
  const same: Sound = { samples: Float32Array.of(1, 2), sampleRate: 8000 };
  assert.is(await resampled(same, 8000), same);
});

test("an abort stops loading with its reason", async () => {
  const reason = new Error("enough");
  const wav = wavFile(s16([1, 2, 3]));
  for (const source of [wav, readFileSync(fileOf("tones.mp3")), { samples: new Float32Array(4), sampleRate: 8000 }])
    assert.is(await loadAudio(audio(source), { signal: AbortSignal.abort(reason) }).catch((e) => e), reason);
  const long = audio(Buffer.concat(Array.from({ length: 200 }, () => readFileSync(fileOf("tones.mp3")))));
  await abortedAtEveryLook(reason, (signal) => loadAudio(long, { signal }), 3);
});

test("no file stays open, whatever happens", async () => {
  if (!existsSync("/proc/self/fd")) return;
  using folder = temporaryFolder();
  writeFileSync(folder.file("good.wav"), wavFile(s16([1, 2, 3])));
  writeFileSync(folder.file("zero.wav"), wavFile(new Uint8Array()));
  writeFileSync(folder.file("text.wav"), "no sound");
  const attempts = async (checked: boolean) => {
    for (const file of ["good.wav", "zero.wav", "text.wav", "none.wav"].map(folder.file).concat(fileOf("tones.mp3"), fileOf("tones.m4a")))
      for (const options of [{}, { start: 9 }, { maxSeconds: 1e-9 }, { maxBytes: 1 }])
        for (const signal of [undefined, AbortSignal.abort()]) {
          const before = readdirSync("/proc/self/fd").length;
          await loadAudio(audio(file, options), { signal }).catch(() => {});
          if (checked) assert.is(readdirSync("/proc/self/fd").length, before, `${file} ${JSON.stringify(options)}`);
        }
  };
  await attempts(false); // decoders are loaded
  await attempts(true);
});

test.run();
