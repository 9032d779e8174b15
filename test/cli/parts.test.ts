// Pieces of the command line without a process: prompts as typed, flags, the two presses of Ctrl-C, errors as paragraphs.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { perModality } from "../../lib/cli/flags.js";
import { describeError, Interrupt, Interrupted, integer, number } from "../../lib/cli/output.js";
import { program } from "../../lib/cli/program.js";
import { inline, mediaPart, placed } from "../../lib/cli/prompt-text.js";
import { projectorKeys } from "../../lib/cli/training-flags.js";
import { AnymalError } from "../../lib/core/errors.js";

const test = suite("command line parts");
const [cat, dog, song] = [mediaPart("image", "cat.jpg"), mediaPart("image", "dog.jpg"), mediaPart("audio", "song.wav")];

test("media stand at their marks, in order; what is not marked follows", () => {
  assert.equal(placed("is <image> like <image>?", [cat, dog]), ["is ", cat, " like ", dog, "?"]);
  assert.equal(placed("<audio> and <image>", [cat, song]), [song, " and ", cat]);
  assert.equal(placed("what is it?", [song, cat]), ["what is it?", song, cat]);
  assert.equal(placed("what is <image>?", [song, cat]), ["what is ", cat, "?", song]);
  assert.throws(() => placed("<image> <image>", [cat]), /one image for every <image>, got 2 marks and 1 files/);
  assert.throws(() => placed("<audio>?", [cat]), /one audio .* got 1 marks and 0 files/);
  assert.throws(() => placed(" ", []), /text or media/);
});

test("files in the text", () => {
  assert.equal(inline("is <image:cat.jpg> heard in <audio: song.wav >?"), ["is ", cat, " heard in ", song, "?"]);
  assert.equal(inline("<image:cat.jpg><image:dog.jpg>"), [cat, dog]);
  assert.equal(inline("no media, a < b > c"), ["no media, a < b > c"]);
  assert.throws(() => inline("what is <image>?"), /as in <image:cat\.jpg>/);
});

test("flags", () => {
  assert.equal(perModality("imu=b=c", { image: "a" }), { image: "a", imu: "b=c" });
  for (const text of ["smell=x", "image", "image=", "=x"]) assert.throws(() => perModality(text), /MODALITY=…/);
  assert.is(integer(1)("12"), 12);
  assert.is(number(0, 1)("1e-3"), 0.001);
  for (const text of ["", " ", "x", "1.5", "0", "1e20"]) assert.throws(() => integer(1)(text), /integer of at least 1/);
  for (const text of ["", "-1", "2", "NaN"]) assert.throws(() => number(0, 1)(text), /from 0 to 1/);
  assert.equal(projectorKeys("linear"), { type: "linear" });
  assert.equal(projectorKeys("resampler,layers=2,form=idefics,normalize=false"), {
    type: "resampler",
    layers: 2,
    form: "idefics",
    normalize: false,
  });
});

test("the first Ctrl-C aborts, what is passed on twice counts once, the second ends", async () => {
  const exit = process.exit;
  const codes: unknown[] = [];
  process.exit = ((code: unknown) => void codes.push(code)) as typeof process.exit;
  const before = process.listenerCount("SIGINT");
  const { now } = performance;
  let time = 1000;
  performance.now = () => time;
  try {
    using interrupt = new Interrupt();
    process.emit("SIGINT");
    process.emit("SIGINT");
    assert.is(interrupt.signal.aborted, true);
    assert.instance(interrupt.signal.reason, Interrupted);
    assert.equal(codes, []);
    time += 120;
    process.emit("SIGTERM");
    assert.equal(codes, [130]);
  } finally {
    process.exit = exit;
    performance.now = now;
  }
  assert.is(process.listenerCount("SIGINT"), before);
});

test("every command has a help with an example, and speaks JSON", () => {
  for (const name of ["demo", "align", "instruct", "generate", "chat"]) {
    const one = program().commands.find((each) => each.name() === name)!;
    const chunks: string[] = [];
    one.configureOutput({ writeOut: (chunk) => void chunks.push(chunk) }).outputHelp();
    assert.match(chunks.join(""), new RegExp(`^Usage: anymal ${name} [^]*--json[^]*Example:\\n {2}anymal ${name}`), name);
  }
});

test("errors are one paragraph", () => {
  assert.is(describeError(new AnymalError("E_X", "one:\n  two")), "E_X: one: two");
  assert.is(describeError(Object.assign(new Error("no such file, open 'x'"), { code: "ENOENT" })), "ENOENT: no such file, open 'x'");
  assert.match(describeError(new TypeError("x is not a function")), /^unexpected error: x is not a function; ANYMAL_DEBUG=1/);
});

test.run();
