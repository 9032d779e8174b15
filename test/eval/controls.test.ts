// Controls: blank media of the same size, and media of others.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { blank, type DerangeOptions, derange } from "../../lib/eval/controls.js";
import { audio, type ImuPart, image, imu, loadAudio, loadImage, loadImu, loadVideo, type Pixels, video } from "../../lib/index.js";
import { random } from "../harness.js";

const picture = (width: number, height: number): Pixels => ({ data: new Uint8Array(width * height * 3).fill(200), width, height });
const zeros = (values: ArrayLike<number>) => Array.from(values).every((v) => v === 0);

test("a blank is as large or as long as the window that was asked for", async () => {
  const dark = await loadImage(await blank(image(picture(7, 5), { maxPixels: 35 })));
  assert.equal([dark.width, dark.height], [7, 5]);
  assert.ok(zeros(dark.data));

  const sound = audio({ samples: new Float32Array(1000).fill(0.5), sampleRate: 100 }, { start: 2, seconds: 3, maxSeconds: 4 });
  const silence = await blank(sound);
  assert.equal(silence.options, { maxSeconds: 4 });
  const { samples, sampleRate } = await loadAudio(silence);
  assert.equal([samples.length, sampleRate], [300, 100]);
  assert.ok(zeros(samples));

  const recording = { samples: new Float32Array(6 * 50).fill(1), sampleRate: 10 };
  const still = await loadImu(await blank(imu(recording, { orientation: "rows", acceleration: "g", start: 1 })));
  assert.equal([still.samples.length, still.sampleRate], [6 * 40, 10]);
  assert.ok(zeros(still.samples));

  const frames = Array.from({ length: 10 }, () => picture(4, 6));
  const clip = await blank(video({ frames, fps: 5 }, { start: 1 }));
  assert.ok("frames" in (clip.source as object) && (clip.source as { frames: unknown[] }).frames.length === 5);
  const { frames: shown, fps } = await loadVideo(clip, 3);
  assert.equal([shown.length, shown[0]!.width, shown[0]!.height, fps], [3, 4, 6, 5]);
  assert.ok(shown.every(({ data }) => zeros(data)));
});

test("what is not there has no blank", async () => {
  try {
    await blank(image("/no/such.png"));
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code: string }).code, "E_MEDIA_SOURCE");
  }
  const thermal = { modality: "thermal", source: new Float32Array(60), options: { sampleRate: 10 } };
  const error = await blank(thermal as unknown as ImuPart).catch((e) => e);
  assert.is(error.code, "E_MODALITY");
});

/** A permutation without fixed points; how many get media with their own answer. */
function check(n: number, options: DerangeOptions): number {
  const places = derange(n, options);
  assert.equal(
    [...places].sort((a, b) => a - b),
    Array.from({ length: n }, (_, i) => i),
    "a permutation",
  );
  for (const [i, place] of places.entries()) assert.is.not(i, place);
  return places.filter((place, i) => options.answers?.[i] === options.answers?.[place]).length;
}

test("nobody keeps their own, nor as little as possible their own answer", () => {
  const draw = random(3);
  for (let round = 0; round < 200; ++round) {
    const n = 2 + Math.floor((draw() + 1) * 10);
    const answers = Array.from({ length: n }, () => "abcd"[Math.floor((draw() + 1) * 2 * (round % 2 ? 1 : 0.6))]!);
    const most = Math.max(...["a", "b", "c", "d"].map((a) => answers.filter((b) => b === a).length));
    assert.is(check(n, { seed: round, answers }), Math.max(0, 2 * most - n), String(answers));
    check(n, { seed: round });
  }
});

test("within kinds; one that is alone of its kind joins the others", () => {
  const kinds = ["colour", "count", "colour", "colour", "count", "place", "colour"];
  const answers = ["red", "2", "blue", "red", "3", "left", "blue"];
  for (let seed = 0; seed < 50; ++seed) {
    assert.is(check(7, { seed, kinds, answers }), 0);
    const places = derange(7, { seed, kinds: kinds.slice(0, 7) });
    assert.ok(kinds.filter((kind, i) => kind !== kinds[places[i]!]).length <= 2, "all but the lone one and its partner stay in their kind");
  }
  check(2, { kinds: ["a", "b"] });
  check(3, { kinds: ["a", "b", "b"] });
});

test("the seed decides; nonsense is refused", () => {
  assert.equal(derange(20, { seed: 1 }), derange(20, { seed: 1 }));
  assert.not.equal(derange(20, { seed: 1 }), derange(20, { seed: 2 }));
  assert.throws(() => derange(1), /at least two items/);
  assert.throws(() => derange(3, { answers: ["a"] }), /answers: expected one for each of 3 items, got 1/);
});

test.run();
