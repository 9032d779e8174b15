// `anymal convert` and convertCheckpoint(): files of torch.save, also under the names and in the parts of their authors, give the tensors that Hugging
// Face's folder has.
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { type ConvertOptions, convertCheckpoint } from "../../lib/io/convert.js";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import { AutoEncoder } from "../../lib/models/auto-encoder.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { dictOf, Global, Reduce, Tup, zipForm } from "../../tools/fuzz/torch-files.js";
import { caseFolder, here } from "../case.js";
import { run } from "../cli/program.js";

const test = suite("convert");
const root = mkdtempSync(join(tmpdir(), "anymal-convert-"));
test.after(() => rmSync(root, { recursive: true }));
let made = 0;
const fresh = (): string => join(root, `out-${made++}`);

interface Stored {
  dtype: string;
  shape: readonly number[];
  bytes: Uint8Array;
}
type Tensors = Map<string, Stored>;
const KINDS: Readonly<Record<string, string>> = { F32: "Float", I64: "Long" };

function tensorsOf(folder: string): Tensors {
  using checkpoint = Checkpoint.open(folder);
  return new Map(
    Array.from(checkpoint.names(), (name) => {
      const { dtype, shape } = checkpoint.entry(name);
      return [name, { dtype, shape, bytes: new Uint8Array(checkpoint.bytes(name)) }] as const;
    }),
  );
}

/** As torch.save writes a state dict; two tensors of one object share a storage. */
function torchFile(path: string, tensors: Tensors, wrap: (dict: unknown) => unknown = (dict) => dict): void {
  const keys = new Map<Stored, string>();
  for (const one of tensors.values()) if (!keys.has(one)) keys.set(one, String(keys.size));
  const planned = Array.from(tensors, ([name, one]) => {
    const numel = one.shape.reduce((a, b) => a * b, 1);
    return { name, key: keys.get(one) as string, kind: KINDS[one.dtype] as string, numel, size: one.shape };
  });
  const data = Object.fromEntries(Array.from(keys, ([{ bytes }, key]) => [key, bytes]));
  writeFileSync(path, zipForm(wrap(dictOf(planned)), data).bytes);
}

function sameTensors(folder: string, wanted: Tensors): void {
  const got = tensorsOf(folder);
  assert.equal([...got.keys()].sort(), [...wanted.keys()].sort());
  for (const [name, { dtype, shape, bytes }] of wanted) {
    const one = got.get(name) as Stored;
    assert.equal([one.dtype, one.shape], [dtype, shape], name);
    assert.ok(Buffer.from(bytes).equals(one.bytes), `${name}: other numbers`);
  }
}

function folderOf(...names: string[]): string {
  const folder = fresh();
  mkdirSync(folder);
  for (const name of names) copyFileSync(name, join(folder, name.split("/").at(-1) as string));
  return folder;
}
const llama = caseFolder("llama2");
async function refusal(from: string, options: ConvertOptions = {}, to = fresh()): Promise<{ code: string; message: string }> {
  const error = await convertCheckpoint(from, to, options).then(
    () => undefined,
    (thrown) => thrown,
  );
  assert.ok(error, "it was converted");
  return error;
}

test("pytorch_model.bin: the same tensors, with config.json and tokenizer beside; the folder loads", async () => {
  const wanted = tensorsOf(llama);
  const from = folderOf(join(llama, "config.json"));
  torchFile(join(from, "pytorch_model.bin"), wanted);
  writeFileSync(join(from, "tokenizer_config.json"), "{}");
  writeFileSync(join(from, "training_args.bin"), "a pickle of classes");
  const to = fresh();
  const { tensors, files, copied, table } = await convertCheckpoint(from, to);
  assert.equal(
    [tensors, files, copied.sort(), table],
    [wanted.size, ["model.safetensors"], ["config.json", "tokenizer_config.json"], undefined],
  );
  sameTensors(to, wanted);
  assert.equal(readdirSync(to).sort(), ["config.json", "model.safetensors", "tokenizer_config.json"]);
  using model = await AutoModelForCausalLM.fromPretrained(to, { device: here });
  assert.instance(model, LlamaForCausalLM);
  assert.equal(
    readdirSync(root).filter((name) => name.endsWith(".tmp")),
    [],
  );
});

test("shards by their index, and shards of its own; what DataParallel puts before names is gone", async () => {
  const wanted = tensorsOf(llama);
  const from = folderOf(join(llama, "config.json"));
  const weight_map: Record<string, string> = {};
  const names = [...wanted.keys()];
  for (const [i, some] of [names.slice(0, 10), names.slice(10)].entries()) {
    const shard = `pytorch_model-0000${i + 1}-of-00002.bin`;
    torchFile(join(from, shard), new Map(some.map((name) => [`module.${name}`, wanted.get(name) as Stored])));
    for (const name of some) weight_map[name] = shard;
  }
  writeFileSync(join(from, "pytorch_model.bin.index.json"), JSON.stringify({ weight_map }));
  const to = fresh();
  const { files } = await convertCheckpoint(from, to, { maxShardBytes: 40_000 });
  assert.ok(files.length > 2 && files[0] === `model-00001-of-0000${files.length}.safetensors`, files.join());
  sameTensors(to, wanted);
});

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
    const to = fresh();
    const { table, left, made: files } = await convertCheckpoint(from, to);
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

