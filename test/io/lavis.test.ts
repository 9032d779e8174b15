// LAVIS' checkpoints of BLIP-2 and InstructBLIP as bridges: weights under its names have their places, to the bit, and MiniGPT-4's layer joins them.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openStored, withStored } from "../../lib/anymal/stored-bridge.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { convertCheckpoint } from "../../lib/io/convert.js";
import { type BridgeSetup, completeBridge, makeBridge } from "../../lib/models/bridges/index.js";
import { Weights } from "../../lib/nn/weights.js";
import { here } from "../case.js";
import { folderOf, fresh, refusal, remove, type Stored, type Tensors, torchFile } from "./torch-case.js";

const test = suite("LAVIS' names");
test.after(remove);

const floats = (shape: number[]): Stored => {
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i));
  return { dtype: "F32", shape, bytes: new Uint8Array(values.buffer) };
};

const json = (folder: string) => JSON.parse(readFileSync(join(folder, "projector.json"), "utf8")) as BridgeSetup & Record<string, unknown>;

/** A Q-Former of one head of 64. */
function small({ words = false, layer = "opt_proj", norm = true, layers = 3, every = 2 } = {}): Tensors {
  const [W, D, H] = [64, 10, 20];
  const all: [string, number[]][] = [["query_tokens", [1, 2, W]], ["Qformer.bert.embeddings.LayerNorm.weight", [W]], ["Qformer.bert.embeddings.LayerNorm.bias", [W]]]; // biome-ignore format: one line
  const dense = (at: string, from: number, to: number) => all.push([`${at}.weight`, [to, from]], [`${at}.bias`, [to]]);
  const out = (at: string, from: number) => {
    dense(`${at}.dense`, from, W);
    all.push([`${at}.LayerNorm.weight`, [W]], [`${at}.LayerNorm.bias`, [W]]);
  };
  for (let i = 0; i < layers; ++i) {
    const at = `Qformer.bert.encoder.layer.${i}`;
    for (const [kind, from] of [["attention", W], ...(i % every ? [] : [["crossattention", D]])] as [string, number][]) {
      dense(`${at}.${kind}.self.query`, W, W);
      for (const one of ["key", "value"]) dense(`${at}.${kind}.self.${one}`, from, W);
      out(`${at}.${kind}.output`, W);
    }
    for (const tail of words ? ["", "_query"] : ["_query"]) {
      dense(`${at}.intermediate${tail}.dense`, W, H);
      out(`${at}.output${tail}`, H);
    }
  }
  if (words) all.push(["Qformer.bert.embeddings.word_embeddings.weight", [30, W]], ["Qformer.bert.embeddings.position_embeddings.weight", [12, W]]); // biome-ignore format: one line
  if (layer) dense(layer, W, 24);
  if (norm) all.push(["ln_vision.weight", [D]], ["ln_vision.bias", [D]]);
  all.push(["visual_encoder.cls_token", [1, 1, D]]);
  return new Map(all.map(([name, shape]) => [name, floats(shape)]));
}

for (const [what, options, table, setup] of [
  [
    "BLIP-2",
    {},
    "lavis-blip2",
    { queries: 2, layers: 3, width: 64, heads: 1, hidden: 20, every: 2, text: false, normalize: "layernorm", dim: 10 },
  ],
  [
    "InstructBLIP",
    { words: true, layer: "llm_proj", every: 3 },
    "lavis-instructblip",
    { every: 3, text: true, vocabulary: 30, positions: 12, padding: 0 },
  ],
  [
    "a Q-Former of one layer, without the norm",
    { layers: 1, norm: false, layer: "t5_proj" },
    "lavis-blip2",
    { every: 1, layers: 1, normalize: false },
  ],
] as const)
  test(`${what}: the file is a bridge, every weight has its place`, async () => {
    const [from, to] = [folderOf(), fresh()];
    const tensors = small(options);
    torchFile(join(from, "checkpoint.pth"), tensors, (model) => new Map([["model", model]]));
    const done = await convertCheckpoint(join(from, "checkpoint.pth"), to);
    assert.equal([done.table, done.left], [table, ["visual_encoder.cls_token"]]);
    const own = json(to);
    for (const [key, value] of Object.entries(setup)) assert.equal(own[key], value, key);
    using file = Checkpoint.openIn(to, "projector.safetensors");
    const at = Weights.from(file, { device: here });
    using bridge = makeBridge(at, own, 24);
    at.finish();
    const key = [...bridge.namedParameters()].find(([name]) => name.endsWith("layer.0.crossattention.attention.key.weight"))![1];
    const stored = tensors.get("Qformer.bert.encoder.layer.0.crossattention.self.key.weight")!;
    assert.equal(Buffer.from(await key.bytes()), Buffer.from(stored.bytes));
  });

test("a file of the first stage is a bridge that has met no language model: its layer is drawn by the seed, all else is the file's", async () => {
  const [from, to] = [folderOf(), fresh()];
  const tensors = small({ layer: "", words: true, every: 3 });
  torchFile(join(from, "checkpoint.pth"), tensors, (model) => new Map([["model", model]]));
  assert.is((await convertCheckpoint(join(from, "checkpoint.pth"), to)).table, "lavis-blip2");
  const { stored, modalities } = withStored({ llm: "-", modalities: { image: { encoder: "-", projector: to } } });
  const own = stored.get("image")!;
  assert.equal([own.fresh, own.setup.type], [true, "q-former"]);
  const setup = completeBridge(modalities.image!.projector!, 10, 0);
  const open = (seed: number) => openStored(own, setup, here, 24, seed);
  using one = open(1);
  using again = open(1);
  using other = open(2);
  const bytes = async (bridge: typeof one) =>
    Promise.all([...bridge.namedParameters()].map(async ([name, p]) => [name, Buffer.from(await p.bytes()).toString("base64")] as const));
  assert.equal(await bytes(one), await bytes(again));
  const [mine, others] = [await bytes(one), new Map(await bytes(other))];
  assert.equal(mine.filter(([name, text]) => others.get(name) !== text).map(([name]) => name), ["language_projection.weight", "language_projection.bias"]); // biome-ignore format: one line
  const queries = tensors.get("query_tokens")!;
  assert.is(new Map(mine).get("query_tokens"), Buffer.from(queries.bytes).toString("base64"));
});

test("MiniGPT-4's older layer joins the Q-Former's file in one folder; beside that of the form with Llama-2 it is told", async () => {
  const layer = (inputs: number): Tensors => new Map([["llama_proj.weight", floats([24, inputs])], ["llama_proj.bias", floats([24])]]); // biome-ignore format: one line
  const folder = (inputs: number) => {
    const from = folderOf();
    torchFile(join(from, "blip2_pretrained_flant5xxl.pth"), small({ layer: "t5_proj" }), (model) => new Map([["model", model]]));
    torchFile(join(from, "pretrained_minigpt4.pth"), layer(inputs), (model) => new Map([["model", model]]));
    return from;
  };
  const to = fresh();
  const done = await convertCheckpoint(folder(64), to);
  assert.is(done.table, "minigpt4-qformer");
  using file = Checkpoint.openIn(to, "projector.safetensors");
  const at = Weights.from(file, { device: here });
  using bridge = makeBridge(at, json(to), 24);
  at.finish();
  assert.equal([bridge.rows([5, 10]), json(to).frozen], [2, true]);
  assert.match(
    (await refusal(folder(5632), {}, fresh())).message,
    /reads the Q-Former's rows of 64.*reads 5632: four patches at a time, of MiniGPT-4 with Llama-2/,
  );
});

test.run();
