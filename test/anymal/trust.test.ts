// What a checkpoint of a stranger may make this machine do: look at models, and nothing else; ask the hub, and say so before.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { fingerprint } from "../../lib/anymal/fingerprint.js";
import { here } from "../case.js";
import { run } from "../cli/program.js";
import { Place } from "../io/hub/place.js";
import { modelOf } from "../io/hub/server.js";
import { type Toy, toy } from "./toy.js";

const test = suite("checkpoints of strangers");
const COMMIT = "1".repeat(40);

let world: Toy;
let saved: string;
test.before(async () => {
  world = await toy();
  using model = await AnyMAL.assemble(world.options());
  saved = world.path("saved");
  await model.save(saved);
});
test.after(() => world.remove());

/** A copy of the checkpoint whose language model is said to be elsewhere. */
function naming(name: string, llm: object): string {
  const folder = world.path(name);
  cpSync(saved, folder, { recursive: true });
  const manifest = JSON.parse(readFileSync(join(folder, "anymal.json"), "utf8"));
  const { quantization, dtype, fingerprint } = manifest.llm;
  writeFileSync(join(folder, "anymal.json"), JSON.stringify({ ...manifest, llm: { quantization, dtype, fingerprint, ...llm } }));
  return folder;
}
const refusal = async (folder: string, options = {}) => {
  const error = await AnyMAL.fromPretrained(folder, { device: here, ...options }).catch((thrown) => thrown);
  assert.instance(error, Error, "it was taken");
  return error as { code: string; message: string };
};
/** Warnings of `work`, which are emitted a turn later. */
async function warnings<T>(work: () => Promise<T>): Promise<string[]> {
  const heard: string[] = [];
  const hear = ({ message, code }: Error & { code?: string }) => void heard.push(`${code} ${message}`);
  process.on("warning", hear);
  try {
    await work().catch(() => undefined);
    await new Promise(setImmediate);
  } finally {
    process.off("warning", hear);
  }
  return heard;
}

test("a path of a checkpoint tells nothing of what is there: one message for files, folders, other models and nothing", async () => {
  const place = (name: string) => {
    const path = world.path(name);
    mkdirSync(path);
    return path;
  };
  const secret = join(place("secret"), "key");
  writeFileSync(secret, "root:x:0:0");
  const folder = place("no-model");
  const other = world.path("other-model");
  cpSync(world.llm, other, { recursive: true });
  writeFileSync(join(other, "generation_config.json"), "{}");
  writeFileSync(join(other, "config.json"), "root:x:0:0");
  const linked = place("linked");
  symlinkSync(secret, join(linked, "config.json"));
  const gguf = join(place("gguf"), "x.gguf");
  writeFileSync(gguf, "GGUF, so it says");
  const piped = place("piped");
  if (process.platform !== "win32") execFileSync("mkfifo", [join(piped, "config.json"), join(piped, "pipe")]);
  const messages = new Set<string>();
  for (const [i, path] of [secret, folder, other, linked, gguf, piped, join(piped, "pipe"), world.path("nothing"), "/dev/zero"].entries()) {
    const checkpoint = naming(`path-${i}`, { path });
    const { code, message } = await refusal(checkpoint);
    assert.is(code, "E_CHECKPOINT", message);
    assert.not.match(message, /root|sha256/);
    messages.add(message.replace(checkpoint, "CHECKPOINT").replace(path, "PATH"));
  }
  assert.is(messages.size, 1, [...messages].join("\n"));
  // Who knows a file's content could ask whether it is there.
  const known = JSON.parse(
    readFileSync(join(naming("known", { path: secret, fingerprint: await fingerprint(secret) }), "anymal.json"), "utf8"),
  );
  assert.match(known.llm.fingerprint, /^sha256:/);
  const { code, message } = await refusal(world.path("known"));
  assert.is(code, "E_CHECKPOINT", message);
  (await AnyMAL.fromPretrained(naming("right", { path: world.llm }), { device: here })).dispose();
});

test("a link out of a checkpoint is not followed", async () => {
  const outside = world.path("outside");
  cpSync(saved, outside, { recursive: true });
  for (const name of ["anymal.json", "projectors/image.safetensors"]) {
    const folder = world.path(`link-${name.replace("/", "-")}`);
    cpSync(saved, folder, { recursive: true, filter: (from) => !from.endsWith(name) });
    symlinkSync(join(outside, name), join(folder, name));
    const { code, message } = await refusal(folder);
    assert.is(code, "E_FILE");
    assert.match(message, /a link that leads out of it/);
  }
});

