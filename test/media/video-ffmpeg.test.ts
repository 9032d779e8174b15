// Video files through ffmpeg: with the commands themselves where they are installed, and with scripts in their place where they are not needed.
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type AudioPart, loadAudio, type Sound } from "../../lib/media/audio.js";
import type { Pixels } from "../../lib/media/image.js";
import { loadVideo, type VideoOptions, video } from "../../lib/media/video.js";
import { soundOf } from "../../lib/media/video-sound.js";
import { rejects, temporaryFolder } from "./media-case.js";
import { animation, expectedPicks, greyY4m, which, y4m } from "./video-case.js";

const MP4_HEAD = Buffer.concat([Buffer.from([0, 0, 0, 16]), Buffer.from("ftypisom"), Buffer.alloc(64)]);
const installed = ["ffmpeg", "ffprobe"].every((name) => !spawnSync(name, ["-version"]).error);

/** A test that needs the commands; without them it counts as skipped and says so. */
function real(name: string, body: () => Promise<void>): void {
  if (installed) return void test(name, body);
  test.skip(name, body);
  console.log(`skipped: ${name} (ffmpeg and ffprobe are not on PATH)`);
}
/** A test that puts shell scripts in place of the commands. */
function scripted(name: string, body: () => Promise<void>): void {
  if (process.platform !== "win32") return void test(name, body);
  test.skip(name, body);
  console.log(`skipped: ${name} (needs a POSIX shell)`);
}
function script(path: string, text: string): string {
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}
const ffmpeg = (...args: string[]) => execFileSync("ffmpeg", ["-v", "error", "-nostdin", "-y", ...args]);
// A folder of our own for temporary files: what is left there is ours.
const scratch = temporaryFolder();
process.env.TMPDIR = scratch.path;
process.env.TEMP = scratch.path;
test.after(() => scratch[Symbol.dispose]());
const temporaries = () => readdirSync(tmpdir()).filter((name) => name.startsWith("anymal-video-")).length;

test("without the commands one sentence says what is missing and what to do", async () => {
  using folder = temporaryFolder();
  writeFileSync(folder.file("clip.mp4"), MP4_HEAD);
  const none = folder.file("no-such-ffmpeg");
  const load = (options: VideoOptions) => loadVideo(video(folder.file("clip.mp4"), options), 4);
  await rejects(load({ ffmpeg: none, ffprobe: none }), "E_MEDIA_TOOL", /clip\.mp4/, /no-such-ffmpeg/, /install ffmpeg/, /ANYMAL_FFMPEG/);
  const { PATH, ANYMAL_FFMPEG } = process.env;
  try {
    process.env.PATH = folder.path;
    // An MP4 may be read by a library then: video-webcodecs.test.ts.
    const transportStream = video(Buffer.alloc(376, "G"));
    await rejects(loadVideo(transportStream, 4), "E_MEDIA_TOOL", /no command "ffprobe"/, /webcodecs/);
    process.env.ANYMAL_FFMPEG = none;
    await rejects(load({}), "E_MEDIA_TOOL", /no command/);
    mkdirSync(folder.file("bin"));
    script(folder.file("bin/ffprobe"), "exit 0");
    process.env.PATH = [folder.file("bin"), PATH].join(delimiter);
  } finally {
    process.env.PATH = PATH;
    if (ANYMAL_FFMPEG === undefined) delete process.env.ANYMAL_FFMPEG;
    else process.env.ANYMAL_FFMPEG = ANYMAL_FFMPEG;
  }
});

test("without the commands the sound of an MP4 is left to the audio reader", async () => {
  const part = await soundOf(video(MP4_HEAD, { ffmpeg: "/no/ffmpeg", ffprobe: "/no/ffprobe", start: 1, seconds: 2 }));
  assert.is(part?.source, MP4_HEAD);
  assert.equal(part?.options, { start: 1, seconds: 2, maxSeconds: 600 });
  await rejects(soundOf(video(Buffer.from("FLV\x01 and so on"), { ffmpeg: "/no/ffmpeg", ffprobe: "/no/ffprobe" })), "E_MEDIA_TOOL");
});

