// The tiny world's sounds, read back by hand: notes counted in the envelope, pitches and timbres in the spectrum.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Draw } from "../../lib/data/draw.js";
import { HERTZ, renderAudio } from "../../lib/data/world/render-audio.js";
import { type AudioScene, COUNTS, drawScene, INSTRUMENTS, MELODIES, NOTES } from "../../lib/data/world/scenes.js";

const RATE = 16000;
const sound = (scene: Partial<AudioScene>, seed = 1) => {
  const draw = new Draw(seed, "sound");
  const whole: AudioScene = { ...(drawScene("audio", draw) as AudioScene), ...scene };
  return { scene: whole, ...renderAudio(whole, draw) };
};

/** Where the notes are, in samples: louder than a fifth of the loudest 4 ms; holes shorter than 36 ms are the buzzer's. */
function notes(samples: Float32Array): [number, number][] {
  const size = 64;
  const levels = Array.from({ length: samples.length / size }, (_, i) => {
    let power = 0;
    for (const v of samples.subarray(i * size, (i + 1) * size)) power += v * v;
    return Math.sqrt(power / size);
  });
  const threshold = Math.max(...levels) / 5;
  const found: [number, number][] = [];
  for (const [i, level] of levels.entries()) {
    if (level < threshold) continue;
    const last = found.at(-1);
    if (last && (i * size - last[1]) / RATE < 0.036) last[1] = (i + 1) * size;
    else found.push([i * size, (i + 1) * size]);
  }
  return found;
}

/** A part under a Hann window of mean 2: then a spectral line reads its amplitude. */
const windowed = (part: Float32Array) => part.map((v, t) => v * (2 - 2 * Math.cos((2 * Math.PI * (t + 0.5)) / part.length)));
/** The amplitude at a frequency (Goertzel's recurrence). */
function amplitude(part: Float32Array, hertz: number): number {
  const turn = 2 * Math.cos((2 * Math.PI * hertz) / RATE);
  let [before, last] = [0, 0];
  for (let t = 0; t < part.length; ++t) {
    const next = part[t]! + turn * last - before;
    before = last;
    last = next;
  }
  return Math.sqrt(Math.max(0, last * last + before * before - turn * last * before)) / part.length;
}

/** The strongest frequency from 50 Hz to Nyquist: a grid as fine as the window, then finer around its best. */
function strongest(part: Float32Array): number {
  const best = (from: number, to: number, step: number): number => {
    let [at, most] = [from, 0];
    for (let hertz = from; hertz <= to; hertz += step) {
      const a = amplitude(part, hertz);
      if (a > most) [at, most] = [hertz, a];
    }
    return at;
  };
  const rough = best(50, 7990, RATE / part.length / 1.5);
  return best(Math.max(40, rough - 10), rough + 10, 0.5);
}
/** At most 100 ms from the middle, so that the search stays fast. */
const middle = (samples: Float32Array, [from, to]: [number, number]) => {
  const at = Math.floor((from + to) / 2);
  const half = Math.min(800, Math.floor((to - from) / 2));
  return windowed(samples.subarray(at - half, at + half));
};
const semitones = (a: number, b: number) => 12 * Math.log2(a / b);

test("the same draws give the same sound, others do not", () => {
  assert.equal(sound({}, 1).samples, sound({}, 1).samples);
  const scene = sound({}, 1).scene;
  assert.not.equal(renderAudio(scene, new Draw(1)).samples, renderAudio(scene, new Draw(2)).samples);
});

test("two seconds, as many notes as the scene says, with rests between, never clipped", () => {
  for (let i = 0; i < 96; ++i) {
    const { scene, samples, sampleRate } = sound({ instrument: INSTRUMENTS[i % 8]!, count: COUNTS[(i >> 3) % 4]! }, i);
    assert.equal([samples.length, sampleRate], [32000, RATE]);
    assert.is(notes(samples).length, COUNTS.indexOf(scene.count) + 3, `${i}: ${JSON.stringify(scene)}`);
    const peak = samples.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    assert.ok(peak > 0.05 && peak < 0.95, `${i}: a peak of ${peak}`);
  }
});