test("an id of the hub in a checkpoint is told before the first request; an option and a flag say no", async () => {
  await using hub = await Place.make({ "org/llm": modelOf(world.llm, COMMIT) });
  const folder = naming("by-id", { id: "org/llm", revision: COMMIT });
  const no = await refusal(folder, { localFilesOnly: true });
  assert.is(no.code, "E_HUB_OFFLINE");
  assert.match(no.message, /localFilesOnly/);
  const told = await run(["generate", "--model", folder, "--local-files-only", "hello"]);
  assert.is(told.code, 1);
  assert.match(told.err, /E_HUB_OFFLINE/);
  assert.equal(hub.hub.log, [], "no request was made");

  let asked = -1;
  const load = async () => {
    process.once("warning", () => (asked = hub.hub.log.length));
    (await AnyMAL.fromPretrained(folder, { device: here })).dispose();
  };
  const heard = await warnings(load);
  const [first] = heard.filter((line) => line.startsWith("ANYMAL_HUB_NAMED"));
  assert.match(first ?? "", /names org\/llm@1{40} as the language model: http.* is asked for it \(localFilesOnly/);
  assert.is(asked, 0, "told before it is asked");
  assert.ok(hub.hub.log.length > 0);

  // Whole in the cache, a commit is no question any more.
  hub.hub.seen.length = 0;
  assert.equal(await warnings(load), []);
  assert.equal(hub.hub.log, []);
});

test("rows: --confine reads no file outside of the data's folder, in asking and in training", async () => {
  const secret = world.path("outside.png");
  writeFileSync(
    secret,
    await sharp({ create: { width: 8, height: 8, channels: 3, background: "red" } })
      .png()
      .toBuffer(),
  );
  mkdirSync(world.path("rows"));
  const prompts = join(world.path("rows"), "prompts.jsonl");
  writeFileSync(prompts, JSON.stringify({ prompt: "color?", image: "../outside.png" }));
  const ask = ["generate", "--model", saved, "--prompts", prompts, "--max-new-tokens", "2", "--device", "cpu"];
  assert.is((await run(ask)).code, 0);
  const confined = await run([...ask, "--confine"]);
  assert.is(confined.code, 1);
  assert.match(confined.err, /a path outside of the root/);

  const captions = join(world.path("rows"), "captions.jsonl");
  writeFileSync(captions, JSON.stringify({ image: "../outside.png", caption: "a square" }));
  const stages = [
    ["align", "--modality", "image"],
    ["instruct", "--no-lora"],
  ];
  for (const [stage, ...more] of stages) {
    const data = stage === "align" ? captions : join(world.path("rows"), "instruct.json");
    const turns = [
      { from: "human", value: "<image>what?" },
      { from: "gpt", value: "red" },
    ];
    if (stage === "instruct") writeFileSync(data, JSON.stringify([{ image: "../outside.png", conversations: turns }]));
    const train = [
      stage!,
      ...more,
      "--model",
      saved,
      "--data",
      data,
      "--steps",
      "1",
      "--device",
      "cpu",
      "--output",
      world.path(`run-${stage}`),
    ];
    const refused = await run([...train, "--confine"]);
    assert.match(refused.err, /a path outside of the root/);
    const done = await run([...train, "--no-confine"]);
    assert.is(done.code, 0, done.err);
  }
});

test("copies of a stranger's folder take no other file of this machine along", async () => {
  const folder = world.path("copied");
  cpSync(world.llm, folder, { recursive: true });
  const secret = world.path("secret.json");
  writeFileSync(secret, "{}");
  rmSync(join(folder, "tokenizer_config.json"), { force: true });
  symlinkSync(secret, join(folder, "tokenizer_config.json"));
  const quantized = await run(["quantize", folder, world.path("copied-nf4"), "--device", "cpu"]);
  assert.match(quantized.err, /tokenizer_config\.json: .*a link that leads out of it/);
  const adapter = world.path("adapter");
  mkdirSync(adapter);
  writeFileSync(
    join(adapter, "adapter_config.json"),
    JSON.stringify({ peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: ["q_proj"] }),
  );
  symlinkSync(secret, join(adapter, "adapter_model.safetensors"));
  const exported = await run(["export", adapter, world.path("exported"), "--adapter", "--llm", world.llm]);
  assert.match(exported.err, /adapter_model\.safetensors: .*a link that leads out of it/);
});

test.run();
