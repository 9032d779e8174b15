// `anymal convert` and convertCheckpoint(): files of torch.save, also under the names and in the parts of their authors, give the tensors that Hugging
// Face's folder has.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { convertCheckpoint } from "../../lib/io/convert.js";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import { type BridgeOptions, completeBridge, makeBridge } from "../../lib/models/bridges/index.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { Weights } from "../../lib/nn/weights.js";
import { minigpt4 } from "../../lib/systems/minigpt4.js";
import { Global, Reduce, Tup, zipForm } from "../../tools/fuzz/torch-files.js";
import { Case, caseFolder, caseNames, here } from "../case.js";
import { run } from "../cli/program.js";
import { blip2Folder } from "../systems/blip2-cases.js";
import {
  floats,
  folderOf,
  fresh,
  refusal,
  remove,
  root,
  type Stored,
  sameTensors,
  type Tensors,
  tensorsOf,
  torchFile,
} from "./torch-case.js";

const test = suite("convert");
test.after(remove);
const llama = caseFolder("llama2");

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

test("an InstructBLIP's tokenizer of questions goes along in its folder, so that the result loads as it would before; a link out of it does not", async () => {
  for (const name of caseNames(/^instructblip-words/)) {
    const from = blip2Folder(new Case(name));
    try {
      const wanted = tensorsOf(from);
      torchFile(join(from, "pytorch_model.bin"), wanted);
      for (const file of readdirSync(from)) if (/safetensors/.test(file)) rmSync(join(from, file));
      writeFileSync(join(from, "qformer_tokenizer/vocab.txt"), "a"); // a slow tokenizer's
      writeFileSync(join(from, "qformer_tokenizer/notes.txt"), "b");
      const to = fresh();
      const { copied } = await convertCheckpoint(from, to);
      const asking = readdirSync(join(from, "qformer_tokenizer")).filter((file) => file !== "notes.txt");
      assert.equal(readdirSync(join(to, "qformer_tokenizer")).sort(), asking.sort());
      for (const file of asking) {
        assert.ok(copied.includes(`qformer_tokenizer/${file}`), file);
        assert.equal(readFileSync(join(to, "qformer_tokenizer", file)), readFileSync(join(from, "qformer_tokenizer", file)), file);
      }
      sameTensors(to, wanted);
      using model = await AnyMAL.fromPretrained(to, { device: here });
      assert.is(model.system, "instructblip");
      rmSync(join(from, "qformer_tokenizer/vocab.txt"));
      symlinkSync(join(llama, "config.json"), join(from, "qformer_tokenizer/vocab.txt"));
      assert.match((await refusal(from)).message, /a link that leads out of it/);
    } finally {
      rmSync(from, { recursive: true });
    }
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

test("MiniGPT-4's layer as it is published becomes the bridge of its system, to the bit; the older form, of a Q-Former, is told apart", async () => {
  const { projector: asked } = minigpt4.modalities.image as { projector: Extract<BridgeOptions, { type: "concat-linear" }> };
  const [dim, width] = [3, 5];
  const layer = (inputs: number): Tensors =>
    new Map([
      ["llama_proj.weight", floats([width, inputs], 1)],
      ["llama_proj.bias", floats([width], 0.5)],
    ]);
  const from = join(root, "checkpoint_stage2.pth");
  torchFile(from, layer(4 * dim), (dict) => new Map([["model", dict]]));
  const to = fresh();
  assert.is((await convertCheckpoint(from, to)).table, "minigpt4");
  sameTensors(to, layer(4 * dim));
  using file = Checkpoint.open(to);
  const at = Weights.from(file, { device: here });
  using bridge = makeBridge(at, completeBridge(asked, dim, 0), width);
  at.finish();
  assert.equal(bridge.rows([8, dim]), 2);

  torchFile(from, layer(768), (dict) => new Map([["model", dict]]));
  assert.match((await refusal(from, {}, fresh())).message, /form with Llama-2.*older form.*Q-Former/);
  torchFile(from, layer(4 * dim + 1), (dict) => new Map([["model", dict]]));
  assert.match((await refusal(from, {}, fresh())).message, /reads 4 patches at a time/);
});

test.run();