scripted("a command that hangs is ended by an abort, and its copy of the bytes is removed", async () => {
  using folder = temporaryFolder();
  const before = temporaries();
  const ffprobe = script(folder.file("ffprobe"), `echo $$ > ${folder.file("pid")}\nexec sleep 60`);
  const stop = new AbortController();
  const reason = new Error("enough");
  const loading = loadVideo(video(MP4_HEAD, { ffprobe }), 4, { signal: stop.signal }).catch((e) => e);
  // However long it takes to start: the runner's limit is the only one.
  while (!(existsSync(folder.file("pid")) && readFileSync(folder.file("pid"), "utf8").endsWith("\n")))
    await new Promise((resolve) => setTimeout(resolve, 10));
  assert.is(temporaries(), before + 1);
  stop.abort(reason);
  assert.is(await loading, reason);
  assert.throws(() => process.kill(Number(readFileSync(folder.file("pid"), "utf8")), 0), /ESRCH/);
  assert.is(temporaries(), before);
});

scripted("a command that writes without end is ended at the limit, and what it says is cut", async () => {
  using folder = temporaryFolder();
  writeFileSync(folder.file("clip.mp4"), MP4_HEAD);
  const load = (text: string, options: VideoOptions = {}) =>
    loadVideo(video(folder.file("clip.mp4"), { ffprobe: script(folder.file("ffprobe"), text), ...options }), 2);
  await rejects(load("yes"), "E_MEDIA_LIMIT", /description/);
  const stream = `{"index":0,"codec_type":"video","width":8,"height":8,"time_base":"1/10"}`;
  const packets = `case "$*" in *packet=*) yes "pts=1|duration=1|flags=K_";; *) echo '{"streams":[${stream}]}';; esac`;
  await rejects(load(packets, { maxFrames: 1000 }), "E_MEDIA_LIMIT", /1000 frames/);
  await rejects(load(packets, { maxPixels: 63 }), "E_MEDIA_LIMIT", /8 × 8/);
  const error = await load("yes complaint | head -c 1000000 >&2; exit 1").catch((e) => e);
  assert.is(error.code, "E_MEDIA_FORMAT");
  assert.ok(error.message.length < 500, `${error.message.length} characters`);
  await rejects(load("echo no json"), "E_MEDIA_FORMAT", /cannot be read/);
  await rejects(load(`echo '{"streams":[{"codec_type":"audio","sample_rate":"8000"}]}'`), "E_MEDIA_FORMAT", /only sound/);
});

scripted("large frames are asked for a few at a time, small ones together", async () => {
  using folder = temporaryFolder();
  writeFileSync(folder.file("clip.mp4"), MP4_HEAD);
  const packets = Array.from({ length: 8 }, (_, i) => `pts=${i}|duration=1|flags=K_`).join("\\n");
  const groupsOf = async (width: number, height: number): Promise<number[]> => {
    const stream = `{"index":0,"codec_type":"video","width":${width},"height":${height},"time_base":"1/10"}`;
    const probe = `case "$*" in *packet=*) printf '${packets}\\n';; *) echo '{"streams":[${stream}]}';; esac`;
    // It writes as many pictures of one pixel as it is asked for, and notes the number.
    const decode = `while [ "$1" != "-frames:v" ]; do shift; done; echo "$2" >> ${folder.file("asked")}
      i=0; while [ $i -lt "$2" ]; do printf 'P6\\n1 1\\n255\\nabc'; i=$((i + 1)); done`;
    const tools = { ffprobe: script(folder.file("ffprobe"), probe), ffmpeg: script(folder.file("ffmpeg"), decode) };
    writeFileSync(folder.file("asked"), "");
    const { frames } = await loadVideo(video(folder.file("clip.mp4"), { ...tools, maxPixels: 1e8 }), 8);
    assert.is(frames.length, 8);
    return readFileSync(folder.file("asked"), "utf8").trim().split("\n").map(Number);
  };
  assert.equal(await groupsOf(8, 8), [8]);
  assert.equal(await groupsOf(7000, 4000), [3, 3, 2]);
  assert.equal(await groupsOf(9000, 9000), Array(8).fill(1));
});

