// tools/on-a-card.sh where nothing is but what was brought: no Node, no packages, and no xz where there is Python. What was brought here is a few
// bytes of each file, and a Node that says how it was called.
import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("../..", import.meta.url));
const found = (name: string) =>
  (process.env.PATH ?? "")
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
const NEEDED = ["sh", "dirname", "mkdir", "rm", "mv", "cp", "chmod", "grep", "tar"];

interface Place {
  folder: string;
  start(...args: string[]): { status: number | null; stdout: string; stderr: string };
}

/** A checkout with a packed folder in it, and a PATH of what every machine has and `unpacker`. */
function withPacked(unpacker: string, run: (place: Place) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "anymal-unpack-"));
  const [bin, packed] = [join(folder, "bin"), join(folder, "build/card")];
  const xz = (from: string, to: string) => writeFileSync(join(packed, to), spawnSync("xz", ["-c", join(folder, from)]).stdout);
  try {
    for (const path of [bin, packed, join(folder, "tools"), join(folder, "from/node_modules/tsx")]) mkdirSync(path, { recursive: true });
    for (const name of NEEDED) symlinkSync(found(name) as string, join(bin, name));
    // By its own PATH: a python3 may be a script that looks for another.
    writeFileSync(join(bin, unpacker), `#!/bin/sh\nPATH='${process.env.PATH}' exec '${found(unpacker)}' "$@"\n`, { mode: 0o755 });
    copyFileSync(join(root, "tools/on-a-card.sh"), join(folder, "tools/on-a-card.sh"));
    writeFileSync(join(folder, "from/node"), `#!/bin/sh\necho called "$@"\n`);
    writeFileSync(join(folder, "from/addon"), "the addon");
    writeFileSync(join(folder, "from/node_modules/tsx/package.json"), "{}");
    spawnSync("tar", ["-cf", join(folder, "from/all.tar"), "-C", join(folder, "from"), "node_modules"]);
    xz("from/node", "node.xz");
    xz("from/addon", "anymal.node.xz");
    xz("from/addon", "backend_ops.xz");
    xz("from/all.tar", "node_modules.tar.xz");
    writeFileSync(join(packed, "packed.json"), "{}");
    const start = (...args: string[]) =>
      spawnSync(join(folder, "tools/on-a-card.sh"), args, { encoding: "utf8", env: { PATH: bin, HOME: folder } });
    chmodSync(join(folder, "tools/on-a-card.sh"), 0o755);
    run({ folder, start });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const missing = ["xz", ...NEEDED].find((name) => !found(name));
for (const unpacker of ["xz", "python3"])
  test(`what was brought is unpacked by ${unpacker}, and takes the place of nothing that is there`, () => {
    const absent =
      missing ?? (spawnSync(unpacker, unpacker === "xz" ? ["--version"] : ["-c", "import lzma"]).status === 0 ? undefined : unpacker);
    if (absent) return console.log(`skipped: no ${absent} was found`);
    withPacked(unpacker, ({ folder, start }) => {
      const at = (path: string) => readFileSync(join(folder, path), "utf8");
      const first = start("--minutes", "3");
      assert.is(first.stderr, "");
      assert.is(first.stdout, "called --import tsx tools/on-a-card/main.ts --minutes 3\n");
      assert.is(at("node_modules/tsx/package.json"), "{}");
      assert.is(at("build/Release/anymal.node"), "the addon");
      assert.is(at("build/cmake/backend_ops"), "the addon");
      writeFileSync(join(folder, "build/Release/anymal.node"), "built here");
      assert.is(start().status, 0);
      assert.is(at("build/Release/anymal.node"), "built here");
    });
  });

test("a file that came in half is not taken for a whole one", () => {
  if (missing) return console.log(`skipped: no ${missing} was found`);
  withPacked("xz", ({ folder, start }) => {
    const packed = join(folder, "build/card/anymal.node.xz");
    writeFileSync(packed, readFileSync(packed).subarray(0, 40));
    const broken = start();
    assert.is.not(broken.status, 0);
    assert.match(broken.stderr, /anymal\.node\.xz/);
    assert.not.ok(existsSync(join(folder, "build/Release/anymal.node")));
  });
});

test.run();
