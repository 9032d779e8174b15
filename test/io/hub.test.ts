// Models by their id: what is fetched and where it stands in the cache.
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type DownloadProgress, hubSettings } from "../../lib/io/hub.js";
import { blobs, COMMIT, etag, get, isDownload, model, Place, refusal, weights } from "./hub/place.js";
import { gitHash } from "./hub/server.js";

const test = suite("hub");

test("a folder is taken as it is, without a question", async () => {
  await using place = await Place.make();
  const folder = join(place.home, "org");
  mkdirSync(folder);
  assert.is(await get(place, folder), folder);
  assert.equal(place.hub.log, []);
});

test("a model arrives once, in the layout of huggingface_hub, with what is needed and nothing else", async () => {
  await using place = await Place.make();
  const seen: DownloadProgress[] = [];
  const folder = await get(place, "org/model", { onProgress: (progress) => seen.push(progress) });
  assert.is(folder, place.snapshot());
  assert.equal(readdirSync(folder).sort(), ["config.json", "model.safetensors", "tokenizer.json"]);
  assert.equal(readFileSync(join(folder, "model.safetensors")), weights);
  assert.is(readlinkSync(join(folder, "model.safetensors")), join("../../blobs", etag));
  assert.equal(blobs(place), [gitHash(Buffer.from("{}")), gitHash(Buffer.from('{"model_type":"llama"}')), etag].sort());
  assert.is(readFileSync(join(place.cache, "models--org--model/refs/main"), "utf8"), COMMIT);
  assert.ok(existsSync(join(place.cache, "models--org--model/.no_exist", COMMIT, "chat_template.jinja")));

  const total = weights.length + 2 + 22;
  assert.ok(seen.every((progress) => progress.total === total && progress.bytes <= total && progress.model === "org/model"));
  assert.is(seen.at(-1)!.bytes, total);
  assert.ok(seen.some(({ file, fileBytes }) => file === "model.safetensors" && fileBytes > 0 && fileBytes < weights.length));

  place.hub.seen.length = 0;
  assert.is(await get(place), folder);
  assert.equal(place.hub.log, ["GET /api/models/org/model/revision/main?blobs=true"]);
});

test("shards come by the index, a tokenizer without weights, and other forms of weights not at all", async () => {
  const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const index = JSON.stringify({ weight_map: { a: shards[0], b: shards[1] } });
  const files = {
    "config.json": "{}",
    "tokenizer.model": "t",
    "model.safetensors.index.json": index,
    "model.onnx": "x",
  };
  await using place = await Place.make({
    sharded: { commit: COMMIT, files: { ...files, [shards[0]!]: "1", [shards[1]!]: "2" } },
    pickled: { commit: COMMIT, files: { "config.json": "{}", "pytorch_model.bin": "x" } },
  });
  const small = await get(place, "sharded", { files: "tokenizer" });
  assert.equal(readdirSync(small).sort(), ["config.json", "tokenizer.model"]);
  process.env.HF_HUB_OFFLINE = "1";
  assert.is(await get(place, "sharded", { files: "tokenizer" }), small);
  assert.is((await refusal(get(place, "sharded"))).code, "E_HUB_OFFLINE", "a snapshot without weights is no model");
  delete process.env.HF_HUB_OFFLINE;
  const whole = await get(place, "sharded");
  assert.is(whole, small);
  assert.equal(readdirSync(whole).sort(), ["config.json", "model.safetensors.index.json", "tokenizer.model", ...shards].sort());
  const pickled = await refusal(get(place, "pickled"));
  assert.is(pickled.code, "E_HUB_FILES");
  assert.match(pickled.message, /safetensors.*pytorch_model\.bin.*refs\/pr/);
  assert.not(existsSync(place.snapshot(COMMIT, "pickled")));
});

test("a revision is a branch, a tag, a commit or a pull request; one that is none is said to be", async () => {
  const other = "f".repeat(40);
  await using place = await Place.make({ "org/model": { ...model(), commit: other, revisions: ["main", "v1.0", "refs/pr/3"] } });
  for (const revision of ["v1.0", "refs/pr/3", other]) assert.is(await get(place, "org/model", { revision }), place.snapshot(other));
  assert.is(await get(place, "org/model@v1.0"), place.snapshot(other));
  assert.is(readFileSync(join(place.cache, "models--org--model/refs/refs/pr/3"), "utf8"), other);
  assert.is((await refusal(get(place, "org/model@v2.0"))).code, "E_HUB_REVISION");
  for (const revision of ["../main", "/etc", "a\\b", "a//b", ""])
    assert.is((await refusal(get(place, "org/model", { revision }))).code, "E_HUB_REVISION", revision);
});

