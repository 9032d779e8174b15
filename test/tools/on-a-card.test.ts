// The course of tools/on-a-card.sh with stages of a line each: what fails or hangs is recorded and the next goes on, a second start takes up what
// has not ended, and what is packed for a machine without a registry is complete.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type CourseOptions, RESULTS, type Report, runCourse, type Stage, table } from "../../tools/on-a-card/course.js";
import { closure } from "../../tools/on-a-card/pack.js";
import { stagesFor } from "../../tools/on-a-card/stages.js";
import { ends } from "./alive.js";

const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
const script = (code: string) => ({ command: process.execPath, args: ["-e", code] });
const stage = (name: string, code: string, weight = 1): Stage => ({ name, weight, commands: [script(code)] });

async function inFolders(run: (options: CourseOptions, read: (folder: string) => Report) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "anymal-course-"));
  const folders = [join(folder, "kept"), join(folder, "out")];
  const read = (name: string): Report => JSON.parse(readFileSync(join(folder, name, RESULTS), "utf8"));
  try {
    await run({ minutes: 10, folders, machine: { card: "none" }, commit: "abc", root, say: () => {} }, read);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
const outcomes = ({ stages }: Report) => stages.map(({ stage, outcome }) => `${stage} ${outcome}`);

test("a stage that fails, one that hangs with its child and one with nothing to do are recorded; the last runs; every folder has it all", () =>
  inFolders(async (options, read) => {
    const pidFile = join(options.folders[0] as string, "pid");
    const hang = `sleep 1000 & echo $! > '${pidFile}'; wait`;
    const report = await runCourse(
      [
        stage("fails", "console.log('3 passed, 2 failed'); process.exitCode = 1", 10),
        { name: "absent", weight: 1, commands: "no such tool" },
        stage("skips", "console.log('skipped: nothing here')", 10),
        // Some seconds: enough to begin, and never to end.
        { name: "hangs", weight: 1, commands: [{ command: "sh", args: ["-c", hang] }] },
        stage("passes", "console.log('5 passed, 0 failed')", 149),
      ],
      options,
    );
    assert.equal(outcomes(report), ["fails failed", "absent skipped", "skips skipped", "hangs out of time", "passes ok"]);
    assert.match(report.stages[0]!.detail, /exit code 1; 3 passed, 2 failed/);
    assert.is(report.stages[1]!.detail, "no such tool");
    assert.is(report.stages[2]!.detail, "nothing here");
    assert.is(report.stages[4]!.detail, "5 passed, 0 failed");
    for (const folder of ["kept", "out"]) {
      assert.equal(read(folder), report);
      assert.match(readFileSync(join(options.folders[folder === "kept" ? 0 : 1] as string, "fails.log"), "utf8"), /3 passed, 2 failed/);
    }
    assert.match(table(report.stages), /hangs +out of time/);
    await ends(Number(readFileSync(pidFile, "utf8")));
  }));

test("started again, what ended is not run again; what was broken off, out of time or asked for is", () =>
  inFolders(async (options, read) => {
    const log = join(options.folders[0] as string, "ran");
    const noted = (name: string, code = "") =>
      stage(name, `require("node:fs").appendFileSync(${JSON.stringify(log)}, "${name} "); ${code}`);
    await runCourse([noted("a"), noted("b", "process.exitCode = 1")], options);
    const file = join(options.folders[0] as string, RESULTS);
    const report = read("kept");
    report.stages.push(
      { stage: "c", outcome: "running", seconds: 0, detail: "" },
      { stage: "d", outcome: "out of time", seconds: 9, detail: "" },
    );
    writeFileSync(file, JSON.stringify(report));
    const stages = [noted("a"), noted("b"), noted("c"), noted("d"), noted("e")];
    assert.equal(outcomes(await runCourse(stages, options)), ["a ok", "b failed", "c ok", "d ok", "e ok"]);
    assert.is(readFileSync(log, "utf8"), "a b c d e ");
    assert.equal(outcomes(await runCourse(stages, { ...options, again: ["b"] })), ["a ok", "b ok", "c ok", "d ok", "e ok"]);
    assert.is(readFileSync(log, "utf8"), "a b c d e b ");
    // Another commit begins anew.
    await runCourse([noted("a")], { ...options, commit: "def" });
    assert.is(readFileSync(log, "utf8"), "a b c d e b a ");
  }));

test("what the others need may take all the time; where it runs out of that, they wait for the next start", () =>
  inFolders(async (options) => {
    const build = (code: string): Stage => ({ ...stage("build", code, 1e-6), needed: true });
    const rest = stage("rest", "", 1);
    assert.equal(outcomes(await runCourse([build("setTimeout(() => {}, 1e6)"), rest], { ...options, minutes: 0.03 })), [
      "build out of time",
    ]);
    assert.equal(outcomes(await runCourse([build(""), rest], options)), ["build ok", "rest ok"]);
    // A first op that is wrong ends the course in words, and is the first to run the next time.
    const first = (code: string): Stage => ({ ...stage("first", code), needed: true });
    const said: string[] = [];
    const again = ["build", "rest"];
    const wrong = await runCourse([build(""), first("process.exit(1)"), rest], { ...options, again, say: (line) => said.push(line) });
    assert.equal(outcomes(wrong), ["build ok", "first failed", "rest ok"]); // of rest what it was before
    assert.ok(
      said.some((line) => /ends here: what comes after "first" .*first\.log/.test(line)),
      said.join("\n"),
    );
    assert.not.ok(said.some((line) => /rest/.test(line)));
    assert.equal(outcomes(await runCourse([build(""), first(""), rest], options)), ["build ok", "first ok", "rest ok"]);
  }));

test("what is packed holds the packages of the tests and of the library with all that they depend on", () => {
  const packages = closure(root, ["tsx", "uvu", "sharp", "audio-decode"]);
  for (const name of ["tsx", "esbuild", "uvu", "kleur", "sharp", "audio-decode", "@audio/decode-mp3"])
    assert.ok(packages.includes(`node_modules/${name}`), `${name} is not among ${packages.join(", ")}`);
  assert.not.ok(packages.some((folder) => /typescript|biome/.test(folder)));
});

test("each stage runs what exists, on a card and emulated", () => {
  for (const device of ["cuda", "emulated"] as const) {
    const stages = stagesFor({ root, device, folder: "/elsewhere", python: "python3", sanitizer: "compute-sanitizer" });
    assert.equal(new Set(stages.map(({ name }) => name)).size, stages.length);
    for (const { name, commands } of stages)
      if (typeof commands !== "string")
        for (const { args } of commands)
          for (const path of args.filter((arg) => arg.endsWith(".ts"))) assert.ok(existsSync(path), `${device}, ${name}: ${path}`);
  }
});

test.run();
