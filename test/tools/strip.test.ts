// Packing beside a running process: the addon that it has loaded is not written in place, and it ends as it should.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const test = suite("strip");
const root = fileURLToPath(new URL("../..", import.meta.url));

const loadedMeanwhile = `
const addon = { exports: {} };
process.dlopen(addon, process.argv[1]);
const { status } = require("node:child_process").spawnSync(process.argv[2], [process.argv[1], "--strip-all"], { stdio: "inherit" });
process.exitCode = status;
`;

const onLinux = process.platform === "linux" ? test : test.skip;
onLinux("a process that has the file loaded ends well", () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-strip-"));
  try {
    const built = join(root, "build/Release/anymal.node");
    const copy = join(folder, "copy.node");
    copyFileSync(built, copy);
    const before = statSync(copy);
    const { status, signal, stderr } = spawnSync(process.execPath, ["-e", loadedMeanwhile, copy, join(root, "tools/strip.cjs")], {
      encoding: "utf8",
    });
    assert.equal({ status, signal, stderr }, { status: 0, signal: null, stderr: "" });
    const after = statSync(copy);
    assert.is.not(after.ino, before.ino, "the file was written in place");
    assert.is(after.mode, before.mode);
    assert.equal(readdirSync(folder), ["copy.node"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
