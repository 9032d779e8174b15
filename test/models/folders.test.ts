// Folders that tools leave behind: an index beside a whole file, numbers that only Python writes, a quantization_config of older files, tables that
// config.json claims to be tied. What is right is transformers 5.18's result on the same folder, or known by construction.
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { endTokens } from "../../lib/anymal/end-tokens.js";
import { weightFacts } from "../../lib/cli/inspect-weights.js";
import { noGrad } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { wantedFiles } from "../../lib/io/hub/files.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { SafetensorsFile, saveSafetensors } from "../../lib/io/safetensors.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { readConfig } from "../../lib/models/llama-config.js";
import type { Tokenizer } from "../../lib/text/tokenizer.js";
import { Case, caseNames, here } from "../case.js";

const [plain] = caseNames(/^llama2$/).map((name) => new Case(name)) as [Case];
const root = mkdtempSync(join(tmpdir(), "anymal-folders-"));
const json = plain.json();
const names = ["config.json", "model.safetensors"];

function folder(name: string, config: object | string = {}): string {
  const to = join(root, name);
  mkdirSync(to, { recursive: true });
  for (const file of names) copyFileSync(join(plain.folder, file), join(to, file));
  const text = typeof config === "string" ? config : JSON.stringify({ ...json, ...config });
  writeFileSync(join(to, "config.json"), text);
  return to;
}

const ids = [Array.from({ length: 6 }, (_, i) => (5 * i + 1) % (json.vocab_size as number))];
async function logits(path: string, options = {}): Promise<Float32Array> {
  using model = LlamaForCausalLM.fromPretrained(path, { device: here, dtype: "f32", ...options });
  return (await noGrad(() => model.forward({ inputIds: ids })).logits!.data()) as Float32Array;
}
const control = await logits(plain.folder);

/** What `run` told through process.emitWarning, by code. */
async function told(run: () => unknown): Promise<[string, string][]> {
  const heard: [string, string][] = [];
  const hear = (w: Error & { code?: string }) => heard.push([w.code ?? "", w.message]);
  process.on("warning", hear);
  await run();
  await new Promise((done) => setImmediate(done));
  process.off("warning", hear);
  return heard;
}

/** All weights of a folder on the host. */
function stored(path: string): Map<string, Tensor> {
  using file = new SafetensorsFile(join(path, "model.safetensors"));
  return new Map([...file.entries.keys()].map((name) => [name, file.load(name, here, { dtype: "f32" })]));
}

