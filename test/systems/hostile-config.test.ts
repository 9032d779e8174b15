// Numbers and names of a published folder's JSON replaced, one after another, by what does not belong there: an object, and one that no conversion takes,
// since what it holds as "toString" is no function. Each is read, or refused with a code.
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { inspectFolder } from "../../lib/cli/inspect-folder.js";
import { AnymalError } from "../../lib/core/errors.js";
import { Case, here } from "../case.js";
import { inAllLayouts } from "./llava-cases.js";

const test = suite("hostile configurations");
const c = new Case("llava");
let folders: Map<string, string>;
test.before(async () => {
  folders = await inAllLayouts(c);
});
test.after(() => rmSync(dirname(folders.get("llava-hf")!), { recursive: true }));

const HOSTILE: readonly unknown[] = [{ toString: 1 }, { valueOf: 1 }, {}, [[]]];

/** Every value that is no object, with a setter. */
function* leaves(json: Record<string, unknown>, path = ""): Generator<{ path: string; set: (value: unknown) => void; old: unknown }> {
  for (const [key, value] of Object.entries(json)) {
    if (value && typeof value === "object" && !Array.isArray(value)) yield* leaves(value as Record<string, unknown>, `${path}${key}.`);
    else yield { path: `${path}${key}`, old: value, set: (other) => (json[key] = other) };
  }
}

for (const layout of ["llava-hf", "llava-original"])
  test(layout, async () => {
    const folder = folders.get(layout)!;
    const files = readdirSync(folder).filter((file) => /config\.json$/.test(file) && !/^tokenizer/.test(file));
    assert.ok(files.length >= 2, files.join());
    for (const file of files) {
      const path = join(folder, file);
      const before = readFileSync(path);
      const json = JSON.parse(before.toString()) as Record<string, unknown>;
      const all = [...leaves(json)].flatMap((leaf) => HOSTILE.map((value) => ({ ...leaf, value })));
      for (const { path: key, set, old, value } of all) {
        set(value);
        writeFileSync(path, JSON.stringify(json));
        set(old);
        for (const act of [
          () => AnyMAL.fromPretrained(folder, { device: here }).then((model) => void model.dispose()),
          () => inspectFolder(folder),
        ]) {
          const error = await act().then(
            () => undefined,
            (e) => e,
          );
          if (error) assert.instance(error, AnymalError, `${file}, ${key}: ${error?.stack}`);
        }
      }
      writeFileSync(path, before);
    }
  });

test.run();
