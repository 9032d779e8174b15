// What goes along when a command makes one model folder out of another.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { copyBeside } from "../../lib/cli/folders.js";

test("all that a tokenizer is made of goes along, chat templates in either file", () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-beside-"));
  try {
    const [from, to] = [join(folder, "from"), join(folder, "to")];
    for (const one of [from, to]) mkdirSync(one);
    const wanted = ["chat_template.jinja", "chat_template.json", "generation_config.json", "tokenizer.json"];
    for (const name of [...wanted, "config.json", "model.safetensors", "notes.txt"]) writeFileSync(join(from, name), "{}");
    copyBeside(from, to);
    assert.equal(readdirSync(to).sort(), wanted);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
