// The walls of the architecture stand, and what goes through one is found.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { brokenWalls, circles } from "../../tools/walls.js";

const test = suite("walls");

test("this repository breaks none", () => {
  assert.equal(brokenWalls(fileURLToPath(new URL("../..", import.meta.url))), []);
});

function found(files: Readonly<Record<string, string>>): string[] {
  const root = mkdtempSync(join(tmpdir(), "anymal-walls-"));
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, name)), { recursive: true });
      writeFileSync(join(root, name), text);
    }
    return brokenWalls(root);
  } finally {
    rmSync(root, { recursive: true });
  }
}

test("files that need each other are a circle, whichever way it goes", () => {
  const a = 'import { b } from "./b.js";\n';
  assert.equal(found({ "lib/nn/a.ts": a, "lib/nn/b.ts": "export const b = 1;\n" }), []);
  for (const back of [
    'import { a } from "./a.js";\n',
    'export * from "./a.js";\n',
    'import "./a.js";\n',
    'import {\n  type T,\n  a,\n} from "./a.js";\n',
    'import a, { type T } from "./a.js";\n',
  ]) {
    const problems = found({ "lib/nn/a.ts": a, "lib/nn/b.ts": back });
    assert.is(problems.length, 1, back);
    assert.match(problems.join(), /^lib\/nn\/a\.ts -> lib\/nn\/b\.ts -> lib\/nn\/a\.ts: files in a circle/);
  }
  const third = { "lib/nn/a.ts": a, "lib/nn/b.ts": 'export { c } from "./c.js";\n', "lib/nn/c.ts": 'import * as a from "./a.js";\n' };
  assert.match(found(third).join(), /a\.ts -> lib\/nn\/b\.ts -> lib\/nn\/c\.ts -> lib\/nn\/a\.ts/);
});

test("types alone are no circle: nothing of them is there when the files run", () => {
  for (const back of [
    'import type { A } from "./a.js";\n',
    'import { type A, type B } from "./a.js";\n',
    'export type { A } from "./a.js";\n',
  ])
    assert.equal(found({ "lib/nn/a.ts": 'import { b } from "./b.js";\n', "lib/nn/b.ts": back }), [], back);
});

test("systems stand between adapters and the model: they know neither it nor training", () => {
  const uses = (path: string) => found({ "lib/systems/llava.ts": `import { x } from "${path}";\n` });
  for (const path of ["../adapters/x.js", "../models/x.js", "../io/x.js", "./layouts/x.js"]) assert.equal(uses(path), [], path);
  for (const path of ["../anymal/x.js", "../train/x.js", "../cli/x.js"]) assert.match(uses(path).join(), /must not know/, path);
  assert.match(found({ "lib/models/x.ts": 'import { x } from "../systems/x.js";\n' }).join(), /lib\/models must not know/);
});

test("each ring is told once", () => {
  const rings = circles(
    new Map([
      ["a", ["b", "c"]],
      ["b", ["a"]],
      ["c", ["c"]],
      ["d", ["a"]],
    ]),
  );
  assert.equal(rings, [["a", "b"], ["c"]]);
});

test.run();
