// CLIP's image tower under OpenCLIP's names: against open_clip itself, and against the same weights under Hugging Face's names.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Tensor } from "../../lib/core/tensor.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import { ConfigError } from "../../lib/models/config.js";
import { parseOpenClipConfig } from "../../lib/models/open-clip-config.js";
import { OpenClipVisionModel } from "../../lib/models/open-clip-vision.js";
import { Case, caseNames, here, near } from "../case.js";
import { disposeAll, everyState, noise, trainedOnce } from "./encoders.js";

for (const name of caseNames(/^open-clip/)) {
  const c = new Case(name);

  test(`${name}: every hidden state, and the embedding`, async () => {
    using model = OpenClipVisionModel.fromPretrained(c.folder, { device: here });
    await everyState(c, model, "out");
    assert.ok(model.leftover.length && model.leftover.every((left) => !left.startsWith("visual.")), `${model.leftover}`);
  });

  if (c.names("grad.").length)
    test(`${name}: gradients of the stated scalar`, async () => {
      using model = OpenClipVisionModel.fromPretrained(c.folder, { device: here, trainable: true });
      await trainedOnce(c, model);
    });

  test(`${name}: the same weights under Hugging Face's names give the same numbers`, async () => {
    using model = OpenClipVisionModel.fromPretrained(c.folder, { device: here });
    const folder = await mkdtemp(join(tmpdir(), "anymal-open-clip-"));
    const renamed = await asHuggingFace(model);
    try {
      await saveSafetensors(join(folder, "model.safetensors"), renamed);
      await writeFile(join(folder, "config.json"), JSON.stringify(model.configJson()));
      using other = ClipVisionModel.fromPretrained(folder, { device: here });
      const side = model.config.imageSize + model.config.patchSize; // a stretched table too
      using x = noise([2, 3, side, model.config.imageSize], 3);
      const [a, b] = [model.forward(x), other.forward(x)];
      near(await b.hidden.data(), await a.hidden.data(), 1e-5, "hidden");
      near(await b.embeds.data(), await a.embeds.data(), 1e-5, "embeds");
      disposeAll(a, b);
    } finally {
      for (const [, tensor] of renamed) tensor.dispose();
      await rm(folder, { recursive: true });
    }
  });
}

/** The names and matrices that transformers' conversion script would write. */
async function asHuggingFace(model: OpenClipVisionModel): Promise<[string, Tensor][]> {
  const { hiddenSize: C } = model.config;
  const made: [string, Tensor][] = [];
  const put = (name: string, data: ArrayLike<number>, shape: readonly number[]) =>
    made.push([name, Tensor.from(Float32Array.from(data), shape, { device: here })]);
  for (const [name, tensor] of model.namedParameters()) {
    const data = await tensor.data();
    const key = name
      .replace("visual.class_embedding", "vision_model.embeddings.class_embedding")
      .replace("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight")
      .replace("visual.conv1", "vision_model.embeddings.patch_embedding")
      .replace("visual.ln_pre", "vision_model.pre_layrnorm")
      .replace("visual.ln_post", "vision_model.post_layernorm")
      .replace("visual.transformer.resblocks", "vision_model.encoder.layers")
      .replace("ln_1", "layer_norm1")
      .replace("ln_2", "layer_norm2")
      .replace("attn.out_proj", "self_attn.out_proj")
      .replace("mlp.c_fc", "mlp.fc1")
      .replace("mlp.c_proj", "mlp.fc2");
    if (name === "visual.proj") {
      const e = tensor.shape[1] as number;
      put(
        "visual_projection.weight",
        Float32Array.from({ length: C * e }, (_, i) => data[(i % C) * e + Math.floor(i / C)] as number),
        [e, C],
      );
    } else if (name.includes("in_proj_")) {
      const kind = name.endsWith("weight") ? "weight" : "bias";
      for (const [i, part] of ["q", "k", "v"].entries()) {
        const rows = data.length / 3;
        const to = key.replace(/attn\.in_proj_(weight|bias)$/, `self_attn.${part}_proj.${kind}`);
        put(to, data.slice(i * rows, (i + 1) * rows), kind === "weight" ? [C, C] : [C]);
      }
    } else {
      put(key, data, tensor.shape);
    }
  }
  return made;
}

const CONFIG = {
  model_cfg: {
    embed_dim: 1280,
    vision_cfg: { image_size: 224, layers: 48, width: 1664, head_width: 104, mlp_ratio: 4.9231, patch_size: 14 },
    text_cfg: {},
  },
};

test("the published shapes: bigG, g, H and OpenAI's L", () => {
  const shape = (vision: object, quick_gelu = false) => {
    const { hiddenSize, intermediateSize, heads, activation, layers } = parseOpenClipConfig({
      model_cfg: { embed_dim: 1024, quick_gelu, vision_cfg: { image_size: 224, patch_size: 14, ...vision } },
    });
    return [hiddenSize, intermediateSize, heads, activation, layers];
  };
  assert.equal(shape(CONFIG.model_cfg.vision_cfg), [1664, 8192, 16, "gelu", 48]);
  assert.equal(shape({ layers: 40, width: 1408, head_width: 88, mlp_ratio: 4.3637 }), [1408, 6144, 16, "gelu", 40]);
  assert.equal(shape({ layers: 32, width: 1280, head_width: 80 }), [1280, 5120, 16, "gelu", 32]);
  assert.equal(shape({ layers: 24, width: 1024 }, true), [1024, 4096, 16, "quick_gelu", 24]);
});

test("towers that are not CLIP's, and sizes that do not fit, are refused in words", () => {
  const bad: [object, string][] = [
    [{ timm_model_name: "vit_so400m_patch14_siglip_384" }, "vision_cfg.timm_model_name"],
    [{ attentional_pool: true }, "vision_cfg.attentional_pool"],
    [{ ls_init_value: 1e-5 }, "vision_cfg.ls_init_value"],
    [{ layers: [3, 4, 6, 3] }, "vision_cfg.layers"],
    [{ layers: 1e9 }, "layers"],
    [{ width: -1664 }, "width"],
    [{ head_width: 100 }, "vision_cfg.head_width"],
    [{ head_width: 0 }, "head_width"],
    [{ mlp_ratio: 0 }, "mlp_ratio"],
    [{ patch_size: 225 }, "patch_size"],
    [{ image_size: [224, 112] }, "image_size"],
  ];
  for (const [change, key] of bad)
    assert.throws(
      () => parseOpenClipConfig({ model_cfg: { ...CONFIG.model_cfg, vision_cfg: { ...CONFIG.model_cfg.vision_cfg, ...change } } }),
      (e: unknown) => e instanceof ConfigError && e.key === key,
      JSON.stringify(change),
    );
  for (const json of [{}, { model_cfg: null }, { model_cfg: { vision_cfg: 3 } }])
    assert.throws(
      () => parseOpenClipConfig(json),
      (e: unknown) => e instanceof ConfigError,
    );
});

test.run();
