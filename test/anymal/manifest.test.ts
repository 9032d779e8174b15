// anymal.json of whoever made the checkpoint: a value that nobody knows is refused by its name.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readManifest } from "../../lib/anymal/manifest.js";

const GOOD = {
  format: "anymal",
  version: 1,
  llm: { path: "llm", fingerprint: "sha256:0", quantization: { format: "nf4" }, dtype: "f32" },
  prompt: { template: "chat" },
  modalities: {
    image: {
      encoder: { path: "clip", fingerprint: "sha256:0", dtype: "f32" },
      projector: { type: "resampler", form: "flamingo", layers: 2, tokens: 8, heads: 4, dim: 96, frames: 0, normalize: "standardize" },
      layer: -1,
      select: "patch",
      calibrated: true,
    },
  },
  adapter: false,
};

test("each value that a manifest may not hold is refused, named, and nothing else is thrown", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-manifest-"));
  const read = (text: string) => {
    writeFileSync(join(folder, "anymal.json"), text);
    return readManifest(folder).then(
      () => undefined,
      (error: { code?: string; message: string }) => error,
    );
  };
  try {
    assert.is(await read(JSON.stringify(GOOD)), undefined);
    for (const projector of [
      { type: "mlp", dim: 96, activation: "gelu", bias: true, normalize: false },
      { type: "concat-linear", dim: 96, patches: 4, normalize: "standardize" },
    ]) {
      const { image } = GOOD.modalities;
      assert.is(await read(JSON.stringify({ ...GOOD, modalities: { image: { ...image, projector } } })), undefined);
    }
    const wrong: [path: string, value: string, words: RegExp][] = [
      ["adapter", '"yes"', /adapter to be true or false/],
      ["prompt", "null", /prompt/],
      ["prompt.template", '"evil"', /chat, plain/],
      ["llm", `${"[".repeat(200_000)}${"]".repeat(200_000)}`, /deeper than 200/],
      ["llm.quantization", '{"format": "nf4", "block": 0}', /llm.quantization.block/],
      ["llm.quantization", '{"format": "nf4", "doubleQuant": "yes"}', /doubleQuant/],
      ["format", `${"[".repeat(200_000)}${"]".repeat(200_000)}`, /deeper than 200/],
      ["llm.dtype", '"f16"', /did you mean "bf16"|did you mean "f32"/],
      ["modalities.image.select", '"pach"', /did you mean "patch"/],
      ["modalities.image.select", "null", /select/],
      ["modalities.image.pad", "false", /image.pad to be true or absent/],
      ["modalities.image.pad", "1", /image.pad to be true or absent/],
      ["modalities.image.encoder.path", "3", /path/],
      ["modalities.image.projector", "null", /projector/],
      ["modalities.image.projector.type", '"constructor"', /resampler, linear/],
      ["modalities.image.projector.form", '"constructor"', /flamingo/],
      ["modalities.image.projector.layers", "1e15", /layers/],
      ["modalities.image.projector.tokens", "1e9", /tokens/],
      ["modalities.image.projector.heads", "5", /heads/],
      ["modalities.image.projector.normalize", '"evil"', /layernorm, standardize/],
      ["modalities.image.projector.gives", '"away"', /rows, beside/],
      [
        "modalities.image.projector",
        '{"type": "mlp", "dim": 96, "activation": "gelu", "normalize": false}',
        /projector.bias to be true or false/,
      ],
      [
        "modalities.image.projector",
        '{"type": "mlp", "dim": 96, "activation": "gelu", "bias": true, "hidden": 1e9, "normalize": false}',
        /hidden/,
      ],
      ["modalities.image.projector", '{"type": "concat-linear", "dim": 96, "patches": 0, "normalize": false}', /patches/],
      [
        "modalities.image.projector",
        '{"type": "linear", "mode": "pooled", "tokens": 2, "dim": 96, "normalize": false}',
        /image.select.*pooled, embeds, got "patch"/,
      ],
    ];
    for (const [path, value, words] of wrong) {
      const changed = structuredClone(GOOD) as Record<string, unknown>;
      const keys = path.split(".");
      const holder = keys.slice(0, -1).reduce((at, key) => at[key] as Record<string, unknown>, changed);
      holder[keys.at(-1) as string] = "\u0001here";
      const error = await read(JSON.stringify(changed).replace('"\\u0001here"', value));
      assert.is(error?.code, "E_CHECKPOINT", `${path}: ${value.slice(0, 20)}`);
      assert.match(error?.message ?? "", words, path);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
