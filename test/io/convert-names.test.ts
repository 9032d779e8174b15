// convertCheckpoint() under the names, and in the parts, that the authors of a system gave: the tensors that Hugging Face's folder has.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Tensor } from "../../lib/core/tensor.js";
import { convertCheckpoint } from "../../lib/io/convert.js";
import { SafetensorsFile } from "../../lib/io/safetensors.js";
import { audio } from "../../lib/media/audio.js";
import { processorOf } from "../../lib/media/auto-processor.js";
import type { ImuProcessor } from "../../lib/media/imu-processor.js";
import { AutoEncoder } from "../../lib/models/auto-encoder.js";
import type { Imu2ClipModel } from "../../lib/models/imu2clip.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { OpenClipVisionModel } from "../../lib/models/open-clip-vision.js";
import { Case, caseFolder, caseNames, here, near } from "../case.js";
import { reloaded } from "../models/encoders.js";
import { folderOf, fresh, refusal, remove, type Stored, sameTensors, type Tensors, tensorsOf, torchFile } from "./torch-case.js";

const test = suite("names of the authors");
test.after(remove);
const llama = caseFolder("llama2");

/** The rows of q or k as Meta's code turns them, number by number: those of a head in pairs of neighbours. */
function inPairs({ dtype, shape, bytes }: Stored, heads: number): Stored {
  const [rows = 0, columns = 0] = shape;
  const half = rows / heads / 2;
  const [from, to] = [new Float32Array(bytes.slice().buffer), new Float32Array(rows * columns)];
  for (let h = 0; h < heads; ++h)
    for (let i = 0; i < half; ++i)
      for (let part = 0; part < 2; ++part)
        for (let c = 0; c < columns; ++c)
          to[(h * 2 * half + 2 * i + part) * columns + c] = from[(h * 2 * half + part * half + i) * columns + c] as number;
  return { dtype, shape, bytes: new Uint8Array(to.buffer) };
}

/** Rows or columns [from, to) of a matrix. */
function cut({ dtype, shape, bytes }: Stored, along: 0 | 1, part: number, parts: number): Stored {
  const [rows = 0, columns = 0] = shape;
  const size = (shape[along] as number) / parts;
  const values = new Float32Array(bytes.slice().buffer);
  const kept = values.filter((_, i) => Math.floor((along === 0 ? Math.floor(i / columns) : i % columns) / size) === part);
  return { dtype, shape: along === 0 ? [size, columns] : [rows, size], bytes: new Uint8Array(kept.buffer) };
}

const META: readonly (readonly [hub: RegExp, meta: string, along?: 0 | 1, heads?: "q" | "k"])[] = [
  [/^model\.embed_tokens\.weight$/, "tok_embeddings.weight", 1],
  [/^model\.norm\.weight$/, "norm.weight"],
  [/^lm_head\.weight$/, "output.weight", 0],
  [/^model\.layers\.(\d+)\.self_attn\.q_proj\.weight$/, "layers.$1.attention.wq.weight", 0, "q"],
  [/^model\.layers\.(\d+)\.self_attn\.k_proj\.weight$/, "layers.$1.attention.wk.weight", 0, "k"],
  [/^model\.layers\.(\d+)\.self_attn\.v_proj\.weight$/, "layers.$1.attention.wv.weight", 0],
  [/^model\.layers\.(\d+)\.self_attn\.o_proj\.weight$/, "layers.$1.attention.wo.weight", 1],
  [/^model\.layers\.(\d+)\.mlp\.gate_proj\.weight$/, "layers.$1.feed_forward.w1.weight", 0],
  [/^model\.layers\.(\d+)\.mlp\.down_proj\.weight$/, "layers.$1.feed_forward.w2.weight", 1],
  [/^model\.layers\.(\d+)\.mlp\.up_proj\.weight$/, "layers.$1.feed_forward.w3.weight", 0],
  [/^model\.layers\.(\d+)\.input_layernorm\.weight$/, "layers.$1.attention_norm.weight"],
  [/^model\.layers\.(\d+)\.post_attention_layernorm\.weight$/, "layers.$1.ffn_norm.weight"],
];

