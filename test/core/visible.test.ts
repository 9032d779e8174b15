// Control characters of files never reach a terminal: not through errors, not through warnings, not through what the commands print.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { AnymalError } from "../../lib/core/errors.js";
import { notice } from "../../lib/core/notice.js";
import { visible } from "../../lib/core/visible.js";
import { readCaptions } from "../../lib/data/captions.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";

const folder = mkdtempSync(join(tmpdir(), "anymal-visible-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));
const root = fileURLToPath(new URL("../..", import.meta.url));
/** Renames the window, clears the screen; an eight-bit escape; delete, bell, a line written over. */
const HOSTILE = "\u001b]0;PWNED\u0007\u001b[2J\u009b31m\u007f\r";
const SHOWN = "\\u001b]0;PWNED\\u0007\\u001b[2J\\u009b31m\\u007f\\u000d";
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;

test("control characters are written out; line feeds, tabs and all other text stay", () => {
  assert.is(visible(`a\n\tb${HOSTILE}`), `a\n\tb${SHOWN}`);
  const text = "déjà vu, 日本語, 🙂, \u00a0\u2028";
  assert.is(visible(text), text);
  for (let code = 0; code < 0x100; ++code) {
    const control = (code < 0x20 && code !== 9 && code !== 10) || (code >= 0x7f && code < 0xa0);
    assert.is(visible(String.fromCharCode(code)).length, control ? 6 : 1, `${code}`);
  }
});

test("an error's message has none", async () => {
  assert.is(new AnymalError("E_VALUE", HOSTILE).message, SHOWN);
  const path = join(folder, "rows.jsonl");
  writeFileSync(path, `${JSON.stringify({ image: HOSTILE, caption: "x" })}\n`);
  const error = await readCaptions(path, { modality: "image" }).catch((problem) => problem as Error);
  assert.instance(error, AnymalError);
  assert.match((error as Error).message, /PWNED/);
  assert.not.match((error as Error).message, CONTROL);
});

test("a warning has none, which Node prints as it is", () => {
  const script = `import { notice } from "${root}lib/core/notice.ts"; notice("ANYMAL_TEST", ${JSON.stringify(HOSTILE)});`;
  const r = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], { cwd: root, encoding: "utf8" });
  assert.match(r.stderr, /ANYMAL_TEST.*PWNED/);
  assert.not.match(r.stderr, CONTROL);
});

test("what the commands print of a file has none", async () => {
  const path = join(folder, "names.safetensors");
  await saveSafetensors(path, [[`w${HOSTILE}`, { dtype: "F32", shape: [1], read: async () => new Uint8Array(4) }]]);
  const rows = join(folder, "rows.jsonl");
  for (const args of [
    ["inspect", path],
    ["inspect", path, "--json"],
    ["align", "--modality", "image", "--data", rows, "--llm", "models/tiny/llama", "--encoder", "image=models/tiny/clip"].concat(
      ...["--steps", "1", "--batch", "1", "--output", join(folder, "run")],
    ),
    ["inspect", join(folder, HOSTILE)],
  ]) {
    const r = spawnSync(process.execPath, ["--import", "tsx", "lib/cli/main.ts", ...args], { cwd: root, encoding: "utf8" });
    assert.match(r.stdout + r.stderr, /PWNED/, args.join(" "));
    assert.not.match(r.stdout + r.stderr, CONTROL, args.join(" "));
  }
});

test("warnings and what is printed go through the functions that see to it", () => {
  const allowed: Readonly<Record<string, RegExp>> = {
    "core/notice.ts": /emitWarning/,
    "cli/output.ts": /std(out|err)\.write/,
    "cli/training.ts": /stderr\.write\("/, // a constant
  };
  for (const file of readdirSync(join(root, "lib"), { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(".ts")) continue;
    for (const line of readFileSync(join(root, "lib", file), "utf8").split("\n")) {
      if (/^\s*(\*|\/\/|\/\*\*)/.test(line) || !/process\.(emitWarning|stdout\.write|stderr\.write)\(/.test(line)) continue;
      assert.match(line, allowed[file] ?? /^$/, `${file}: ${line}`);
    }
  }
});

test("a warning quotes no more than can be read", async () => {
  const heard = new Promise<Error>((resolve) => process.once("warning", resolve));
  notice("ANYMAL_TEST", `a file says ${"x".repeat(1e6)}; mend it`);
  const { message } = await heard;
  assert.ok(message.length < 4000, `${message.length} characters`);
  assert.match(message, /^a file says x{9}.*x; mend it$/s);
});

test.run();
