// The tiny world's recordings, read back by hand: which way the head turns, how often and how fast something is done, and gravity.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Draw } from "../../lib/data/draw.js";
import { renderImu } from "../../lib/data/world/render-imu.js";
import { ACTIVITIES, drawScene, type ImuScene, SPEEDS, TIMES, TURNS } from "../../lib/data/world/scenes.js";

const [RATE, N] = [100, 500];
const recording = (scene: Partial<ImuScene>, seed = 1) => {
  const draw = new Draw(seed, "motion");
  const whole: ImuScene = { ...(drawScene("imu", draw) as ImuScene), ...scene };
  const { samples, sampleRate } = renderImu(whole, draw);
  return { scene: whole, samples, sampleRate, axis: (c: number) => samples.subarray(c * N, (c + 1) * N) };
};
/** The mean under a window that swallows whatever swings. */
const slow = (values: Float32Array): number => mean(values.map((v, t) => v * (1 - Math.cos((2 * Math.PI * (t + 0.5)) / values.length))));
const mean = (values: Float32Array): number => values.reduce((sum, v) => sum + v, 0) / values.length;

/** Which axis shows the cycle, and cycles of the activity a second. */
const CYCLE: Record<ImuScene["activity"], [axis: number, hertz: number]> = {
  walking: [2, 1.8],
  running: [2, 2.1],
  jumping: [2, 1.7],
  squatting: [2, 1.5],
  nodding: [4, 1.8],
  shaking: [5, 1.9],
  cycling: [3, 1.6],
  rowing: [0, 1.5],
};

const FLIES = new Set<ImuScene["activity"]>(["running", "jumping"]);
const FACTOR: Record<ImuScene["speed"], number> = { slowly: 0.65, steadily: 1, quickly: 1.5 };
/** From where to where something is done: where the activity's own axis spans much within a third of a cycle; of a flight, half. */
function bouts(samples: Float32Array, { activity, speed }: ImuScene): [number, number][] {
  const [c, hertz] = CYCLE[activity];
  const raw = samples.subarray(c * N, (c + 1) * N);
  const axis = raw.map((_, t) => mean(raw.subarray(Math.max(0, t - 2), t + 3)));
  const half = Math.round(((FLIES.has(activity) ? 0.25 : 0.175) * RATE) / (hertz * FACTOR[speed]));
  const spans = Array.from(axis, (_, t) => {
    const near = axis.subarray(Math.max(0, t - half), t + half + 1);
    return Math.max(...near) - Math.min(...near);
  });
  const threshold = 0.22 * [...spans].sort((x, y) => x - y)[Math.floor(0.9 * N)]!;
  const found: [number, number][] = [];
  for (const [t, span] of spans.entries()) {
    if (span < threshold) continue;
    const last = found.at(-1);
    if (last && t - last[1] < 12) last[1] = t;
    else found.push([t, t]);
  }
  return found.filter(([from, to]) => to - from > 20);
}

test("the same draws give the same recording, others do not", () => {
  const { scene, samples } = recording({}, 1);
  assert.equal(recording({}, 1).samples, samples);
  assert.not.equal(renderImu(scene, new Draw(1)).samples, renderImu(scene, new Draw(2)).samples);
});

test("five seconds at 100 Hz, finite, at rest feeling gravity", () => {
  for (let i = 0; i < 100; ++i) {
    const { samples, sampleRate, axis } = recording({ activity: ACTIVITIES[i % 8]! }, i);
    assert.equal([samples.length, sampleRate], [6 * N, RATE]);
    assert.ok(samples.every(Number.isFinite));
    const felt = Array.from({ length: N }, (_, t) => Math.hypot(axis(0)[t]!, axis(1)[t]!, axis(2)[t]!)).slice(0, 8);
    const still = felt.reduce((sum, v) => sum + v, 0) / felt.length;
    assert.ok(Math.abs(still - 9.81) < 0.4, `${i}: ${still} m/s² at rest`);
  }
});