for (const [parts, embedding] of [
  [1, 1],
  [2, 1],
  [2, 0],
] as const)
  test(`Meta's LLaMA in ${parts} file(s)${parts > 1 ? `, the embedding split along ${embedding}` : ""}`, async () => {
    const config = JSON.parse(readFileSync(join(llama, "config.json"), "utf8"));
    const { num_attention_heads: heads, num_key_value_heads: kvHeads, hidden_size: dim, rms_norm_eps: norm_eps } = config;
    const wanted = tensorsOf(llama);
    // A vocabulary that two files can share.
    for (const name of ["model.embed_tokens.weight", "lm_head.weight"]) {
      const { dtype, shape, bytes } = wanted.get(name) as Stored;
      wanted.set(name, { dtype, shape: [352, shape[1] as number], bytes: bytes.slice(0, 352 * 4 * (shape[1] as number)) });
    }
    const from = folderOf();
    for (let part = 0; part < parts; ++part) {
      const own: Tensors = new Map([["rope.freqs", { dtype: "F32", shape: [4], bytes: new Uint8Array(16) }]]);
      for (const [name, tensor] of wanted) {
        const [hub, meta, given, turned] = META.find(([hub]) => hub.test(name)) as (typeof META)[number];
        const along = meta.startsWith("tok_") ? embedding : given;
        const inOrder = turned ? inPairs(tensor, turned === "q" ? heads : kvHeads) : tensor;
        own.set(name.replace(hub, meta), along === undefined ? inOrder : cut(inOrder, along, part, parts));
      }
      torchFile(join(from, `consolidated.0${part}.pth`), own);
    }
    assert.match((await refusal(from)).message, /params\.json beside the weights of Meta's LLaMA, got none/);
    writeFileSync(join(from, "params.json"), JSON.stringify({ dim, n_heads: heads, n_kv_heads: kvHeads, norm_eps, vocab_size: -1 }));
    if (parts > 1) {
      const half = folderOf(join(from, "consolidated.00.pth"), join(from, "params.json"));
      assert.match((await refusal(half)).message, /rows in 1 files; a part of the model is missing/);
    }
    const to = fresh();
    // One part named stands for all of them.
    const { table, left, made: files } = await convertCheckpoint(embedding === 1 ? join(from, "consolidated.00.pth") : from, to);
    assert.equal([table, left, files], ["llama", ["rope.freqs"], ["config.json"]]);
    sameTensors(to, wanted);
    using ours = await LlamaForCausalLM.fromPretrained(to, { device: here });
    assert.is(ours.config.kvHeads, kvHeads);
    assert.is(ours.config.intermediateSize, config.intermediate_size);
  });

const DINO: (name: string) => string = (name) =>
  name
    .replace(/^embeddings\.patch_embeddings\.projection/, "patch_embed.proj")
    .replace(/^embeddings\.position_embeddings$/, "pos_embed")
    .replace(/^embeddings\./, "")
    .replace(/^layernorm\./, "norm.")
    .replace(/^encoder\.layer\.(\d+)\.attention\.output\.dense/, "blocks.$1.attn.proj")
    .replace(/^encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)/, "blocks.$1.attn.qkv")
    .replace(/^encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1/, "blocks.$1.ls$2.gamma")
    .replace(/^encoder\.layer\.(\d+)\./, "blocks.$1.");