scripted("pictures larger than the file said are refused before they are kept", async () => {
  using folder = temporaryFolder();
  writeFileSync(folder.file("clip.mp4"), MP4_HEAD);
  const stream = `{"index":0,"codec_type":"video","width":8,"height":8,"time_base":"1/10"}`;
  const ffprobe = script(
    folder.file("ffprobe"),
    `case "$*" in *packet=*) echo "pts=1|duration=1|flags=K_";; *) echo '{"streams":[${stream}]}';; esac`,
  );
  const load = (text: string) => loadVideo(video(folder.file("clip.mp4"), { ffprobe, ffmpeg: script(folder.file("ffmpeg"), text) }), 2);
  await rejects(load("printf 'P6\\n30000 30000\\n255\\n'"), "E_MEDIA_LIMIT", /30000 × 30000/);
  await rejects(load("yes"), "E_MEDIA_FORMAT", /pictures from ffmpeg/);
  await rejects(load("printf 'P6\\n2 2\\n255\\n123'"), "E_MEDIA_FORMAT", /frames that can be decoded/);
  const { frames } = await load("printf 'P6\\n2 1\\n255\\nabc'; sleep 0.1; printf 'defP6'; echo bad >&2");
  assert.equal(
    frames.map(({ data, width, height }) => [...data, width, height].join()),
    Array(2).fill("97,98,99,100,101,102,2,1"),
  );
});

real("the same picks as from Y4M, in several containers and codecs, with time stamps and without", async () => {
  using folder = temporaryFolder();
  writeFileSync(folder.file("in.y4m"), greyY4m(11));
  const mpeg4 = ["-c:v", "mpeg4", "-q:v", "2", "-bf", "2", "-g", "4"];
  const outputs: [string, string[]][] = [
    ["clip.mp4", mpeg4],
    ["clip.mkv", ["-c:v", "ffv1"]],
    ["clip.ts", ["-c:v", "mpeg2video", "-q:v", "2", "-bf", "2"]],
    ["clip.m4v", mpeg4],
    ["clip.apng", ["-f", "apng"]],
  ];
  for (const [name, args] of outputs) {
    const rate = name === "clip.ts" ? 25 : 10;
    ffmpeg("-r", String(rate), "-i", folder.file("in.y4m"), ...args, folder.file(name));
    const got = await loadVideo(video(folder.file(name)), 16);
    assert.equal(which(got.frames, 3), expectedPicks(11, 16), name);
    assert.is(got.fps?.toFixed(3), rate.toFixed(3), name);
    assert.is(got.hasSound, false);
  }
  assert.equal(which((await loadVideo(video(folder.file("clip.mp4"), { start: 0.5, seconds: 0.4 }), 2)).frames, 3), [6, 8]);
});

real("frames that last longer are picked more often, as from the GIF itself", async () => {
  using folder = temporaryFolder();
  const gif = await animation("gif", 4, [100, 700, 100, 100]);
  writeFileSync(folder.file("in.gif"), gif);
  ffmpeg("-i", folder.file("in.gif"), "-vsync", "vfr", "-c:v", "ffv1", folder.file("clip.mkv"));
  for (const source of [gif, folder.file("clip.mkv")]) assert.equal(which((await loadVideo(video(source), 4)).frames, 3), [1, 1, 1, 2]);
});

