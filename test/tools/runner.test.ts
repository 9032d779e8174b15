// The runner of the tests itself: a file that hangs, one that crashes, one that tests nothing and one that fails are named and counted, and the others
// go on; what a hanging file started is ended with it.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runToEnd } from "../../tools/test-process.js";

const test = suite("test runner");
const root = fileURLToPath(new URL("../..", import.meta.url));
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-runner-"));
});
test.after.each(() => rmSync(folder, { recursive: true }));

/** One that has ended but was not asked for its result is gone too. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform !== "linux" || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch (error) {
    assert.ok(["ESRCH", "ENOENT"].includes((error as NodeJS.ErrnoException).code ?? ""), String(error));
    return false;
  }
}

const end = { cwd: root, env: process.env };
const pidsIn = (output: string): number[] => Array.from(output.matchAll(/^pid (\d+)$/gm), ([, pid]) => Number(pid));

test("at its limit a process is ended, and what it started", async () => {
  const hanging = "sleep 1000 & echo pid $!; sh -c 'trap \"\" TERM INT; echo pid $$; while :; do :; done'";
  const { output, ok, reason } = await runToEnd({ command: "sh", args: ["-c", hanging] }, 2, end);
  const pids = pidsIn(output);
  assert.is(pids.length, 2, output);
  for (const pid of pids) assert.not.ok(isAlive(pid), `${pid} runs on`);
  assert.is(ok, false);
  assert.match(reason ?? "", /limit of 2 s/);
});

test("what a process leaves behind neither holds the next one up nor runs on", async () => {
  const { output, ok, reason } = await runToEnd({ command: "sh", args: ["-c", "sleep 1000 & echo pid $!"] }, 100, end);
  const pids = pidsIn(output);
  assert.is(pids.length, 1, output);
  for (const pid of pids) assert.not.ok(isAlive(pid), `${pid} runs on`);
  assert.is(ok, true);
  assert.is(reason, undefined);
});

test("a crash is told by its signal, a program that is not there by its name", async () => {
  const crashed = await runToEnd({ command: "sh", args: ["-c", "kill -ABRT $$"] }, 100, end);
  assert.is(crashed.ok, false);
  assert.match(crashed.reason ?? "", /SIGABRT/);
  const missing = await runToEnd({ command: join(folder, "nothing"), args: [] }, 100, end);
  assert.is(missing.ok, false);
  assert.match(missing.output, /ENOENT/);
});

test("a folder of files, good and bad", () => {
  const uvu = `import { test } from ${JSON.stringify(import.meta.resolve("uvu"))};\n`;
  const files = {
    good: `${uvu}test("one", () => {}); test("two", () => {}); test.run();`,
    wrong: `${uvu}test("one", () => {}); test("two", () => { throw new Error("no"); }); test.run();`,
    skips: `${uvu}test.skip("one", () => {}); test.run();`,
    crashes: `${uvu}test("one", () => process.abort()); test.run();`,
    nothing: `${uvu}test.run();`,
    empty: "",
    hangs: `${uvu}test("one", () => { for (;;); }); test.run();`,
    "stays-open": `${uvu}test("one", () => void setInterval(() => {}, 1000)); test.run();`,
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, `${name}.test.ts`), text);
  const runner = ["--import", "tsx", "tools/test.ts", "--folder", folder, "--limit", "12"];
  const { stdout, stderr, status } = spawnSync(process.execPath, runner, { cwd: root, encoding: "utf8" });
  const line = (name: string) =>
    stdout.split("\n").find((text) => text.includes(`${name}.test.ts: `)) ?? `none of ${name}\n${stdout}${stderr}`;
  assert.match(line("good"), /^ok .*: 2 passed, 0 failed \(/);
  assert.match(line("wrong"), /^FAIL .*: 1 passed, 1 failed \(/);
  assert.match(line("skips"), /^ok .*: 0 passed, 0 failed, 1 skipped \(/);
  assert.match(line("crashes"), /^FAIL .*: 0 passed, 1 failed \(/);
  assert.match(stdout, /crashes\.test\.ts: ended by SIGABRT/);
  for (const name of ["nothing", "empty"]) assert.match(line(name), /^FAIL .*: 0 passed, 1 failed \(/);
  for (const name of ["hangs", "stays-open"]) {
    assert.match(line(name), /^FAIL .*, 1 failed \(/);
    assert.ok(stdout.includes(`${name}.test.ts: ended after its limit of 12 s`), stdout);
  }
  assert.match(stdout, /\n4 passed, 6 failed\n$/);
  assert.is(status, 1);
});

test.run();
