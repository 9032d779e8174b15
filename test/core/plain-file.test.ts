import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { FileError } from "../../lib/core/file-error.js";
import { checkLinks, openPlain, readPlain, readPlainSync } from "../../lib/core/plain-file.js";

const folder = mkdtempSync(join(tmpdir(), "anymal-plain-"));
test.after(() => rmSync(folder, { recursive: true }));
const file = join(folder, "file");
writeFileSync(file, "twelve bytes");

/** How each of the three ways to read answers. */
async function answers(path: string, most = 100): Promise<string[]> {
  const opened = openPlain(path).then(async (handle) => handle.readFile("utf8").finally(() => handle.close()));
  const atOnce = new Promise<string>((resolve) => resolve(readPlainSync(path, { most }).toString()));
  const settled = await Promise.allSettled([readPlain(path, { most }).then(String), atOnce, opened]);
  return settled.map((one) => {
    if (one.status === "fulfilled") return one.value;
    assert.instance(one.reason, FileError);
    return one.reason.message;
  });
}

test("a regular file is read, by way of a link too", async () => {
  symlinkSync(file, join(folder, "link"));
  assert.equal(await answers(file), Array(3).fill("twelve bytes"));
  assert.equal(await answers(join(folder, "link")), Array(3).fill("twelve bytes"));
});

test("a link may lead to another file of the folder, and out of it only where it is no stranger's", () => {
  const strange = join(folder, "strange");
  mkdirSync(join(strange, "sub"), { recursive: true });
  writeFileSync(join(strange, "sub", "real"), "inside");
  symlinkSync(join("sub", "real"), join(strange, "within"));
  symlinkSync(file, join(strange, "out"));
  symlinkSync("..", join(strange, "up"));
  const read = (name: string) => readPlainSync(join(strange, name), { most: 100, linksInside: true }).toString();
  assert.is(read("within"), "inside");
  assert.throws(() => read("out"), /expected a file of its own folder, got a link that leads out of it/);
  assert.is(readPlainSync(join(strange, "out"), { most: 100 }).toString(), "twelve bytes");
  assert.throws(() => checkLinks(strange, join(strange, "up", "file")), /leads out/);
});

test("one byte more than a file of its kind has is not read", async () => {
  assert.equal((await answers(file, 12)).slice(0, 2), Array(2).fill("twelve bytes"));
  const [late, sync] = await answers(file, 11);
  assert.match(late!, /expected a file of at most 11 bytes, got 12 bytes/);
  assert.is(sync, late);
});

test("folders and files that are not there", async () => {
  for (const message of await answers(folder)) assert.match(message, /expected a regular file, got a folder; name a file/);
  for (const message of await answers(join(folder, "absent"))) assert.match(message, /ENOENT/);
});

if (process.platform !== "win32")
  test("pipes and devices are refused, and nobody waits for them", async () => {
    const pipe = join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    for (const message of await answers(pipe)) assert.match(message, /expected a regular file, got a pipe/);
    for (const message of await answers("/dev/zero")) assert.match(message, /expected a regular file, got a device/);
  });

test.run();