test("a head that is the embedding is written once where config.json ties them, and twice where it does not", async () => {
  for (const tied of [true, false]) {
    const wanted = tensorsOf(llama);
    const table = wanted.get("model.embed_tokens.weight") as Stored;
    wanted.set("lm_head.weight", table);
    const from = folderOf();
    const config = JSON.parse(readFileSync(join(llama, "config.json"), "utf8"));
    writeFileSync(join(from, "config.json"), JSON.stringify({ ...config, tie_word_embeddings: tied }));
    torchFile(join(from, "pytorch_model.bin"), wanted);
    const to = fresh();
    const done = await convertCheckpoint(from, to);
    assert.equal(done.tied, tied ? ["lm_head.weight"] : []);
    if (tied) wanted.delete("lm_head.weight");
    sameTensors(to, wanted);
    (await LlamaForCausalLM.fromPretrained(to, { device: here })).dispose();
  }
});

test("what is refused leaves nothing behind, and runs nothing", async () => {
  const folder = folderOf();
  const path = join(folder, "pytorch_model.bin");
  const small: Tensors = new Map([["w", { dtype: "F32", shape: [4], bytes: new Uint8Array(16) }]]);
  const seen = join(folder, "was-run");
  const hostile = new Map<string, unknown>([["w", new Reduce(new Global("posix", "system"), new Tup(`touch ${seen}`))]]);
  writeFileSync(path, zipForm(hostile, {}).bytes);
  const to = fresh();
  const error = await refusal(path, {}, to);
  assert.is(error.code, "E_PICKLE");
  assert.match(error.message, /"posix\.system", which is not on the list/);
  assert.not(existsSync(seen));

  torchFile(path, small);
  const bytes = readFileSync(path);
  const at = bytes.indexOf("x/data/0") + 8;
  bytes[at + 3]! ^= 1; // a number of the storage
  writeFileSync(path, bytes);
  assert.match((await refusal(path, {}, to)).message, /checksum of its archive/);

  torchFile(path, small);
  const stop = AbortSignal.abort(new Error("enough"));
  assert.is((await refusal(path, { signal: stop }, to)).message, "enough");
  assert.match((await refusal(path, { table: "lama" }, to)).message, /a key table: llama, clap/);
  assert.not(existsSync(to));
  assert.equal(
    readdirSync(root).filter((name) => name.endsWith(".tmp")),
    [],
  );

  // Stopped at each place where it listens: nothing is left of it.
  for (let places = 0, ended = false; !ended; ++places) {
    const { signal } = new AbortController();
    let left = places;
    signal.throwIfAborted = () => {
      if (left-- === 0) throw new Error("stopped");
    };
    const other = fresh();
    const outcome = await convertCheckpoint(path, other, { signal }).catch((thrown: Error) => thrown.message);
    ended = outcome !== "stopped";
    assert.is(existsSync(other), ended);
    assert.equal(
      readdirSync(root).filter((name) => name.endsWith(".tmp")),
      [],
    );
    if (ended) assert.ok(places > 2, `it listened at ${places} places`);
  }

  mkdirSync(to);
  writeFileSync(join(to, "kept"), "x");
  assert.is((await refusal(path, {}, to)).code, "E_FILE");
  assert.equal(readdirSync(to), ["kept"]);
  rmSync(join(to, "kept"));
  assert.is((await convertCheckpoint(path, to)).tensors, 1); // into an empty folder

  for (const name of ["config.json", "tokenizer.json"]) {
    symlinkSync(join(llama, "config.json"), join(folder, name));
    assert.match((await refusal(path)).message, /a link that leads out of it/);
    rmSync(join(folder, name));
  }
});

test("the command; what refuses a pickle names it", async () => {
  const from = folderOf(join(llama, "config.json"));
  const path = join(from, "pytorch_model.bin");
  torchFile(path, tensorsOf(llama));
  const inspected = await run(["inspect", path]);
  assert.match(inspected.out, /torch\.save[\s\S]*anymal convert/);
  for (const load of [() => Checkpoint.open(from), () => Checkpoint.open(path)]) assert.throws(load, /anymal convert IN OUT/);
  const to = fresh();
  const { code, out, err } = await run(["convert", path, to]);
  assert.is(code, 0, err);
  assert.match(out, /30 tensors, .* in model\.safetensors, names as they were/);
  sameTensors(to, tensorsOf(llama));
  assert.is((await run(["convert", path, to])).code, 2);
});

test.run();