test("a whole model.safetensors counts before an index, whether the index's shards are there or not, and it is told", async () => {
  const missing = folder("stale-missing");
  const map = Object.fromEntries([...stored(missing).keys()].map((name) => [name, "model-00001-of-00002.safetensors"]));
  writeFileSync(join(missing, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
  const heard = await told(async () => assert.equal(await logits(missing), control));
  assert.ok(heard.some(([code, text]) => code === "ANYMAL_STALE_INDEX" && text.includes(missing)));
  assert.is(weightFacts(missing).files, 1);

  const old = folder("stale-old");
  const weights = stored(old);
  const head = weights.get("lm_head.weight")!;
  const negated = Tensor.from((await head.data()).map((v) => -v) as Float32Array, head.shape, { device: here });
  await saveSafetensors(join(old, "model-00001-of-00001.safetensors"), new Map([...weights, ["lm_head.weight", negated]]));
  const all = Object.fromEntries([...weights.keys()].map((name) => [name, "model-00001-of-00001.safetensors"]));
  writeFileSync(join(old, "model.safetensors.index.json"), JSON.stringify({ weight_map: all }));
  assert.equal(await logits(old), control);

  const shards = ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  assert.equal(wantedFiles("a/b", [...shards, "model.safetensors"], "model"), ["model.safetensors"], "as much from the hub");
  assert.equal(wantedFiles("a/b", shards, "model"), shards);
  const asking = "qformer_tokenizer/tokenizer.json";
  assert.equal(wantedFiles("a/b", ["model.safetensors", asking, "other/tokenizer.json"], "model"), [asking, "model.safetensors"]);
});

test("Python's Infinity and NaN in the files of a model", async () => {
  const text = JSON.stringify({ ...json, limit: "@", name: "NaN and Infinity" });
  const infinite = folder("infinity", text.replace('"@"', "[0.0, -Infinity, Infinity]"));
  assert.equal(await logits(infinite), control);
  assert.equal(await logits(folder("nan", text.replace('"@"', "NaN"))), control);
  assert.throws(
    () => readConfigOf("read", text.replace('"@"', "1").replace(/"rms_norm_eps":[^,]*/, '"rms_norm_eps":NaN')),
    /rms_norm_eps.*NaN/,
  );

  writeFileSync(join(infinite, "generation_config.json"), '{"eos_token_id": [2, 5], "length_penalty": -Infinity}');
  assert.equal(endTokens(infinite, [2], {} as Tokenizer), [2, 5]);
  writeFileSync(join(infinite, "generation_config.json"), "");
  assert.throws(
    () => endTokens(infinite, [2], {} as Tokenizer),
    (error: { code?: string }) => error.code === "E_CONFIG",
  );
  writeFileSync(
    join(infinite, "preprocessor_config.json"),
    '{"image_processor_type": "CLIPImageProcessor", "size": 4, "crop_size": 4, "odd": NaN}',
  );
  assert.ok(ImageProcessor.fromPretrained(infinite));

  rmSync(join(infinite, "generation_config.json"));
  using model = LlamaForCausalLM.fromPretrained(infinite, { device: here });
  const again = join(root, "infinity-again");
  await saveModel(again, model, readConfig(infinite));
  assert.ok(readFileSync(join(again, "config.json"), "utf8").includes("-Infinity"), "written as Python would");
  assert.equal(readConfig(again).limit, [0, -Infinity, Infinity]);
});
const readConfigOf = (name: string, text: string) => LlamaForCausalLM.fromPretrained(folder(name, text), { device: here });

test("quantization_config without quant_method stands for bitsandbytes where it loads in 4 or 8 bits", async () => {
  const made = join(root, "nf4");
  using model = LlamaForCausalLM.fromPretrained(plain.folder, { device: here, dtype: "f32", quantization: { format: "nf4" } });
  await saveModel(made, model, json);
  const want = await logits(made);
  const config = readConfig(made);
  const { quant_method: _, ...older } = config.quantization_config as Record<string, unknown>;
  const nameless = join(root, "nf4-nameless");
  cpSync(made, nameless, { recursive: true });
  const write = (quantization: object) =>
    writeFileSync(join(nameless, "config.json"), JSON.stringify({ ...config, quantization_config: quantization }));
  write(older);
  assert.equal(await logits(nameless), want);
  for (const bad of [{ quant_method: "gptq", bits: 4 }, { bits: 4 }, { load_in_4bit: false }]) {
    write(bad);
    assert.throws(
      () => LlamaForCausalLM.fromPretrained(nameless, { device: here }),
      (error: { code?: string }) => error.code === "E_CONFIG",
    );
  }
  const dense = folder("claims-4bit", { quantization_config: { load_in_4bit: true } });
  const heard = await told(async () => assert.equal(await logits(dense), control));
  assert.ok(heard.some(([code]) => code === "ANYMAL_DENSE_WEIGHTS"));
});

/** The folder with other tables in its file, and `tie_word_embeddings` in its config.json. */
async function tables(name: string, tie: boolean | undefined, change: (all: Map<string, Tensor>) => void): Promise<string> {
  const to = folder(name, { tie_word_embeddings: tie });
  const all = stored(to);
  change(all);
  await saveSafetensors(join(to, "model.safetensors"), all);
  for (const tensor of new Set(all.values())) tensor.dispose();
  return to;
}
const [EMBEDDING, HEAD] = ["model.embed_tokens.weight", "lm_head.weight"];
const sharing = (all: Map<string, Tensor>) => all.set(HEAD, all.get(EMBEDDING)!);

// transformers: modeling_utils.py, tie_weights().
test("what config.json claims of a tied head is held against the file, which counts", async () => {
  const heard = await told(async () => assert.equal(await logits(await tables("claims-tied", true, () => undefined)), control));
  assert.ok(
    heard.some(([code]) => code === "ANYMAL_NOT_TIED"),
    "two tables that differ are two",
  );
  const both = await tables("tied-twice", true, sharing);
  const tied = await logits(both);
  assert.not.equal(tied, control);
  using model = LlamaForCausalLM.fromPretrained(both, { device: here });
  assert.is(model.lmHead, undefined);
  assert.equal(await logits(await tables("tied-once", true, (all) => all.delete(HEAD))), tied);
  assert.equal(
    await logits(
      await tables("tied-as-head", true, (all) => {
        sharing(all);
        all.delete(EMBEDDING);
      }),
    ),
    tied,
    "the head alone is enough",
  );
  assert.equal(await logits(await tables("twice-untied", false, sharing)), tied);
  const headless = await tables("headless", undefined, (all) => all.delete(HEAD));
  assert.throws(() => LlamaForCausalLM.fromPretrained(headless, { device: here }), /tie_word_embeddings.*true/);

  for (const claimed of [true, false]) {
    const to = join(root, `saved-${claimed}`);
    await saveModel(to, model, { ...readConfig(both), tie_word_embeddings: claimed });
    assert.is(readConfig(to).tie_word_embeddings, true, "as the file has it");
    assert.equal(await logits(to), tied);
  }
});

test.after(() => rmSync(root, { recursive: true, force: true }));
test.run();
