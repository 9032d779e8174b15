// Sounds to CLAP's input: transformers' numbers from the files, the crops of long clips, and what a bad configuration says.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { audio, loadAudio, type Sound } from "../../lib/media/audio.js";
import { AudioProcessor } from "../../lib/media/audio-processor.js";
import { Case, caseNames, near } from "../case.js";
import { rejects } from "./media-case.js";

interface Clip {
  clip: string;
  file: string;
  samples: number;
  truncation: string;
  padding: string;
  random_draws: { call: string; value: number }[];
  is_longer_as_hf: boolean;
}

/** Crops that the reference drew; its draw of the clip that is marked as longer is none. */
const cropsOf = ({ random_draws, truncation }: Clip): number[] =>
  random_draws.filter(({ call }) => call === (truncation === "fusion" ? "choice" : "randint")).map(({ value }) => value);

for (const name of caseNames(/^clap/)) {
  const c = new Case(name);
  for (const clip of c.info.clips as Clip[]) {
    test(`${name}, ${clip.clip}: features from the file`, async () => {
      const config = { ...c.json("preprocessor_config.json"), truncation: clip.truncation, padding: clip.padding };
      const processor = new AudioProcessor(config);
      const sound = await loadAudio(audio(join(c.folder, clip.file)));
      assert.is(sound.samples.length, clip.samples);
      const crops = cropsOf(clip);
      const { data, shape, isLonger, crops: used } = await processor.features([sound], { crops: [crops] });
      const key = `out.${clip.clip}.input_features`;
      const [rows, T, bins] = c.shape(key) as [number, number, number];
      assert.equal(shape, [1, clip.truncation === "fusion" ? 4 : 1, T, bins]);
      assert.equal(used, [crops]);
      assert.equal(isLonger, [crops.length > 0]);
      const want = c.values(key) as Float32Array;
      // A clip that fits is stored once and given to the model four times.
      for (let r = 0; r < shape[1]; ++r)
        near(data.subarray(r * T * bins, (r + 1) * T * bins), want.subarray((r % rows) * T * bins).subarray(0, T * bins), c.atol(key), key);
    });

    test(`${name}, ${clip.clip}: marked as transformers marks it`, async () => {
      const config = { ...c.json("preprocessor_config.json"), truncation: clip.truncation };
      const processor = new AudioProcessor(config, "config", { crops: { seed: 1 }, markOneLonger: true });
      const { isLonger } = await processor.process([audio(join(c.folder, clip.file))]);
      assert.equal(isLonger, [clip.is_longer_as_hf]);
    });
  }

  test(`${name}: the configuration comes back as it was read`, () => {
    const processor = AudioProcessor.fromPretrained(c.folder);
    assert.equal(processor.configJson(), c.json("preprocessor_config.json"));
  });
}

interface Run {
  config: Record<string, unknown>;
  sounds: string[];
  crops: number[][];
  out: string;
}

for (const name of caseNames(/^mel-clap/)) {
  const c = new Case(name);
  for (const { config, sounds, crops, out } of c.info.runs as Run[])
    test(`${name}, ${config.truncation} and ${config.padding}: ${sounds.length} lengths around the window`, async () => {
      const processor = new AudioProcessor(config);
      const given = sounds.map((key): Sound => ({ samples: c.values(key) as Float32Array, sampleRate: processor.sampleRate }));
      const { data, shape, isLonger, crops: used } = await processor.features(given, { crops });
      assert.equal(used, crops);
      assert.equal(
        isLonger,
        crops.map(({ length }) => length > 0),
      );
      const [N, rows, T, bins] = c.shape(out) as [number, number, number, number];
      assert.equal(shape, [N, config.truncation === "fusion" ? 4 : 1, T, bins]);
      const want = c.values(out) as Float32Array;
      const size = T * bins;
      for (let n = 0; n < N; ++n)
        for (let r = 0; r < shape[1]; ++r) {
          const at = (n * rows + (r % rows)) * size;
          near(
            data.subarray((n * shape[1] + r) * size).subarray(0, size),
            want.subarray(at, at + size),
            c.atol(out),
            `${out}, sound ${n}, row ${r}`,
          );
        }
    });
}

/** One second is 1000 samples; a window is 40 of them, 11 frames. */
const SMALL = { sampling_rate: 1000, max_length_s: 0.04, hop_length: 4, fft_window_size: 8, feature_size: 3, frequency_max: 400 };
const noise = (length: number, seed = 1): Sound => ({
  samples: Float32Array.from({ length }, (_, i) => Math.sin(seed + i * i * 0.7)),
  sampleRate: 1000,
});
const repeated = (sound: Sound, lengths: number[]): Sound => ({
  ...sound,
  samples: Float32Array.from(lengths.flatMap((n) => [...sound.samples.subarray(0, n)])),
});
const silent = (sound: Sound, length: number): Sound => {
  const samples = new Float32Array(length);
  samples.set(sound.samples);
  return { ...sound, samples };
};

test("a short clip: as often as it fits whole and silence, as often as it fits, or once", async () => {
  const short = noise(15);
  const filled: [string, Sound][] = [
    ["repeatpad", silent(repeated(short, [15, 15]), 40)],
    ["repeat", repeated(short, [15, 15, 10])],
    ["pad", silent(short, 40)],
  ];
  const seen = new Set<string>();
  for (const [padding, same] of filled) {
    const processor = new AudioProcessor({ ...SMALL, padding, truncation: "rand_trunc" });
    const [{ data }, { data: want }] = await Promise.all([processor.features([short]), processor.features([same])]);
    assert.equal(data, want, padding);
    seen.add(data.join());
  }
  assert.is(seen.size, 3, "the three differ");
});

