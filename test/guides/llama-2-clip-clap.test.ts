// docs/guides/llama-2-clip-clap.md, run as it stands: its files written, its commands given to a shell, on a hub of this machine that has
// tiny checkpoints of the same classes under the ids of the guide. Only sizes of the training differ.
import { execFile } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encodePicture, encodeWav } from "../../lib/data/world/encode.js";
import { renderAudio } from "../../lib/data/world/render-audio.js";
import { renderImage } from "../../lib/data/world/render-image.js";
import { worldScene } from "../../lib/data/world/write.js";
import { FakeHub, modelOf, refuse } from "../io/hub/server.js";
import { type Block, blocksOf } from "./blocks.js";

const test = suite("guide: llama-2-clip-clap");
const root = fileURLToPath(new URL("../..", import.meta.url));
const blocks = blocksOf(join(root, "docs/guides/llama-2-clip-clap.md"));
const commands = blocks.filter(({ kind }) => kind === "sh").map(({ text }) => text);
const run = promisify(execFile);

const LLM = "meta-llama/Llama-2-7b-chat-hf";
const MODELS = { [LLM]: "llama", "openai/clip-vit-large-patch14-336": "clip", "laion/clap-htsat-unfused": "clap" };
const COMMITS = Object.fromEntries(Object.keys(MODELS).map((id, i) => [id, String(i + 1).repeat(40)]));

let folder = "";
let hub: FakeHub;
let env: NodeJS.ProcessEnv;
test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), "anymal-guide-"));
  hub = await FakeHub.start(
    Object.fromEntries(Object.entries(MODELS).map(([id, name]) => [id, modelOf(join(root, "models/tiny", name), COMMITS[id]!)])),
  );
  // As on the hub: who has not accepted the licence gets nothing of LLaMA-2.
  hub.trouble = ({ host, path, authorization }, response) =>
    host === "hub" && path.includes(LLM) && authorization !== "Bearer hf_your_token" && refuse(response, 403, "GatedRepo");
  env = installed();
});
test.after(async () => {
  await hub.stop();
  rmSync(folder, { recursive: true });
});

/** The same training, over in a moment. */
const shortened = (recipe: string): string =>
  recipe
    .replace(/\bsteps: \d+/g, "steps: 2")
    .replace(/\bbatch: \d+/g, "batch: 2")
    .replace(/\bmicroBatch: \d+/g, "microBatch: 1");

function writeBlock({ kind, file, text }: Block): void {
  const path = join(folder, file!);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, kind === "yaml" ? shortened(text) : text);
}

/** Whatever picture or sound the guide names; those of data files lie beside them. */
async function writeMedia(): Promise<void> {
  const names = blocks.flatMap(({ file, text }) =>
    Array.from(text.matchAll(/[\w./-]+\.(?:jpg|wav)\b/g), ([name]) => join(file?.startsWith("data/") ? "data" : "", name)),
  );
  assert.ok(names.length >= 10);
  for (const [i, name] of [...new Set(names)].entries()) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    const { scene, draw } = worldScene(0, name.endsWith(".wav") ? "audio" : "image", "train", i);
    if (scene.modality === "image") writeFileSync(path, await encodePicture(renderImage(scene, draw), "jpg"));
    else if (scene.modality === "audio") writeFileSync(path, encodeWav(renderAudio(scene, draw)));
  }
}

