// What a decoding worker may take: its time; and that it keeps no process from its end. With the limits set so that nothing waits.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { audio, loadAudio } from "../../lib/media/audio.js";
import { decodeLimits } from "../../lib/media/decode-thread.js";
import { rejects } from "./media-case.js";

const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);
const tones = readFileSync(new URL("./files/tones.m4a", import.meta.url));
const usual = { ...decodeLimits };
test.after.each(() => {
  Object.assign(decodeLimits, usual);
});

// The first: no worker is there yet, and to start one takes longer than the limit.
test("an answer that does not come in time ends the worker, and the next sound has another", async () => {
  decodeLimits.answerMs = 1;
  await rejects(loadAudio(audio(tones)), "E_MEDIA_LIMIT", /decoded in 0\.001 s/, /no answer/);
  decodeLimits.answerMs = usual.answerMs;
  assert.is((await loadAudio(audio(tones))).samples.length, 4000);
});

test("a worker without work keeps no process from its end, however long it is kept", async () => {
  const script = `
    const { audio, loadAudio } = await import(${url("../../lib/media/audio.ts")});
    const { decodeLimits } = await import(${url("../../lib/media/decode-thread.ts")});
    decodeLimits.idleMs = 2 ** 31 - 1;
    const loads = [${url("./files/tones.m4a")}, ${url("./files/tones.flac")}, ${url("./files/tones.mp3")}].map((file) => loadAudio(audio(new URL(file))));
    console.log((await Promise.all(loads)).map(({ samples }) => samples.length).join());`;
  // Where it does not end by itself, it never ends; the limit is the test's, and far away.
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
    timeout: 240_000,
  });
  assert.match(stdout, /^4000,4000,\d+\n$/);
});

test.run();
