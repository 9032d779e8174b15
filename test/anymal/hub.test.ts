// A model put together from the hub: what it is made of stands in its checkpoint by id and commit.
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { AssembleOptions } from "../../lib/anymal/options.js";
import { Downloads } from "../../lib/cli/downloads.js";
import { AnymalError } from "../../lib/core/errors.js";
import { here } from "../case.js";
import { run, writeData } from "../cli/program.js";
import { Place } from "../io/hub/place.js";
import { modelOf } from "../io/hub/server.js";
import { blink, square, type Toy, toy } from "./toy.js";

const test = suite("models of the hub");
const [LLM, CLIP, NEWER] = ["1", "2", "3"].map((digit) => digit.repeat(40)) as [string, string, string];

let world: Toy;
test.before(async () => {
  world = await toy();
  await writeData(world);
});
test.after(() => world.remove());

const place = () => Place.make({ "org/llm": modelOf(world.llm, LLM), "org/clip": modelOf(world.clip, CLIP) });
const projector = { type: "resampler", layers: 1, tokens: 4 } as const;
const options = (llm: string, clip: string): AssembleOptions => ({
  llm,
  device: here,
  modalities: { image: { encoder: clip, projector }, video: { encoder: clip, frames: 2, projector: { ...projector, tokens: 3 } } },
});
const answers = (model: AnyMAL) => model.generateAll([[square("red"), "color?"], [blink("red", "blue")]] as never, { maxNewTokens: 4 });
const manifest = (folder: string) => JSON.parse(readFileSync(join(folder, "anymal.json"), "utf8"));

test("assembled by ids, saved with ids and commits, loaded where only the cache is", async () => {
  await using hub = await place();
  const files = new Set<string>();
  using model = await AnyMAL.assemble({
    ...options("org/llm@main", "org/clip"),
    onProgress: ({ model, file }) => files.add(`${model} ${file}`),
  });
  assert.ok(files.has("org/llm model.safetensors") && files.has("org/clip model.safetensors"), [...files].join());
  using local = await AnyMAL.assemble(options(world.llm, world.clip));
  const wanted = await answers(local);
  assert.equal(await answers(model), wanted);

  const folder = world.path("by-id");
  await model.save(folder);
  const { llm, modalities } = manifest(folder);
  assert.equal([llm.id, llm.revision, llm.path], ["org/llm", LLM, undefined]);
  assert.equal([modalities.image.encoder.id, modalities.video.encoder.revision], ["org/clip", CLIP]);
  await local.save(world.path("by-path"));
  const { llm: there } = manifest(world.path("by-path"));
  assert.is(llm.fingerprint, there.fingerprint, "the same content, wherever it came from");

  // main has moved on; the checkpoint stands on its commit.
  hub.hub.models["org/llm"]!.commit = NEWER;
  const moved = join(world.folder, "elsewhere");
  renameSync(folder, moved);
  process.env.HF_HUB_OFFLINE = "1";
  hub.hub.seen.length = 0;
  using back = await AnyMAL.fromPretrained(moved, { device: here });
  assert.equal(await answers(back), wanted);
  assert.equal(hub.hub.log, []);
  await back.save(world.path("again"));
  assert.equal(manifest(world.path("again")), manifest(moved));

  // Python may add files to a snapshot, which the commit has too.
  writeFileSync(join(hub.snapshot(CLIP, "org/clip"), "other.safetensors"), "x");
  using more = await AnyMAL.fromPretrained(moved, { device: here });
  assert.equal(await answers(more), wanted);

  // Without the hub, a folder with the same content does.
  rmSync(hub.cache, { recursive: true });
  const refused = await AnyMAL.fromPretrained(moved, { device: here }).catch((error) => error);
  assert.is(refused.code, "E_HUB_OFFLINE");
  using folders = await AnyMAL.fromPretrained(moved, { device: here, llm: world.llm, encoders: { image: world.clip, video: world.clip } });
  assert.equal(await answers(folders), wanted);
  const other = await AnyMAL.fromPretrained(moved, {
    device: here,
    llm: world.llm,
    encoders: { image: world.imu, video: world.clip },
  }).catch((e) => e);
  assert.is(other.code, "E_CHECKPOINT");
});

test("an id in a checkpoint that is none is refused", async () => {
  await using hub = await place();
  using model = await AnyMAL.assemble(options(world.llm, "org/clip"));
  const folder = world.path("hostile");
  await model.save(folder);
  const good = manifest(folder);
  for (const [id, revision] of [
    ["../../etc", CLIP],
    ["/etc", CLIP],
    ["org/clip", "../../x"],
  ]) {
    const changed = structuredClone(good);
    Object.assign(changed.modalities.image.encoder, { id, revision });
    writeFileSync(join(folder, "anymal.json"), JSON.stringify(changed));
    hub.hub.seen.length = 0;
    const error = await AnyMAL.fromPretrained(folder, { device: here }).catch((thrown) => thrown);
    assert.instance(error, AnymalError);
    assert.match(error.code, /E_CHECKPOINT|E_HUB_REVISION/);
    assert.equal(hub.hub.log, []);
  }
});

test("an abort ends assembling", async () => {
  await using _ = await place();
  const stop = new AbortController();
  const before = here.memory().tensors;
  const reason = await AnyMAL.assemble({
    ...options("org/llm", "org/clip"),
    signal: stop.signal,
    onProgress: ({ model }) => model === "org/clip" && stop.abort(new Error("enough")),
  }).catch((error) => error);
  assert.is(reason.message, "enough");
  assert.is(here.memory().tensors, before);
});

test("commands take ids, and tell of downloads in plain lines", async () => {
  await using _ = await place();
  const output = world.path("run");
  const model = ["--llm", "org/llm", "--encoder", "image=org/clip", "--projector", "image=resampler,layers=1,tokens=4"];
  const stage = ["--modality", "image", "--data", world.path("captions.jsonl"), "--steps", "2", "--batch", "2", "--device", "cpu"];
  const done = await run(["align", ...model, ...stage, "--output", output]);
  assert.is(done.code, 0, done.err);
  assert.match(done.err, /^fetching org\/llm · .* of .* GB/m);
  assert.match(done.err, /^fetching org\/clip · (\S+) of \1 GB/m);
  assert.not.match(done.err, /\r/);
  assert.is(manifest(join(output, "checkpoint")).llm.revision, LLM);
});

test("a terminal gets one line that is written over", () => {
  let text = "";
  const { onProgress } = new Downloads({ stream: { write: (more) => (text += more), isTTY: true, columns: 60 } });
  const at = (bytes: number) =>
    onProgress({ model: "org/m", file: "model-00001-of-00002.safetensors", fileBytes: bytes, fileTotal: 4e9, bytes, total: 4e9 });
  for (const bytes of [1e9, 2e9, 4e9]) at(bytes);
  const lines = text.split("\r\x1b[2K").slice(1);
  assert.match(lines[0]!, /^fetching org\/m · 1\.0 of 4\.0 GB/);
  assert.match(lines.at(-1)!, /^fetching org\/m · 4\.0 of 4\.0 GB.*\n$/);
  assert.ok(lines.every((line) => line.length <= 60));
});

test.run();
