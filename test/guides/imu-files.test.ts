// docs/guides/imu-files.md, run as it stands: its files written, its commands given to a shell, what they print held against what it shows.
import { execFile } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { IMU_NOTICES } from "../../lib/media/imu-notice.js";
import { MEDIA_OPTIONS } from "../../lib/media/media-options.js";
import { at, G, table } from "../media/imu-signal.js";
import { blocksOf } from "./blocks.js";

const test = suite("guide: imu-files");
const root = fileURLToPath(new URL("../..", import.meta.url));
const guide = join(root, "docs/guides/imu-files.md");
const blocks = blocksOf(guide);
const run = promisify(execFile);
let folder = "";
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-guide-"));
  for (const { file, text } of blocks) if (file) writeFileSync(join(folder, file), text);
  mkdirSync(join(folder, "walk"));
  writeFileSync(
    join(folder, "walk/Accelerometer.csv"),
    table("seconds_elapsed,z,y,x", (i) => [i / 100, ...at(i).slice(0, 3).reverse()]),
  );
  writeFileSync(
    join(folder, "walk/Gyroscope.csv"),
    table("seconds_elapsed,z,y,x", (i) => [i / 100, ...at(i).slice(3).reverse()]),
  );
  writeFileSync(
    join(folder, "odd.csv"),
    table("n,sx,sy,sz,rx,ry,rz", (i) => [i, ...at(i, { acceleration: 1 / G })]),
  );
  symlinkSync(join(root, "models"), join(folder, "models"), "junction");
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** npx of somebody who has installed this package. */
function installed(): NodeJS.ProcessEnv {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  const tsx = `exec '${process.execPath}' --import '${import.meta.resolve("tsx")}'`;
  const anymal = `anymal) shift; ${tsx} '${join(root, "lib/cli/main.ts")}' "$@";;`;
  writeFileSync(join(bin, "npx"), `#!/bin/sh\ncase "$1" in ${anymal} tsx) shift; ${tsx} "$@";; *) exit 9;; esac\n`);
  chmodSync(join(bin, "npx"), 0o755);
  const own = join(folder, "node_modules/anymal");
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, "package.json"), JSON.stringify({ name: "anymal", type: "module", exports: "./index.js" }));
  writeFileSync(join(own, "index.js"), `export * from ${JSON.stringify(new URL("../../lib/index.ts", import.meta.url).href)};\n`);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  return { ...process.env, PATH: `${bin}:${process.env.PATH}` };
}

test("the guide's commands do what it says", async () => {
  const env = installed();
  for (const [i, { kind, text }] of blocks.entries()) {
    if (kind !== "sh") continue;
    const { stdout } = await run("sh", ["-e", "-c", text], { cwd: folder, env });
    const shown = blocks[i + 1];
    if (shown?.kind === "text") assert.is(stdout, shown.text);
  }
  assert.ok(existsSync(join(folder, "runs/motion/checkpoint/anymal.json")));
});

test("it names every option and every notice", () => {
  const text = readFileSync(guide, "utf8");
  for (const name of Object.keys(MEDIA_OPTIONS.imu)) assert.ok(text.includes(`\`${name}\``), name);
  for (const code of Object.values(IMU_NOTICES)) {
    assert.ok(text.includes(code), code);
    assert.ok(readFileSync(join(root, "docs/errors.md"), "utf8").includes(code), `${code} in docs/errors.md`);
  }
});

test.run();
