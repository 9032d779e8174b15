// docs/guides/new-modality.md, run as it stands: its files written, its commands given to a shell, what they print held against what it shows.
import { execFile } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import sharp from "sharp";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { blocksOf } from "./blocks.js";

const test = suite("guide: new-modality");
const root = fileURLToPath(new URL("../..", import.meta.url));
const blocks = blocksOf(join(root, "docs/guides/new-modality.md"));
const run = promisify(execFile);
let folder = "";
let env: NodeJS.ProcessEnv;
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-guide-"));
  for (const { file, text } of blocks) if (file) writeFileSync(join(folder, file), text);
  symlinkSync(join(root, "models"), join(folder, "models"), "junction");
  env = installed();
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** npx of somebody who has installed this package, and what it brings along. */
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
  symlinkSync(dirname(dirname(fileURLToPath(import.meta.resolve("sharp")))), join(folder, "node_modules/sharp"), "junction");
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  return { ...process.env, PATH: `${bin}:${process.env.PATH}` };
}

test("the guide's commands do what it says", async () => {
  for (const [i, { kind, text }] of blocks.entries()) {
    if (kind !== "sh") continue;
    const { stdout } = await run("sh", ["-e", "-c", text], { cwd: folder, env });
    const shown = blocks[i + 1];
    if (shown?.kind === "text") assert.is(stdout, shown.text);
  }
  assert.ok(existsSync(join(folder, "runs/eeg/checkpoint/anymal.json")));
});

test("its depth maps go through CLIP with all their bits", async () => {
  const millimetres = Uint16Array.from({ length: 64 * 48 }, (_, i) => (i % 64 < 32 ? 2000 : 9000));
  await sharp(millimetres, { raw: { width: 64, height: 48, channels: 1 } })
    .toColourspace("grey16")
    .png()
    .toFile(join(folder, "wall.png"));
  writeFileSync(
    join(folder, "check.ts"),
    `import { AnyMAL } from "anymal";
import { depth } from "./depth.ts";
const { data, width, height } = await depth.load(depth("wall.png"));
await using model = await AnyMAL.assemble({ llm: "models/tiny/llama", kinds: [depth], modalities: { depth: {} } });
const [one] = await model.features([depth("wall.png")]);
console.log(JSON.stringify({ near: data[0], far: data[3 * 63], width, height, shape: one.shape }));\n`,
  );
  const { stdout } = await run("npx", ["tsx", "check.ts"], { cwd: folder, env });
  assert.equal(JSON.parse(stdout), { near: 204, far: 25, width: 64, height: 48, shape: [1, 96] });
});

test.run();
