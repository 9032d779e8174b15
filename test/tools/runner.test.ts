// The runner of the tests itself: a file that hangs, one that crashes, one that tests nothing and one that fails are named and counted, and the others
// go on; what a hanging file started is ended with it.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runToEnd } from "../../tools/test-process.js";
import { ends } from "./alive.js";

const test = suite("test runner");
const root = fileURLToPath(new URL("../..", import.meta.url));
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-runner-"));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

const end = { cwd: root, env: process.env };
const pidsIn = (output: string): number[] => Array.from(output.matchAll(/^pid (\d+)$/gm), ([, pid]) => Number(pid));

test("at its limit a process is ended, and what it started", async () => {
  const hanging = "sleep 1000 & echo pid $!; sh -c 'trap \"\" TERM INT; echo pid $$; while :; do :; done'";
  const { output, ok, late, reason } = await runToEnd({ command: "sh", args: ["-c", hanging] }, 2, end);
  const pids = pidsIn(output);
  assert.is(pids.length, 2, output);
  for (const pid of pids) await ends(pid);
  assert.equal([ok, late], [false, true]);
  assert.match(reason ?? "", /limit of 2 s/);
});

test("what a process leaves behind neither holds the next one up nor runs on", async () => {
  const { output, ok, reason } = await runToEnd({ command: "sh", args: ["-c", "sleep 1000 & echo pid $!"] }, 100, end);
  const pids = pidsIn(output);
  assert.is(pids.length, 1, output);
  for (const pid of pids) await ends(pid);
  assert.is(ok, true);
  assert.is(reason, undefined);
});

test("what it says is whole, and told as it comes: letters of several bytes that arrive in pieces too", async () => {
  const said: string[] = [];
  const pieces = "printf '\\303'; sleep 0.2; printf '\\244'; echo; echo b >&2; exit 3";
  const ended = await runToEnd({ command: "sh", args: ["-c", pieces] }, 100, { ...end, said: (text) => said.push(text) });
  assert.match(ended.output, /ä/);
  assert.is(said.join(""), ended.output);
  assert.equal([ended.ok, ended.code, ended.late, ended.reason], [false, 3, false, undefined]);
});

test("a crash is told by its signal, a program that is not there by its name", async () => {
  const crashed = await runToEnd({ command: "sh", args: ["-c", "kill -ABRT $$"] }, 100, end);
  assert.is(crashed.ok, false);
  assert.match(crashed.reason ?? "", /SIGABRT/);
  assert.is(crashed.code, null);
  const missing = await runToEnd({ command: join(folder, "nothing"), args: [] }, 100, end);
  assert.is(missing.ok, false);
  assert.match(missing.output, /ENOENT/);
  assert.match(missing.reason ?? "", /ENOENT/);
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

test("--level is refused where the machine lacks it, with those it has; the test files run at it", () => {
  const uvu = `import { test } from ${JSON.stringify(import.meta.resolve("uvu"))};\n`;
  writeFileSync(
    join(folder, "level.test.ts"),
    `${uvu}test(process.env.ANYMAL_CPU_LEVEL, () => { if (process.env.ANYMAL_CPU_LEVEL !== "generic") throw 1; }); test.run();`,
  );
  const at = (...level: string[]) =>
    spawnSync(process.execPath, ["--import", "tsx", "tools/test.ts", "--folder", folder, ...level], { cwd: root, encoding: "utf8" });
  const unknown = at("--level", "avx1024");
  assert.is(unknown.status, 1, unknown.stdout);
  assert.match(unknown.stderr, /--level: expected one that this machine has \(generic.*\), got "avx1024"/);
  const known = at("--level", "generic");
  assert.match(known.stdout, /^ok .*level\.test\.ts at generic: 1 passed, 0 failed/m, known.stderr);
});

test.run();