/** npm and npx of somebody who has installed this package. */
function installed(): NodeJS.ProcessEnv {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  const tsx = `exec '${process.execPath}' --import '${import.meta.resolve("tsx")}'`;
  const script = (name: string, text: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  script("npm", '[ "$*" = "install anymal" ]');
  const anymal = `anymal) shift; ${tsx} '${join(root, "lib/cli/main.ts")}' "$@";;`;
  script("npx", `case "$1" in ${anymal} tsx) shift; ${tsx} "$@";; *) exit 9;; esac`);
  const own = join(folder, "node_modules/anymal");
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, "package.json"), JSON.stringify({ name: "anymal", type: "module", exports: "./index.js" }));
  writeFileSync(join(own, "index.js"), `export * from ${JSON.stringify(new URL("../../lib/index.ts", import.meta.url).href)};\n`);
  const clean = Object.entries(process.env).filter(([name]) => !/^HF_|^HUGGING/.test(name));
  return { ...Object.fromEntries(clean), PATH: `${bin}:${process.env.PATH}`, HF_ENDPOINT: hub.endpoint, HF_HOME: join(folder, "hf") };
}

async function shell(script: string, more: NodeJS.ProcessEnv = {}): Promise<{ stdout: string; stderr: string }> {
  try {
    return await run("bash", ["-euo", "pipefail", "-c", script], { cwd: folder, env: { ...env, ...more }, maxBuffer: 1 << 24 });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${script}\n${stdout}\n${stderr}`);
  }
}

test("every command of the guide runs, one after the other, and leaves what the guide says", async () => {
  for (const block of blocks) if (block.file) writeBlock(block);
  await writeMedia();
  const { stdout, stderr } = await shell(commands.join("\n"));

  for (const id of Object.keys(MODELS)) assert.match(stderr, new RegExp(`^fetching ${id} · .* GB`, "m"));
  assert.match(stderr, /^align image 2\/2 · loss [\d.]+ · \d+ tokens\/s/m);
  assert.match(stderr, /^align audio 2\/2 · loss/m);
  assert.match(stderr, /^instruct 2\/2 · loss/m);
  assert.match(stdout, /^instruct: 2 steps in .*; model in runs\/llama-clip-clap\/instruct$/m);

  const at = (...parts: string[]) => join(folder, "runs/llama-clip-clap", ...parts);
  assert.is(readFileSync(at("align/image/log.jsonl"), "utf8").trim().split("\n").length, 2);
  const { llm, modalities, adapters } = JSON.parse(readFileSync(at("instruct/checkpoint/anymal.json"), "utf8"));
  assert.equal([llm.id, llm.revision, llm.quantization.format], [LLM, COMMITS[LLM], "nf4"]);
  assert.equal(adapters, [{ name: "default", kind: "lora", on: "llm", folder: "." }]);
  for (const [modality, id] of [
    ["image", "openai/clip-vit-large-patch14-336"],
    ["audio", "laion/clap-htsat-unfused"],
  ] as const)
    assert.equal([modalities[modality].encoder.id, modalities[modality].encoder.revision], [id, COMMITS[id]]);

  const { answers, problems } = JSON.parse(readFileSync(join(folder, "answers.json"), "utf8"));
  assert.equal([answers.map(({ row }: { row: number }) => row), problems], [[1, 2], []]);
  assert.ok(readdirSync(join(folder, "features")).length > 0);
  assert.equal(
    readdirSync(join(folder, "my-adapter"))
      .filter((name) => /^adapter/.test(name))
      .sort(),
    ["adapter_config.json", "adapter_model.safetensors"],
  );
  // Each file came once, however many commands asked.
  const fetched = hub.seen.filter(({ host, method }) => host === "storage" && method === "GET").map(({ path }) => path);
  assert.is(new Set(fetched).size, fetched.length);
  assert.ok(existsSync(join(folder, "hf/hub", `models--${LLM.replace("/", "--")}`, "snapshots", COMMITS[LLM]!, "config.json")));
});

test("without a token the first command says what to do", async () => {
  const failed = await shell("npx anymal align --config recipe.yaml --output other", { HF_HOME: join(folder, "empty") }).then(
    () => "",
    (error: Error) => error.message,
  );
  assert.match(failed, /E_HUB_ACCESS: meta-llama\/Llama-2-7b-chat-hf: .*accept its conditions at .*HF_TOKEN/);
});

test.run();