test("what is neither a folder nor an id is not asked for", async () => {
  await using place = await Place.make();
  for (const id of ["./org/model", "/org/model", "a/b/c", "org/..", "../model", "org/mo del", "org--x/model", "", "org/"])
    assert.is((await refusal(get(place, id))).code, "E_HUB_ID", id);
  assert.equal(place.hub.log, []);
});

test("offline makes no request: what is in the cache is used, what is not is said", async () => {
  await using place = await Place.make();
  process.env.HF_HUB_OFFLINE = "1";
  const error = await refusal(get(place));
  assert.is(error.code, "E_HUB_OFFLINE");
  assert.match(error.message, /HF_HUB_OFFLINE/);
  delete process.env.HF_HUB_OFFLINE;
  const folder = await get(place);
  place.hub.seen.length = 0;
  process.env.HF_HUB_OFFLINE = "YES";
  assert.is(await get(place), folder);
  assert.is(await get(place, "org/model", { revision: COMMIT }), folder);
  assert.is((await refusal(get(place, "org/model@v9"))).code, "E_HUB_OFFLINE");
  assert.equal(place.hub.log, []);
});

test("a cache that huggingface_hub filled is used: its blobs are linked, not fetched again", async () => {
  await using place = await Place.make();
  const root = join(place.cache, "models--org--model");
  for (const folder of ["blobs", "refs", `snapshots/${COMMIT}`]) mkdirSync(join(root, folder), { recursive: true });
  // Another commit's snapshot had the weights; of this commit only the configuration was asked for.
  writeFileSync(join(root, "blobs", etag), weights);
  writeFileSync(join(root, "blobs/abc"), '{"from":"python"}');
  symlinkSync("../../blobs/abc", join(root, "snapshots", COMMIT, "config.json"));
  writeFileSync(join(root, "refs/main"), COMMIT);
  const folder = await get(place);
  assert.is(place.hub.seen.filter(isDownload).length, 0);
  assert.equal(readFileSync(join(folder, "model.safetensors")), weights);
  assert.is(readFileSync(join(folder, "config.json"), "utf8"), '{"from":"python"}');
});

test("without symlinks entries are files, and blobs are not kept twice", async () => {
  await using place = await Place.make();
  process.env.HF_HUB_DISABLE_SYMLINKS = "1";
  const folder = await get(place);
  assert.ok(lstatSync(join(folder, "model.safetensors")).isFile());
  assert.equal(readFileSync(join(folder, "model.safetensors")), weights);
  assert.equal(blobs(place), []);
});

test("the variables are huggingface_hub's", () => {
  const settings = (env: NodeJS.ProcessEnv) => hubSettings(env);
  assert.is(settings({ HF_HOME: "/x" }).cache, "/x/hub");
  assert.is(settings({ HF_HOME: "/x", HF_HUB_CACHE: "/y" }).cache, "/y");
  assert.is(settings({ XDG_CACHE_HOME: "/x" }).cache, "/x/huggingface/hub");
  assert.is(settings({ HF_HOME: "~/x" }).cache, join(homedir(), "x/hub"));
  assert.is(settings({ HF_HOME: "$PLACE/x", PLACE: "/p" }).cache, "/p/x/hub");
  assert.is(settings({}).endpoint, "https://huggingface.co");
  assert.is(settings({ HF_ENDPOINT: "https://mirror/" }).endpoint, "https://mirror");
  for (const value of ["1", "ON", "yes", "True"]) assert.is(settings({ HF_HUB_OFFLINE: value }).offline, true);
  for (const value of ["", "0", "off"]) assert.is(settings({ HF_HUB_OFFLINE: value }).offline, false);
  assert.is(settings({ HF_HOME: "/nowhere", HF_TOKEN: " hf_x\n" }).token, "hf_x");
  assert.is(settings({ HF_HOME: "/nowhere" }).token, undefined);
  assert.throws(() => settings({ HF_ENDPOINT: "mirror" }), /HF_ENDPOINT/);
});

test.run();