real("in a long clip far picks are reached by seeking, and are still the right frames", async () => {
  using folder = temporaryFolder();
  const [count, bits] = [1500, 12];
  // Frame k shows k as black and white blocks of 8 × 8.
  const frames = Array.from({ length: count }, (_, k) =>
    Uint8Array.from({ length: 32 * 24 }, (_, i) => ((k >> ((i >> 8) * 4 + ((i & 31) >> 3))) & 1 ? 235 : 16)),
  );
  const read = ({ data }: Pixels) =>
    Array.from({ length: bits }, (_, b) => (data[3 * ((4 + 8 * (b >> 2)) * 32 + 4 + 8 * (b & 3))]! > 128 ? 1 << b : 0)).reduce(
      (a, b) => a + b,
    );
  writeFileSync(folder.file("in.y4m"), y4m("W32 H24 F30:1 Cmono", frames));
  ffmpeg("-i", folder.file("in.y4m"), "-c:v", "mpeg4", "-q:v", "3", "-bf", "2", "-g", "50", folder.file("clip.mp4"));
  // A transport stream has no index to seek by.
  ffmpeg("-i", folder.file("in.y4m"), "-c:v", "mpeg2video", "-q:v", "3", "-bf", "2", "-g", "50", folder.file("clip.ts"));
  const logged = script(folder.file("logged"), `echo "$*" >> ${folder.file("log")}\nexec ffmpeg "$@"`);
  const cases: [string, number, number][] = [
    ["clip.mp4", 3, 3],
    ["clip.mp4", 30, 1],
    ["clip.ts", 3, 3],
  ];
  for (const [name, picks, commands] of cases) {
    writeFileSync(folder.file("log"), "");
    const got = await loadVideo(video(folder.file(name), { ffmpeg: logged }), picks);
    assert.equal(got.frames.map(read), expectedPicks(count, picks), `${picks} of ${name}`);
    const log = readFileSync(folder.file("log"), "utf8").trim().split("\n");
    if (name === "clip.mp4") assert.is(log.length, commands, log.join("\n"));
    // The first pick is near enough to the beginning.
    assert.is(log.filter((line) => line.includes("-noaccurate_seek")).length, commands - 1);
  }
});

real("names that look like options, addresses or patterns are names", async () => {
  using folder = temporaryFolder();
  writeFileSync(folder.file("in.y4m"), greyY4m(3));
  ffmpeg("-i", folder.file("in.y4m"), "-c:v", "ffv1", folder.file("clip.mkv"));
  const here = process.cwd();
  process.chdir(folder.path);
  try {
    for (const name of ["-i", "pipe:0", "concat:a|it's %03d; $(touch x) `touch x`.mkv"]) {
      copyFileSync("clip.mkv", join(folder.path, name));
      assert.equal(which((await loadVideo(video(name), 3)).frames, 1), [0, 1, 2], name);
    }
    assert.not(existsSync("x"));
  } finally {
    process.chdir(here);
  }
});

real("lists that name other files are not followed", async () => {
  using folder = temporaryFolder();
  writeFileSync(folder.file("in.y4m"), greyY4m(3));
  ffmpeg("-i", folder.file("in.y4m"), "-c:v", "ffv1", folder.file("clip.mkv"));
  writeFileSync(folder.file("list.mp4"), "ffconcat version 1.0\nfile clip.mkv\n");
  writeFileSync(folder.file("play.mp4"), `#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mkv\n#EXT-X-ENDLIST\n`);
  for (const name of ["list.mp4", "play.mp4"]) {
    // Without our arguments ffprobe reads it: the test would find out if they did nothing.
    if (name === "list.mp4") execFileSync("ffprobe", ["-v", "error", folder.file(name)]);
    await rejects(loadVideo(video(folder.file(name)), 1), "E_MEDIA_FORMAT", new RegExp(name), /format that is not read/);
  }
});