test("crops: in the middle by default, by the seed and the call's number when asked, and always inside", async () => {
  const long = noise(400);
  for (const truncation of ["rand_trunc", "fusion"]) {
    const config = { ...SMALL, truncation };
    const starts = truncation === "fusion" ? 101 - 11 + 1 : 400 - 40 + 1;
    const middle = await new AudioProcessor(config).features([long]);
    // 91 starts are 31, 30 and 30.
    assert.equal(middle.crops, [truncation === "fusion" ? [15, 31 + 14, 61 + 14] : [180]]);
    const drawn = async (seed: number) => {
      const processor = new AudioProcessor(config, "config", { crops: { seed } });
      const all = [];
      for (let i = 0; i < 20; ++i) all.push(...(await processor.features([long, long])).crops);
      return all;
    };
    const first = await drawn(5);
    assert.equal(await drawn(5), first);
    assert.not.equal(await drawn(6), first);
    assert.ok(new Set(first.map(String)).size > 30, "draws differ from call to call and within one");
    const bounds = truncation === "fusion" ? [0, 31, 61, starts] : [0, starts];
    for (const crop of first)
      assert.ok(
        crop.every((s, i) => s >= bounds[i]! && s < bounds[i + 1]!),
        `${crop}`,
      );
    const again = await new AudioProcessor(config).features([long], { crops: [first[3]!] });
    const direct = await new AudioProcessor(config, "config", { crops: { seed: 5 } }).features([long, long]);
    assert.equal(again.crops, [first[3]!]);
    if (truncation === "rand_trunc") assert.equal(direct.data.length, 2 * 11 * 3);
  }
});

test("calls that run at once draw as calls one after the other", async () => {
  const one = () => new AudioProcessor({ ...SMALL, truncation: "rand_trunc" }, "config", { crops: { seed: 9 } });
  const parts = [audio(noise(300)), audio(noise(100))];
  const a = one();
  const inTurn = [(await a.process(parts)).crops, (await a.process(parts)).crops];
  const b = one();
  assert.equal(
    (await Promise.all([b.process(parts), b.process(parts)])).map(({ crops }) => crops),
    inTurn,
  );
});

test("longer by less than a hop: no crops, the same frames; one start more: crops", async () => {
  const processor = new AudioProcessor({ ...SMALL, truncation: "fusion" });
  for (const [length, crops] of [
    [40, []],
    [43, []],
    [44, [0, 1, 0]],
  ] as const) {
    const { isLonger, crops: got, shape } = await processor.features([noise(length)]);
    assert.equal(got, [crops]);
    assert.equal(isLonger, [crops.length > 0]);
    assert.equal(shape, [1, 4, 11, 3]);
  }
});

test("another rate is resampled; a batch keeps its order", async () => {
  const processor = new AudioProcessor({ ...SMALL, truncation: "rand_trunc" });
  const tone = (rate: number): Sound => ({
    samples: Float32Array.from({ length: rate * 0.04 }, (_, i) => Math.sin((2 * Math.PI * 100 * i) / rate)),
    sampleRate: rate,
  });
  const { data, shape } = await processor.features([tone(1000), noise(40), tone(2000)]);
  assert.equal(shape, [3, 1, 11, 3]);
  // The loudest bin, away from the ends, agrees within a decibel.
  const loudest = (n: number) => Math.max(...data.subarray(n * 33 + 12, n * 33 + 21));
  assert.ok(Math.abs(loudest(0) - loudest(2)) < 1, `${loudest(0)} and ${loudest(2)} dB`);
  const alone = await processor.features([noise(40)]);
  assert.equal(data.subarray(33, 66), alone.data);
});

test("a bad configuration, no sound, crops of another clip", async () => {
  const wrong: [object, RegExp][] = [
    [{ feature_extractor_type: "WhisperFeatureExtractor" }, /ClapFeatureExtractor/],
    [{ sampling_rate: 0 }, /sampling_rate/],
    [{ hop_length: 2.5 }, /hop_length/],
    [{ max_length_s: 0 }, /max_length_s/],
    [{ max_length_s: "10" }, /max_length_s/],
    [{ frequency_min: 500 }, /frequency_min/],
    [{ truncation: "cut" }, /fusion, rand_trunc/],
    [{ padding: "mirror" }, /repeatpad/],
  ];
  for (const [changes, words] of wrong)
    await rejects((async () => new AudioProcessor({ ...SMALL, ...changes }))(), "E_MEDIA_OPTION", words);
  const processor = new AudioProcessor({ ...SMALL, truncation: "fusion" });
  await rejects(processor.process([]), "E_MEDIA_OPTION", /at least one sound/);
  await rejects(processor.features([noise(40)], { crops: [[0, 1, 2]] }), "E_MEDIA_OPTION", /crops of sound 0/);
  await rejects(processor.features([noise(400)], { crops: [[0, 1, 91]] }), "E_MEDIA_OPTION", /up to 90/);
  const controller = new AbortController();
  controller.abort(new Error("enough"));
  const stopped = await processor.process([audio(noise(40))], { signal: controller.signal }).catch((e: Error) => e.message);
  assert.is(stopped, "enough");
});

test.run();