for (const turn of TURNS) {
  test(`turning ${turn} is in the yaw rate, its mean and how it changes, whatever is done`, () => {
    for (let i = 0; i < 48; ++i) {
      const { scene, axis } = recording({ turn, activity: ACTIVITIES[i % 8]!, speed: SPEEDS[i % 3]! }, i);
      const yaw = axis(5);
      const all = mean(yaw);
      const change = slow(yaw.subarray(0, 210)) - slow(yaw.subarray(290));
      // Nobody turns evenly or stands quite still: a rate wanders by up to 0.6 rad/s.
      const read = change > 0.9 ? "both ways" : all > 0.4 ? "left" : all < -0.4 ? "right" : "nowhere";
      assert.is(read, turn, JSON.stringify(scene));
    }
  });
}

for (const activity of ACTIVITIES) {
  test(`${activity}: as many bouts as the scene says`, () => {
    for (let i = 0; i < 18; ++i) {
      const { scene, samples } = recording({ activity, turn: "left", times: TIMES[i % 3]!, speed: SPEEDS[Math.floor(i / 3) % 3]! }, i);
      const found = bouts(samples, scene);
      assert.is(found.length, TIMES.indexOf(scene.times) + 1, `${i}: ${JSON.stringify(scene)} ${JSON.stringify(found)}`);
    }
  });
}

for (const activity of ACTIVITIES) {
  test(`${activity}: the cycle is as fast as its speed says`, () => {
    const [axis, steadily] = CYCLE[activity];
    for (let i = 0; i < 18; ++i) {
      const speed = SPEEDS[i % 3]!;
      const record = recording({ activity, speed, times: "once", turn: "nowhere" }, i);
      const [from, to] = bouts(record.samples, record.scene)[0]!;
      const part = record.axis(axis).slice(from, to);
      const middle = mean(part);
      let [at, most] = [0, 0];
      for (let hertz = 0.6; hertz < 4.5; hertz += 0.04) {
        let [re, im] = [0, 0];
        for (const [t, v] of part.entries()) {
          const w = (v - middle) * Math.sin((Math.PI * t) / part.length) ** 2;
          re += w * Math.cos((2 * Math.PI * hertz * t) / RATE);
          im += w * Math.sin((2 * Math.PI * hertz * t) / RATE);
        }
        if (re * re + im * im > most) [at, most] = [hertz, re * re + im * im];
      }
      const factor = at / steadily;
      // A jump's landing is sharp: its second harmonic may be the strongest.
      const read = Object.values(FACTOR).map((f) =>
        Math.min(Math.abs(Math.log(factor / f)), activity === "jumping" ? Math.abs(Math.log(factor / 2 / f)) : 9),
      );
      assert.ok(read[i % 3]! < 0.17, `${i}: ${activity} ${speed}: ${at} Hz`);
    }
  });
}

test("who jumps or runs is nearly weightless now and then, others never are", () => {
  for (let i = 0; i < 80; ++i) {
    const { scene, axis } = recording({ activity: ACTIVITIES[i % 8]! }, i);
    const up = [...axis(2)].sort((a, b) => a - b)[12]!;
    const flies = FLIES.has(scene.activity);
    assert.is(up < 4.05, flies, `${i}: ${JSON.stringify(scene)}: ${up} m/s²`);
  }
});

test("activities differ by the axes that move, whatever their strength", () => {
  const features = (activity: ImuScene["activity"], seed: number) => {
    const { scene, samples, axis } = recording({ activity }, seed);
    const spread = Array.from({ length: 6 }, (_, c) => {
      let sum = 0;
      for (const [from, to] of bouts(samples, scene)) for (let t = from + 3; t < to; ++t) sum += Math.abs(axis(c)[t]! - axis(c)[t - 3]!);
      return sum;
    });
    const lengths = [0, 3].map((c) => Math.hypot(...spread.slice(c, c + 3)));
    return spread.map((v, c) => v / lengths[c < 3 ? 0 : 1]!);
  };
  const half = 20;
  const all = ACTIVITIES.map((activity) => Array.from({ length: 2 * half }, (_, i) => features(activity, i)));
  const means = all.map((rows) => rows[0]!.map((_, c) => rows.slice(0, half).reduce((sum, row) => sum + row[c]!, 0) / half));
  const off = (row: number[], m: number[]) => row.reduce((sum, v, i) => sum + (v - m[i]!) ** 2, 0);
  const right = all.flatMap((rows, c) =>
    rows.slice(half).filter((row) => means.every((m, o) => o === c || off(row, m) > off(row, means[c]!))),
  );
  assert.ok(right.length / (half * 8) > 0.85, `${right.length} of ${half * 8}`);
});

test.run();
