// One table of what a config.json may name: openers and inspect go by it.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import { ENCODER_TYPES } from "../../lib/models/auto-encoder.js";
import { DECODER_FAMILIES } from "../../lib/models/decoder-families.js";
import { MODEL_TYPES } from "../../lib/models/model-types.js";
import { layoutName } from "../../lib/systems/layouts/index.js";
import { here } from "../case.js";

const test = suite("model types");
const ofKind = (kind: string) => Object.keys(MODEL_TYPES).filter((name) => MODEL_TYPES[name]!.kind === kind);

test("each opener opens the types of its kind, and no others", () => {
  assert.equal(ofKind("encoder").sort(), [...ENCODER_TYPES].sort());
  assert.equal(ofKind("decoder").sort(), Object.keys(DECODER_FAMILIES).sort());
  for (const name of ofKind("whole")) {
    const empty = { path: "nowhere", names: () => [] } as never;
    assert.throws(
      () => layoutName(empty, { model_type: name }),
      (error: { code: string }) => error.code === "E_STATE",
      name,
    );
  }
  assert.throws(() => layoutName({} as never, { model_type: "clip" }), /one of llava/);
});

test("an encoder asked for as a language model is named, with who opens it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-types-"));
  writeFileSync(join(folder, "config.json"), JSON.stringify({ model_type: "siglip" }));
  const error = await AutoModelForCausalLM.fromPretrained(folder, { device: here }).catch((e) => e);
  rmSync(folder, { recursive: true });
  assert.is(error.code, "E_CONFIG");
  assert.match(error.message, /it is an encoder, SigLIP: take AutoEncoder/);
});

test.run();
