// Where a package that decodes is missing, only the call that needs it fails, and says how to mend that.
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { temporaryFolder } from "./media-case.js";
import { s16, wavFile } from "./wav-file.js";

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

test("without sharp and audio-decode the library loads, and the rest of it works", async () => {
  using folder = temporaryFolder();
  const given: { name: string; file: string }[] = JSON.parse(readFileSync(here("./files/pillow.json"), "utf8"));
  const write = (file: string, bytes: Uint8Array) => {
    writeFileSync(folder.file(file), bytes);
    return folder.file(file);
  };
  const made = (kind: string) => Buffer.from(given.find(({ name }) => name === kind)!.file, "base64");
  const files = [
    write("a.png", made("png RGB")),
    here("./files/tones.flac"),
    write("a.bmp", made("bmp 40 24 0")),
    write("a.wav", wavFile(s16([1, 2, 3]))),
    write("a.gif", made("gif opaque")),
  ];
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", here("./without-libraries.ts"), ...files]);
  const said = JSON.parse(stdout) as Record<string, string>;
  for (const name of ["bmp", "gif", "wav"]) assert.is(said[name], "done", name);
  assert.equal(said.tensor, [1, 2]);
  for (const name of ["png", "clip"])
    assert.match(said[name]!, /^E_MEDIA_TOOL .*sharp, which decodes pictures.*npm install --include=optional sharp/, name);
  assert.match(said.flac!, /^E_MEDIA_TOOL .*audio-decode.*npm install audio-decode/);
});

test.run();