const WHISPER: (name: string) => string = (name) =>
  name
    .replace(/^model\./, "")
    .replace(".layers.", ".blocks.")
    .replace("self_attn_layer_norm", "attn_ln")
    .replace("encoder_attn_layer_norm", "cross_attn_ln")
    .replace("final_layer_norm", "mlp_ln")
    .replace("self_attn.", "attn.")
    .replace("encoder_attn.", "cross_attn.")
    .replace(/attn\.q_proj/, "attn.query")
    .replace(/attn\.k_proj/, "attn.key")
    .replace(/attn\.v_proj/, "attn.value")
    .replace(/attn\.out_proj/, "attn.out")
    .replace(/\.fc1\./, ".mlp.0.")
    .replace(/\.fc2\./, ".mlp.2.")
    .replace("embed_positions.weight", "positional_embedding")
    .replace("embed_tokens", "token_embedding")
    .replace("encoder.layer_norm", "encoder.ln_post")
    .replace("decoder.layer_norm", "decoder.ln");

/** The authors' names, and what of a tensor of theirs each of Hugging Face's is. */
type Back = (name: string) => string | undefined;
const TOWERS: readonly (readonly [fixture: string, table: string, prefix: string, key: string | undefined, back: Back])[] = [
  ["dinov2", "dinov2", "", undefined, (name) => DINO(name)],
  [
    "dinov2-swiglu",
    "dinov2",
    "",
    undefined,
    (name) => DINO(name).replace("mlp.weights_in", "mlp.w12").replace("mlp.weights_out", "mlp.w3"),
  ],
  [
    "clap",
    "clap",
    "module.",
    "state_dict",
    (name) => {
      if (/^logit_scale|_projection\.linear|^text_model/.test(name))
        return name
          .replace("linear1", "0")
          .replace("linear2", "2")
          .replace(/^text_model/, "text_branch");
      if (name.endsWith("num_batches_tracked")) return undefined;
      return name
        .replace(/^audio_model\.audio_encoder\./, "audio_branch.")
        .replace(".batch_norm.", ".bn0.")
        .replace(/attention\.self\.(query|key|value)/, "attn.qkv")
        .replace("attention.self.", "attn.")
        .replace("attention.output.dense", "attn.proj")
        .replace("intermediate.dense", "mlp.fc1")
        .replace("output.dense", "mlp.fc2")
        .replace("layernorm_before", "norm1")
        .replace("layernorm_after", "norm2");
    },
  ],
  [
    "imu2clip",
    "imu2clip",
    "",
    undefined,
    (name) =>
      name
        .replace("norm_in", "net.0")
        .replace(/^blocks\.(\d)\.conv/, (_, i) => `net.${Number(i) + 1}.net.0`)
        .replace("norm_out", "net.4")
        .replace("gru", "net.5"),
  ],
  ["viclip", "viclip", "", undefined, (name) => name],
];

for (const [fixture, table, prefix, key, back] of TOWERS)
  test(`the names that ${fixture}'s authors gave, in an encoder that computes the same`, async () => {
    const folder = caseFolder(fixture);
    const wanted = tensorsOf(folder);
    const theirs = new Map<string, Stored[]>();
    for (const [name, tensor] of [...wanted].sort(([a], [b]) => order(a) - order(b))) {
      const own = back(name);
      if (own === undefined) wanted.delete(name);
      else theirs.set(prefix + own, [...(theirs.get(prefix + own) ?? []), tensor]);
    }
    const from = folderOf(join(folder, "config.json"));
    const path = join(from, "theirs.pt");
    const joined = ([first, ...more]: Stored[]): Stored => ({
      dtype: first!.dtype,
      shape: more.length ? [first!.shape[0]! * (more.length + 1), ...first!.shape.slice(1)] : first!.shape,
      bytes: more.length ? Buffer.concat([first!, ...more].map(({ bytes }) => bytes)) : first!.bytes,
    });
    const all: Tensors = new Map(Array.from(theirs, ([name, tensors]) => [name, joined(tensors)]));
    torchFile(path, all, (dict) => (key ? new Map([[key, dict]]) : dict));
    const to = fresh();
    const done = await convertCheckpoint(path, to);
    assert.is(done.table, table);
    sameTensors(to, wanted);
    (await AutoEncoder.fromPretrained(to, { device: here })).dispose();

    // Without a config.json beside it, one is made from the shapes.
    rmSync(join(from, "config.json"));
    const alone = fresh();
    await convertCheckpoint(path, alone);
    const ours = JSON.parse(readFileSync(join(alone, "config.json"), "utf8"));
    const read = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    const held = read.audio_config ?? read;
    // A head of theirs is 64 wide, which those of a small model are not, and a small picture has its own size.
    for (const [name, value] of Object.entries(ours))
      if (name in held && !/heads|model_type|architectures|dtype|mlp_ratio|patch_stride/.test(name)) assert.equal(value, held[name], name);
  });