real("damaged files: rubbish, cut off, sound without pictures", async () => {
  using folder = temporaryFolder();
  writeFileSync(folder.file("in.y4m"), greyY4m(11));
  ffmpeg("-i", folder.file("in.y4m"), "-c:v", "mpeg4", "-movflags", "faststart", folder.file("clip.mp4"));
  const bytes = readFileSync(folder.file("clip.mp4"));
  await rejects(loadVideo(video(Buffer.from("no video, only words, and more of them")), 1), "E_MEDIA_FORMAT", /a video file/);
  await rejects(loadVideo(video(bytes.subarray(0, 200)), 8), "E_MEDIA_FORMAT", /a video file/);
  await rejects(loadVideo(video(bytes.subarray(0, bytes.length - 20)), 8), "E_MEDIA_FORMAT", /cut/, /partial file/);
  ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", folder.file("sound.wav"));
  await rejects(loadVideo(video(folder.file("sound.wav")), 1), "E_MEDIA_FORMAT", /only sound/);
  await rejects(loadVideo(video(folder.file("clip.mp4"), { maxBytes: 99 }), 1), "E_MEDIA_LIMIT");
  await rejects(loadVideo(video(folder.file("clip.mp4"), { maxPixels: 99 }), 1), "E_MEDIA_LIMIT", /16 × 12/);
  await rejects(loadVideo(video(folder.file("clip.mp4"), { maxFrames: 10 }), 1), "E_MEDIA_LIMIT", /10 frames/);
  await rejects(loadVideo(video(folder.file("clip.mp4"), { maxSeconds: 1 }), 1), "E_MEDIA_LIMIT", /1\.1 s/);
});

real("a sound track: said once when it is not used, and the same sound through ffmpeg and through the audio reader", async () => {
  using folder = temporaryFolder();
  writeFileSync(folder.file("in.y4m"), greyY4m(20));
  const tone = ["-f", "lavfi", "-i", "sine=frequency=500:duration=2:sample_rate=16000"];
  ffmpeg(
    "-i",
    folder.file("in.y4m"),
    ...tone,
    "-filter_complex",
    "[1]pan=stereo|c0=c0|c1=0.5*c0[s]",
    "-map",
    "0",
    "-map",
    "[s]",
    folder.file("clip.mp4"),
  );
  const before = temporaries();
  const heard: string[] = [];
  const part = video(readFileSync(folder.file("clip.mp4")), { onNotice: (message) => heard.push(message) });
  for (let i = 0; i < 2; ++i) assert.is((await loadVideo(part, 2)).hasSound, true);
  assert.is(heard.length, 1);
  assert.match(heard[0]!, /sound track/);
  const silent = video(folder.file("clip.mp4"), { audioTrack: "part", onNotice: (message) => heard.push(message) });
  await loadVideo(silent, 2);
  assert.is(heard.length, 1);

  const warnings: (Error & { code?: string })[] = [];
  const listen = (warning: Error) => warnings.push(warning);
  process.on("warning", listen);
  for (let i = 0; i < 2; ++i) await loadVideo(video(folder.file("clip.mp4")), 1);
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", listen);
  assert.equal(
    warnings.map(({ code }) => code),
    ["ANYMAL_SOUND_IGNORED"],
  );

  const windowed = { start: 0.5, seconds: 1 };
  const through = (await loadAudio((await soundOf(video(folder.file("clip.mp4"), windowed))) as AudioPart)) satisfies Sound;
  assert.is(through.sampleRate, 16000);
  assert.ok(Math.abs(through.samples.length - 16000) <= 16, `${through.samples.length} samples`);
  // The mean of a sine of 1/8 and one of 1/16.
  const loudest = through.samples.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  assert.ok(Math.abs(loudest - 0.09375) < 0.01, `${loudest}`);
  const other = await loadAudio((await soundOf(video(folder.file("clip.mp4"), { ...windowed, ffprobe: "/no/ffprobe" }))) as AudioPart);
  const power = (s: Sound) => Math.sqrt(s.samples.reduce((sum, v) => sum + v * v, 0) / s.samples.length);
  assert.ok(Math.abs(power(other) / power(through) - 1) < 0.02, `${power(other)} and ${power(through)}`);
  await rejects(soundOf(video(folder.file("clip.mp4"), { maxSeconds: 1 })), "E_MEDIA_LIMIT", /sound/);
  assert.is(temporaries(), before);
});

test.run();
