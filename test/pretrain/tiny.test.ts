// models/tiny holds what its card says, measured again on other draws than those of the run that made it; what misses its gate is named there.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Draw } from "../../lib/data/draw.js";
import { AutoEncoder, AutoProcessor, LlamaForCausalLM } from "../../lib/index.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { missedIn, type Scores } from "../../tools/pretrain/card.js";
import { zeroShot } from "../../tools/pretrain/encoders.js";
import { readingAccuracy, WordEncoder } from "../../tools/pretrain/language.js";
import { ENCODERS } from "../../tools/pretrain/recipes.js";
import { here } from "../case.js";

const tiny = fileURLToPath(new URL("../../models/tiny", import.meta.url));
const words = new WordEncoder(Tokenizer.fromPretrained(join(tiny, "llama")));
const stored: Record<string, Scores> = JSON.parse(readFileSync(join(tiny, "training.json"), "utf8"));
const first = (name: string): Record<string, number> => Object.values(stored[name]!.scores)[0]!;
/** Four standard deviations of a share over n draws, and what the stored one may be off. */
const slack = (share: number, n: number) => 4 * Math.sqrt((Math.min(share, 0.97) * (1 - Math.min(share, 0.97))) / n);

test("all of it is under 12 MB", () => {
  const bytes = readdirSync(tiny, { recursive: true, encoding: "utf8" }).reduce((sum, file) => {
    const status = statSync(join(tiny, file));
    return sum + (status.isFile() ? status.size : 0);
  }, 0);
  assert.ok(bytes < 12e6, `${bytes} bytes`);
});

test("the language model reads: exact answers from text alone, in NF4, for every kind of question", async () => {
  const llm = LlamaForCausalLM.fromPretrained(join(tiny, "llama"), { device: here, dtype: "f32", quantization: { format: "nf4" } });
  for (const [kind, share] of await readingAccuracy(llm, words, new Draw(1234, "test"), 60))
    assert.ok(share >= first("llama")[kind]! - slack(first("llama")[kind]!, 60), `${kind}: ${share}`);
  llm.dispose();
});

for (const recipe of ENCODERS) {
  test(`${recipe.name} knows of combinations that it has never seen what its card says`, async () => {
    const towers = recipe.load(join(tiny, recipe.name), here);
    for (const [attribute, share] of await zeroShot(recipe.modality, 120, "only", towers, recipe.processor, words, 77))
      assert.ok(share >= first(recipe.name)[attribute]! - slack(first(recipe.name)[attribute]!, 120), `${attribute}: ${share}`);
    towers.dispose();
  });

  test(`${recipe.name} is a folder like any other`, async () => {
    const folder = join(tiny, recipe.name);
    (await AutoEncoder.fromPretrained(folder, { device: here })).dispose();
    assert.ok(await AutoProcessor.fromPretrained(folder));
  });
}

test("the card tells what was measured", () => {
  const card = readFileSync(join(tiny, "README.md"), "utf8");
  for (const name of ["llama", ...ENCODERS.map((recipe) => recipe.name)]) {
    assert.ok(existsSync(join(tiny, name)), name);
    for (const share of Object.values(first(name))) assert.ok(card.includes((100 * share).toFixed(1)));
    for (const sentence of missedIn(stored[name]!)) assert.ok(card.includes(sentence), sentence);
  }
});

test.run();