/** query, key, value: the order in which they lie in one tensor. */
const order = (name: string): number => ["query", "key", "value"].findIndex((part) => name.includes(`.${part}.`));

test("OpenAI's Whisper: its dims tell the heads; the folder is a whole one, with a processor, and hears what the original heard", async () => {
  const folder = caseFolder("whisper-encoder");
  const wanted = tensorsOf(folder);
  const theirs: Tensors = new Map(Array.from(wanted, ([name, tensor]) => [WHISPER(name), tensor]));
  const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
  const dims = { n_audio_head: config.encoder_attention_heads, n_text_head: config.decoder_attention_heads, n_mels: config.num_mel_bins };
  const from = folderOf();
  torchFile(
    join(from, "tiny.pt"),
    theirs,
    (dict) =>
      new Map<string, unknown>([
        ["dims", new Map(Object.entries(dims))],
        ["model_state_dict", dict],
      ]),
  );
  const to = fresh();
  const done = await convertCheckpoint(join(from, "tiny.pt"), to);
  assert.equal([done.table, done.made.sort(), done.left], ["whisper", ["config.json", "preprocessor_config.json"], []]);
  sameTensors(to, wanted);
  const made = JSON.parse(readFileSync(join(to, "config.json"), "utf8"));
  for (const [key, value] of Object.entries(made)) if (key in config && key !== "torch_dtype") assert.equal(value, config[key], key);
  const c = new Case("whisper-encoder");
  const input = await processorOf(to).process([audio(join(folder, "audio.full.wav"))]);
  using encoder = await AutoEncoder.fromPretrained(to, { device: here });
  using x = Tensor.from(input.data, input.shape, { device: here });
  const out = encoder.forward(x);
  const got = await out.hidden.data();
  near(got, c.values("out.last_hidden_state").subarray(got.length), c.atol("out.last_hidden_state"), "rows");
  for (const tensor of [out.hidden, out.pooled, out.embeds]) tensor.dispose();

  // A file without dims, and one whose heads cannot be.
  for (const [given, ok] of [
    [{}, false],
    [{ n_audio_head: 0 }, false],
    [{ n_audio_head: dims.n_audio_head, n_text_head: 2.5 }, false],
    [dims, true],
  ] as const) {
    const other = folderOf();
    torchFile(join(other, "x.pt"), theirs, (dict) => new Map<string, unknown>([["model_state_dict", dict], ["dims", new Map(Object.entries(given))]])); // biome-ignore format: one line
    if (ok) await convertCheckpoint(join(other, "x.pt"), fresh());
    else assert.match((await refusal(join(other, "x.pt"))).message, /"n_(audio|text)_head"/);
  }
});

