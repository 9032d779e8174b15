// OpenFlamingo's checkpoint.pt as an adapter's folder and a bridge: the cases of both, written under the published names, compute what they did.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { GatedLayer } from "../../lib/adapters/gated-layer.js";
import { loadAdapter } from "../../lib/adapters/load-adapter.js";
import { noGrad } from "../../lib/core/autograd.js";
import { atOnce } from "../../lib/core/turns.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { convertCheckpoint } from "../../lib/io/convert.js";
import { makeBridge } from "../../lib/models/bridges/index.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { parseLlamaConfig } from "../../lib/models/llama-config.js";
import { Weights } from "../../lib/nn/weights.js";
import { Case, here } from "../case.js";
import { folderOf, fresh, refusal, remove, type Stored, type Tensors, tensorsOf, torchFile } from "./torch-case.js";

const test = suite("OpenFlamingo's names");
test.after(remove);
const [block, perceiver] = [new Case("gated-xattn"), new Case("perceiver-openflamingo")];
const LAYERS = "lang_encoder.old_decoder_blocks";

/** Gated layers before layers 1 and 3 of four; under both of their names, and the embedding. */
function published(at: readonly number[] = [1, 3]): Tensors {
  const tensors: Tensors = new Map();
  for (const [name, one] of tensorsOf(perceiver.folder)) tensors.set(`perceiver.${name}`, one);
  for (const [name, one] of tensorsOf(block.folder))
    for (const layer of at) {
      const own: Stored = { ...one };
      tensors.set(`lang_encoder.gated_cross_attn_layers.${layer}.${name}`, own);
      tensors.set(`lang_encoder.transformer.blocks.${layer}.gated_cross_attn_layer.${name}`, own);
    }
  const row = { dtype: "F32", shape: [3, 24], bytes: new Uint8Array(3 * 24 * 4).fill(1) };
  tensors.set("lang_encoder.transformer.wte.weight", row);
  tensors.set(`${LAYERS}.0.norm_1.weight`, { dtype: "F32", shape: [2], bytes: new Uint8Array(8) });
  return tensors;
}

async function converted(config?: object): Promise<string> {
  const [from, to] = [folderOf(), fresh()];
  torchFile(join(from, "checkpoint.pt"), published(), (state) => state);
  if (config) writeFileSync(join(from, "adapter_config.json"), JSON.stringify(config));
  const done = await convertCheckpoint(join(from, "checkpoint.pt"), to);
  assert.equal([done.table, done.left], ["open-flamingo", [`${LAYERS}.0.norm_1.weight`]]);
  assert.equal(done.files.toSorted(), ["adapter_model.safetensors", "embedding.safetensors", "projector.safetensors"]);
  return to;
}
const json = (folder: string, name: string) => JSON.parse(readFileSync(join(folder, name), "utf8"));

test("what no shape shows is as its class has it, and a file beside goes before", async () => {
  const own = json(await converted(), "adapter_config.json");
  assert.equal([own.every, own.dimVisual, own.heads, own.dimHead, own.ffMult], [2, 18, 8, 3, 4]);
  const to = await converted({ ...own, heads: 3, dimHead: 8 });
  assert.equal(json(to, "adapter_config.json"), { ...own, heads: 3, dimHead: 8 });
  const { layers, tokens, dim, gives, frames } = json(to, "projector.json");
  assert.equal([layers, tokens, dim, gives, frames], [2, 5, 24, "beside", 0]);
  using file = Checkpoint.openIn(to, "embedding.safetensors");
  assert.equal([...file.names()], ["embed_tokens.weight"]);
});

test("the adapter and the bridge compute what the cases say", async () => {
  const to = await converted({ ...json(await converted(), "adapter_config.json"), heads: 3, dimHead: 8 });
  const config = parseLlamaConfig({ model_type: "llama", vocab_size: 8, hidden_size: 24, intermediate_size: 16, num_hidden_layers: 4, num_attention_heads: 2, rms_norm_eps: 1e-6, max_position_embeddings: 16 }); // biome-ignore format: one line
  using llm = atOnce(LlamaForCausalLM.built(Weights.fresh({ device: here, trainable: false, seed: 1 }), config));
  const adapter = await loadAdapter(llm, to);
  assert.equal([...adapter.wraps.keys()], ["model.layers.1", "model.layers.3"]);
  const stored = tensorsOf(block.folder);
  for (const [path, wrap] of adapter.wraps)
    for (const [name, p] of (wrap as GatedLayer).gatedCrossAttn.namedParameters())
      assert.ok(Buffer.from(stored.get(name)!.bytes).equals(Buffer.from(await p.bytes())), `${path} ${name}`);
  using file = Checkpoint.openIn(to, "projector.safetensors");
  const at = Weights.from(file, { device: here });
  using bridge = makeBridge(at, { ...json(to, "projector.json"), heads: 3, dimHead: 8 }, 24);
  at.finish();
  const [tag] = perceiver.info.run_prefixes as [string];
  using x = perceiver.tensor(`${tag}in.x`);
  using y = noGrad(() => bridge.forward(x));
  await perceiver.close(`${tag}out.y`, y);
});

test("gated layers that stand at no even distance are another model's", async () => {
  const from = folderOf();
  torchFile(join(from, "checkpoint.pt"), published([1, 2]), (state) => state);
  const { code, message } = await refusal(join(from, "checkpoint.pt"));
  assert.is(code, "E_PICKLE");
  assert.match(message, /gated layers before every 2 layers, got one before layer 2/);
});

test.run();