for (const instrument of INSTRUMENTS) {
  test(`${instrument}: the strongest partial of the first note is the note`, () => {
    for (const [i, note] of NOTES.entries()) {
      const { samples } = sound({ instrument, note, count: "three" }, i);
      const off = semitones(strongest(middle(samples, notes(samples)[0]!)), HERTZ[note]);
      // Tuned by up to two semitones; a whistle swings by almost another.
      assert.ok(Math.abs(off) < (instrument === "whistle" ? 3.1 : 2.6), `${note}: off by ${off} semitones`);
    }
  });
}

/** Steps above the first note. */
const STEPS: Record<AudioScene["melody"], number[]> = {
  rising: [0, 1, 2, 3, 4, 5],
  falling: [0, -1, -2, -3, -4, -5],
  steady: [0, 0, 0, 0, 0, 0],
  wavy: [0, 1, 0, 1, 0, 1],
};
for (const name of MELODIES) {
  test(`a ${name} melody`, () => {
    for (let i = 0; i < 6; ++i) {
      const { scene, samples } = sound({ melody: name, instrument: INSTRUMENTS[i]!, note: NOTES[2 + (i % 5)]!, count: COUNTS[i % 4]! }, i);
      const pitches = notes(samples).map((place) => strongest(middle(samples, place)));
      const want = STEPS[scene.melody];
      assert.ok(pitches.length >= 3);
      const step = Math.abs(semitones(pitches[1]!, pitches[0]!));
      const told = `${JSON.stringify(scene)}: ${pitches.map(Math.round)}`;
      assert.ok(name === "steady" ? step < 0.8 : step > 2.4 && step < 4.6, told);
      for (const [k, hertz] of pitches.entries()) assert.ok(Math.abs(semitones(hertz, pitches[0]!) - step * want[k]!) < 1.3, told);
    }
  });
}

test("what makes the timbres: partials that are there and that are not", () => {
  const partials = (instrument: AudioScene["instrument"]) => {
    const { samples } = sound({ instrument, note: "f4", count: "three", melody: "steady" }, 5);
    const part = middle(samples, notes(samples)[0]!);
    const hertz = strongest(part);
    const all = Array.from({ length: 9 }, (_, k) => (k ? amplitude(part, k * hertz) : 0));
    return all.map((a) => a / all[1]!);
  };
  const near = (got: number, want: number) => assert.ok(Math.abs(got - want) < 0.12, `${got} is not about ${want}`);
  const [flute, clarinet, trumpet, organ, horn, whistle] = (["flute", "clarinet", "trumpet", "organ", "horn", "whistle"] as const).map(
    partials,
  );
  near(flute![2]!, 0.18);
  for (const k of [2, 4, 6]) assert.ok(clarinet![k]! < 0.03, `clarinet: partial ${k}`);
  assert.ok(clarinet![3]! > 0.15);
  assert.ok(trumpet![2]! > 0.55 && trumpet![8]! > 0.3);
  near(organ![2]!, 0.8);
  assert.ok(organ![3]! < 0.05 && organ![4]! > 0.5);
  near(horn![2]!, 0.55);
  assert.ok(horn![5]! < 0.03);
  near(whistle![2]!, 0.25);
  for (const k of [3, 4]) assert.ok(whistle![k]! < 0.05, `whistle: partial ${k}`);
});

test("partials above half the sample rate are left out, not folded back", () => {
  const { samples } = sound({ instrument: "trumpet", note: "a6", count: "three", melody: "steady" }, 2);
  const part = middle(samples, notes(samples)[0]!);
  const hertz = strongest(part);
  const base = amplitude(part, hertz);
  for (let k = 5; k < 20; ++k) {
    const folded = Math.abs(((k * hertz + RATE / 2) % RATE) - RATE / 2);
    const isPartial = Math.abs(folded / hertz - Math.round(folded / hertz)) * hertz < 60;
    if (!isPartial) assert.ok(amplitude(part, folded) < 0.03 * base, `partial ${k} at ${folded} Hz`);
  }
});

test.run();