test("PRIMUS: its network under its own names, windows of any length, the head for video and text as the projection", async () => {
  const [name] = caseNames(/^primus/) as [string];
  const c = new Case(name);
  const theirs = new SafetensorsFile(join(c.folder, "theirs.safetensors"));
  const all: Tensors = new Map(
    Array.from(theirs.entries, ([key, { dtype, shape }]) => [key, { dtype, shape, bytes: new Uint8Array(theirs.bytes(key)) }]),
  );
  theirs.close();
  const from = folderOf();
  torchFile(join(from, "best_model.ckpt"), all, (dict) => new Map<string, unknown>([["epoch", 3], ["state_dict", dict]])); // biome-ignore format: one line
  const to = fresh();
  const done = await convertCheckpoint(join(from, "best_model.ckpt"), to);
  assert.is(done.table, "primus");
  assert.ok(
    done.left.every((left) => /ssl_head|video_encoder/.test(left)),
    `${done.left}`,
  );
  using encoder = await AutoEncoder.fromPretrained(to, { device: here });
  assert.equal(
    [encoder.kind, encoder.width, encoder.embedDim],
    ["imu2clip", c.info.generator_config.hidden, c.info.generator_config.hidden],
  );
  for (const key of c.names("in.windows.")) {
    const i = key.split(".").at(-1);
    using x = c.tensor(key);
    const out = encoder.forward(x);
    await c.close(`out.sequence.${i}`, out.hidden);
    await c.close(`out.emb.${i}`, out.pooled);
    await c.close(`out.mmcl.${i}`, out.embeds);
    for (const tensor of [out.hidden, out.pooled, out.embeds]) tensor.dispose();
  }
  const processor = processorOf(to) as ImuProcessor;
  assert.equal([processor.samplingRate, processor.windowSamples], [50, 250]);
  await reloaded(encoder as Imu2ClipModel, async (again) => {
    using same = await AutoEncoder.fromPretrained(again, { device: here });
    assert.equal((same as Imu2ClipModel).config, (encoder as Imu2ClipModel).config);
  });
});

test("OpenAI's CLIP: its names are read as they are, its numbers beside the weights are left away", async () => {
  const [fixture] = caseNames(/^open-clip/);
  const folder = caseFolder(fixture as string);
  using theirs = OpenClipVisionModel.fromPretrained(folder, { device: here });
  const wanted = tensorsOf(join(folder, "open_clip_model.safetensors"));
  const scalar = (n: number): Stored => ({ dtype: "I64", shape: [], bytes: new Uint8Array(BigInt64Array.of(BigInt(n)).buffer) });
  const all: Tensors = new Map([
    ...wanted,
    ["input_resolution", scalar(224)],
    ["context_length", scalar(77)],
    ["vocab_size", scalar(49408)],
  ]);
  const from = folderOf();
  const path = join(from, "ViT.pt");
  torchFile(path, all);
  writeFileSync(join(from, "config.json"), JSON.stringify(theirs.configJson()));
  const to = fresh();
  const done = await convertCheckpoint(path, to);
  assert.equal([done.table, done.left.sort()], ["openai-clip", ["context_length", "input_resolution", "vocab_size"]]);
  sameTensors(to, wanted);
  using ours = (await AutoEncoder.fromPretrained(to, { device: here })) as OpenClipVisionModel;
  const { imageSize } = theirs.config;
  using x = Tensor.from(
    Float32Array.from({ length: 3 * imageSize ** 2 }, (_, i) => Math.sin(i)),
    [1, 3, imageSize, imageSize],
    { device: here },
  );
  const [a, b] = [theirs.forward(x), ours.forward(x)];
  assert.equal(await b.embeds.data(), await a.embeds.data());
  for (const one of [a, b]) for (const tensor of Object.values(one).flat()) if (tensor instanceof Tensor) tensor.dispose();

  rmSync(join(from, "config.json"));
  const alone = fresh();
  await convertCheckpoint(path, alone);
  const { image_size, patch_size, hidden_size, num_hidden_layers, intermediate_size, projection_dim } = JSON.parse(
    readFileSync(join(alone, "config.json"), "utf8"),
  );
  const known = theirs.configJson() as Record<string, unknown>;
  for (const [name, value] of Object.entries({ image_size, patch_size, hidden_size, num_hidden_layers, intermediate_size, projection_dim }))
    assert.is(value, known[name], name);
});

test.run();
