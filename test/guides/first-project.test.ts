// docs/guides/first-project.md, run as it stands, over a folder of pictures as it describes one: its commands given to a shell, what they print held against what it shows.
import { execFile } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import sharp from "sharp";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { blocksOf } from "./blocks.js";

const test = suite("guide: first-project");
const root = fileURLToPath(new URL("../..", import.meta.url));
const blocks = blocksOf(join(root, "docs/guides/first-project.md"));
const COLORS = { red: "#dc1e1e", green: "#1ec828", blue: "#1e28dc", yellow: "#e6d21e" };
const EACH = 8;
let folder = "";
test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), "anymal-guide-"));
  mkdirSync(join(folder, "photos"));
  const rows = ["image,caption"];
  for (let i = 0; i < EACH; ++i)
    for (const [name, background] of Object.entries(COLORS)) {
      const side = 24 + 3 * i;
      const square = await sharp({ create: { width: side, height: side, channels: 3, background } })
        .png()
        .toBuffer();
      await sharp({ create: { width: 64, height: 64, channels: 3, background: "#000" } })
        .composite([{ input: square, left: (5 * i) % (64 - side), top: (7 * i) % (64 - side) }])
        .png()
        .toFile(join(folder, `photos/${name}-${i}.png`));
      if (i < EACH - 1) rows.push(`${name}-${i}.png,a ${name} square`); // the last ones are never seen in training
    }
  writeFileSync(join(folder, "photos/captions.csv"), `${rows.join("\n")}\n`);
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** npm and npx of somebody who installs this package. */
function installing(): NodeJS.ProcessEnv {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  const command = (name: string, line: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${line}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  command("npm", `[ "$*" = "install anymal" ]`);
  const main = `'${process.execPath}' --import '${import.meta.resolve("tsx")}' '${join(root, "lib/cli/main.ts")}'`;
  command("npx", `[ "$1" = anymal ] && shift && exec ${main} "$@"`);
  mkdirSync(join(folder, "node_modules/anymal"), { recursive: true });
  symlinkSync(join(root, "models"), join(folder, "node_modules/anymal/models"), "junction");
  return { ...process.env, PATH: `${bin}:${process.env.PATH}` };
}

test("five commands, from pictures and a CSV to an answer about a picture that was never shown", async () => {
  const env = installing();
  const commands = blocks.filter(({ kind }) => kind === "sh");
  assert.is(commands.length, 5);
  for (const [i, { kind, text }] of blocks.entries()) {
    if (kind !== "sh") continue;
    const { stdout } = await promisify(execFile)("sh", ["-e", "-c", text], { cwd: folder, env });
    const shown = blocks[i + 1];
    if (shown?.kind === "text") assert.is(stdout, shown.text);
  }
  const run = join(folder, "runs/photos");
  for (const file of ["recipe.yaml", "log.jsonl", "checkpoint/anymal.json", "report.html"]) assert.ok(existsSync(join(run, file)), file);
  const last = JSON.parse(readFileSync(join(run, "log.jsonl"), "utf8").trim().split("\n").at(-1) as string);
  assert.is(last.feature_hit_rate, 1);
  assert.is(typeof last.data_wait, "number");
});

test("the rows of the folder are those that the guide shows", () => {
  const shown = blocks[0]?.text.split("\n").filter((line) => line.includes(",")) ?? [];
  assert.equal(readFileSync(join(folder, "photos/captions.csv"), "utf8").split("\n").slice(0, shown.length), shown);
});

test.run();
