import { execFile } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { homedir, hostname } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { diskError } from "../../lib/io/hub/error.js";
import { type DownloadProgress, HubError, hubSettings, type ResolveOptions, resolveModel } from "../../lib/io/hub.js";
import { COMMIT, model, Place, weights } from "./hub/place.js";
import { gitHash, refuse, send, sha256 } from "./hub/server.js";

const test = suite("hub");
const run = promisify(execFile);
const child = fileURLToPath(new URL("./hub/resolve-child.ts", import.meta.url));

const etag = sha256(weights);
const blobs = (place: Place): string[] => readdirSync(join(place.cache, "models--org--model/blobs")).sort();
const part = (place: Place): string => join(place.cache, `models--org--model/blobs/${etag}.anymal.incomplete`);
const isDownload = ({ host, method }: { host: string; method: string }) => host === "storage" && method === "GET";

async function refusal(promise: Promise<unknown>): Promise<HubError> {
  const error = await promise.then(
    () => undefined,
    (error) => error,
  );
  assert.instance(error, HubError, `a HubError, not ${error}`);
  return error as HubError;
}
/** For what once never ended. */
async function within<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("no end within 20 s")), 20_000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
const get = (place: Place, id = "org/model", options: ResolveOptions = {}) => resolveModel(id, { hub: place.quick, ...options });

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

test("a download that is cut goes on where it was cut", async () => {
  await using place = await Place.make();
  let cuts = 0;
  place.hub.trouble = (seen, response, content) => {
    if (!isDownload(seen) || cuts >= 2) return false;
    const from = Number(/\d+/.exec(seen.range ?? "0")![0]);
    response.writeHead(seen.range ? 206 : 200, {
      "content-length": content!.length - from,
      ...(seen.range && { "content-range": `bytes ${from}-${content!.length - 1}/${content!.length}` }),
    });
    response.write(content!.subarray(from, from + 200_000), () => response.destroy());
    return ++cuts > 0;
  };
  const folder = await get(place);
  assert.equal(readFileSync(join(folder, "model.safetensors")), weights);
  const ranges = place.hub.seen.filter(isDownload).map(({ range }) => Number(/^bytes=(\d+)-$/.exec(range ?? "bytes=0-")![1]));
  assert.is(ranges.length, 3);
  assert.ok(ranges[0] === 0 && ranges[1]! > 0 && ranges[2]! > ranges[1]!, ranges.join());
});

test("where a proxy is set that fetch does not look at, the error says how to make it", async () => {
  await using place = await Place.make();
  place.hub.trouble = (_, response) => {
    response.destroy();
    return true;
  };
  const before = process.env.HTTPS_PROXY;
  try {
    process.env.HTTPS_PROXY = "http://127.0.0.1:9";
    assert.match((await refusal(get(place))).message, /HTTPS_PROXY is set.*NODE_USE_ENV_PROXY=1.*EnvHttpProxyAgent/);
  } finally {
    if (before === undefined) delete process.env.HTTPS_PROXY;
    else process.env.HTTPS_PROXY = before;
  }
});

test("an abort after the whole body has arrived ends a download and a listing at once", async () => {
  for (const size of [20_000, 40_000, 60_000]) {
    const small = { ...model(), files: { "config.json": "{}", "model.safetensors": Buffer.alloc(size, "x") }, large: /none/ };
    for (let times = 0; times < 3; ++times) {
      await using place = await Place.make({ "org/model": small });
      const stop = new AbortController();
      const reason = new Error("enough");
      const error = await within(
        get(place, "org/model", { signal: stop.signal, onProgress: () => stop.abort(reason) }).catch((error) => error),
      );
      assert.is(error, reason, `${size} bytes`);
      assert.is(await within(get(place)), place.snapshot(), "and the next one goes on");
    }
  }
  // A listing that is long enough to be read in pieces, aborted while its pieces arrive.
  const many = { ...model(), files: Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`file-${i}-${"x".repeat(30)}.json`, "{}"])) };
  for (const wait of [0, 1, 2, 4, 8]) {
    await using place = await Place.make({ "org/model": many });
    const stop = new AbortController();
    const reason = new Error("enough");
    place.hub.trouble = ({ path }) => {
      if (path.startsWith("/api/")) setTimeout(() => stop.abort(reason), wait);
      return false;
    };
    const error = await within(get(place, "org/model", { signal: stop.signal }).catch((error) => error));
    assert.ok(error === reason || error === place.snapshot(), `${error}`); // or it was faster than the abort
  }
});

test("another process goes on from what an aborted one left; nothing half stands in the snapshot", async () => {
  await using place = await Place.make();
  const stop = new AbortController();
  place.hub.trouble = (seen, response, content) => {
    if (!isDownload(seen)) return false;
    response.writeHead(200, { "content-length": content!.length });
    response.write(content!.subarray(0, 300_000)); // and then silence
    return true;
  };
  const onProgress = ({ file, fileBytes }: DownloadProgress) => {
    if (file === "model.safetensors" && fileBytes >= 300_000) stop.abort(new Error("enough"));
  };
  const reason = await get(place, "org/model", { signal: stop.signal, onProgress }).catch((error) => error);
  assert.is(reason.message, "enough");
  assert.not(existsSync(join(place.snapshot(), "model.safetensors")));
  assert.is(lstatSync(part(place)).size, 300_000);
  assert.equal(readdirSync(join(place.cache, ".locks/models--org--model")), []);
  assert.not(existsSync(join(place.cache, "models--org--model/refs/main")), "a snapshot that is not whole is not the revision's");

  place.hub.trouble = () => false;
  place.hub.seen.length = 0;
  await run(process.execPath, ["--import", "tsx", child, "org/model"]);
  assert.equal(
    place.hub.seen.filter(isDownload).map(({ range }) => range),
    ["bytes=300000-"],
  );
  assert.equal(readFileSync(join(place.snapshot(), "model.safetensors")), weights);
  assert.not(existsSync(part(place)));
});

test("a server that ignores ranges, or does not know that one, begins anew", async () => {
  for (const left of [weights.subarray(0, 1000), Buffer.alloc(weights.length + 5)]) {
    await using place = await Place.make();
    await get(place, "org/model", { files: "config" });
    writeFileSync(part(place), left);
    place.hub.trouble = (seen, response, content) => isDownload(seen) && send({ ...seen, range: undefined }, response, content!);
    const folder = await get(place);
    assert.equal(readFileSync(join(folder, "model.safetensors")), weights);
    assert.is(place.hub.seen.filter(isDownload).length, 1);
  }
});

test("bytes with another hash are fetched once more, then refused; a part that was damaged is noticed", async () => {
  await using place = await Place.make();
  const wrong = Buffer.alloc(weights.length, "wrong");
  place.hub.trouble = (seen, response) => isDownload(seen) && send(seen, response, wrong);
  const error = await refusal(get(place));
  assert.is(error.code, "E_HUB_HASH");
  assert.is(place.hub.seen.filter(isDownload).length, 2);
  assert.not(existsSync(join(place.snapshot(), "model.safetensors")));
  assert.not(blobs(place).includes(etag));

  place.hub.trouble = () => false;
  writeFileSync(part(place), Buffer.alloc(1000, "damaged"));
  assert.equal(readFileSync(join(await get(place), "model.safetensors")), weights);

  const small = await Place.make();
  await using _ = small;
  small.hub.trouble = (seen, response) =>
    seen.method === "GET" && seen.path.endsWith("/config.json") && send(seen, response, Buffer.alloc(22));
  assert.is((await refusal(get(small))).code, "E_HUB_HASH", "small files by git's hash");
});

test("an answer without end is left off", async () => {
  await using place = await Place.make();
  place.hub.trouble = (seen, response) => isDownload(seen) && send(seen, response, Buffer.alloc(2 * weights.length));
  assert.is((await refusal(get(place))).code, "E_HUB_HASH");
});

const refusals: [status: number, code: string, wanted: string, says: RegExp][] = [
  [401, "GatedRepo", "E_HUB_ACCESS", /accept its conditions at http.*org\/model.*HF_TOKEN/],
  [403, "GatedRepo", "E_HUB_ACCESS", /accept its conditions/],
  [403, "", "E_HUB_ACCESS", /HF_TOKEN/],
  [401, "RepoNotFound", "E_HUB_ACCESS", /check the id.*HF_TOKEN/],
  [404, "RepoNotFound", "E_HUB_NOT_FOUND", /spelling/],
  [404, "", "E_HUB_NOT_FOUND", /a local folder, or a model of the hub/],
  [404, "RevisionNotFound", "E_HUB_REVISION", /tree\/main/],
];
for (const [status, code, wanted, says] of refusals)
  test(`${status} ${code} is ${wanted}, asked once`, async () => {
    await using place = await Place.make();
    place.hub.trouble = (_, response) => refuse(response, status, code);
    const error = await refusal(get(place));
    assert.is(error.code, wanted);
    assert.match(error.message, says);
    assert.is(place.hub.seen.length, 1);
  });

test("what may pass is asked again: 429, 500, silence, a closed connection; in the end it is said", async () => {
  await using place = await Place.make();
  let asked = 0;
  place.hub.trouble = (_, response) => {
    const turn = asked++;
    if (turn === 0) return refuse(response, 429, "");
    if (turn === 1) return refuse(response, 500, "");
    if (turn === 2) response.destroy();
    return turn === 2 || turn === 3; // 3: no answer at all
  };
  const hub = { ...place.quick, timeoutMs: 150 };
  assert.is(await get(place, "org/model", { hub }), place.snapshot());
  await using never = await Place.make();
  never.hub.trouble = (_, response) => refuse(response, 503, "");
  const error = await refusal(get(never));
  assert.is(error.code, "E_HUB_NETWORK");
  assert.match(error.message, /503.*5 attempts/);
  assert.is(never.hub.seen.length, 5);
});

test("a file that stays away stops the others, with its name", async () => {
  await using place = await Place.make();
  place.hub.trouble = (seen, response) => seen.path.endsWith("tokenizer.json") && refuse(response, 503, "");
  const error = await refusal(get(place));
  assert.is(error.code, "E_HUB_NETWORK");
  assert.match(error.message, /org\/model tokenizer\.json/);
});

test("Retry-After is waited for", async () => {
  await using place = await Place.make();
  place.hub.trouble = (_, response) => {
    if (place.hub.seen.length > 1) return false;
    response.setHeader("retry-after", "1");
    return refuse(response, 429, "");
  };
  const start = performance.now();
  await get(place, "org/model", { files: "config" });
  assert.ok(performance.now() - start > 900);
});

test("the token goes to the hub and to no other host, wherever it stands", async () => {
  await using place = await Place.make();
  const tokens = (host: string) => [...new Set(place.hub.seen.filter((seen) => seen.host === host).map((seen) => seen.authorization))];
  writeFileSync(join(place.home, "token"), "hf_file\n");
  await get(place, "org/model", { files: "config" });
  assert.equal(tokens("hub"), ["Bearer hf_file"]);
  place.hub.seen.length = 0;
  process.env.HF_TOKEN = "hf_variable";
  await get(place);
  assert.equal(tokens("hub"), ["Bearer hf_variable"]);
  assert.equal(tokens("storage"), [undefined], "asked, and without it");
});

test("a model that was renamed is followed on the same host", async () => {
  await using place = await Place.make({ "new/name": model() });
  place.hub.trouble = ({ path }, response) => {
    if (!path.includes("old/name")) return false;
    response.writeHead(307, { location: path.replace("old/name", "new/name") });
    response.end();
    return true;
  };
  assert.equal(readFileSync(join(await get(place, "old/name"), "model.safetensors")), weights);
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

test("without network the cached snapshot is used, which is said once; without one, it is an error", async () => {
  await using place = await Place.make({ "org/away": model() });
  const warnings: string[] = [];
  const hear = (warning: Error & { code?: string }) => warning.code === "ANYMAL_HUB_CACHED" && warnings.push(warning.message);
  process.on("warning", hear);
  const folder = await get(place, "org/away");
  await place.hub.stop();
  for (let i = 0; i < 2; ++i) assert.is(await get(place, "org/away"), folder);
  await new Promise(setImmediate);
  process.off("warning", hear);
  assert.is(warnings.length, 1);
  assert.match(warnings[0]!, /ECONNREFUSED|UND_ERR_SOCKET/);
  assert.is((await refusal(get(place, "org/other"))).code, "E_HUB_NETWORK");
});

test("two processes and two calls that want one model fetch it once", async () => {
  await using place = await Place.make();
  const same = await Promise.all([
    get(place),
    get(place),
    run(process.execPath, ["--import", "tsx", child, "org/model"]).then(({ stdout }) => stdout.trim()),
  ]);
  assert.equal([...new Set(same)], [place.snapshot()]);
  assert.is(place.hub.seen.filter(isDownload).length, 1);
  assert.equal(
    blobs(place).filter((name) => name.includes("incomplete")),
    [],
  );
  assert.equal(readdirSync(join(place.cache, ".locks/models--org--model")), []);
});

test("a lock whose owner died, here or elsewhere, is taken over", async () => {
  for (const owner of [
    { pid: 2 ** 22 + 1, host: hostname() }, // above the largest pid of Linux
    { pid: 1, host: "elsewhere" },
  ]) {
    await using place = await Place.make();
    const lock = join(place.cache, ".locks/models--org--model", `${etag}.anymal.lock`);
    mkdirSync(join(lock, ".."), { recursive: true });
    writeFileSync(lock, JSON.stringify(owner));
    if (owner.host !== hostname()) utimesSync(lock, 1, 1);
    assert.equal(readFileSync(join(await get(place), "model.safetensors")), weights);
  }
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

const hostile: Record<string, (place: Place) => void> = {
  "a name with ..": ({ hub }) => {
    hub.models["org/model"]!.files["../../config.json"] = "x";
  },
  "an absolute name": ({ hub }) => {
    hub.models["org/model"]!.files["/etc/config.json"] = "x";
  },
  "a name with a backslash": ({ hub }) => {
    hub.models["org/model"]!.files["..\\config.json"] = "x";
  },
  "an etag that is a path": ({ hub }) => {
    hub.trouble = ({ method }, response, content) => {
      if (method !== "HEAD") return false;
      response.writeHead(200, { "x-repo-commit": COMMIT, etag: '"../../../x"', "content-length": content!.length });
      response.end();
      return true;
    };
  },
  "a redirect to a file": ({ hub }) => {
    hub.trouble = ({ method }, response) => {
      if (method !== "HEAD") return false;
      response.writeHead(302, { location: "file:///etc/passwd" });
      response.end();
      return true;
    };
  },
};
for (const [what, prepare] of Object.entries(hostile))
  test(`hostile: ${what}`, async () => {
    await using place = await Place.make();
    prepare(place);
    assert.is((await refusal(get(place))).code, "E_HUB_HOSTILE");
    assert.not(existsSync(place.snapshot()) && readdirSync(place.snapshot()).length);
  });

test("a server that is no hub is told from one", async () => {
  for (const [body, headers] of [
    ["<html>log in</html>", {}],
    [JSON.stringify({ sha: "../../x", siblings: [] }), {}],
    [JSON.stringify({ sha: COMMIT }), {}],
  ] as const) {
    await using place = await Place.make();
    place.hub.trouble = (_, response) => {
      response.writeHead(200, headers);
      response.end(body);
      return true;
    };
    assert.is((await refusal(get(place))).code, "E_HUB_NETWORK");
  }
  await using loop = await Place.make();
  loop.hub.trouble = ({ path }, response) => {
    response.writeHead(302, { location: path });
    response.end();
    return true;
  };
  assert.match((await refusal(get(loop))).message, /redirects/);
});

test("a disk without room, and a cache that cannot be written to, are said", async () => {
  await using place = await Place.make();
  place.hub.trouble = ({ path }, response) => {
    if (!path.startsWith("/api")) return false;
    response.end(JSON.stringify({ sha: COMMIT, siblings: [{ rfilename: "model.safetensors", size: 2 ** 52 }] }));
    return true;
  };
  const error = await refusal(get(place));
  assert.is(error.code, "E_HUB_DISK");
  assert.match(error.message, /4503599\.6 GB of room.*HF_HUB_CACHE/);
  assert.is(place.hub.seen.length, 1);

  place.hub.trouble = () => false;
  process.env.HF_HUB_CACHE = join(place.home, "file");
  writeFileSync(process.env.HF_HUB_CACHE, "");
  assert.is((await refusal(get(place))).code, "E_HUB_DISK");
  const full = diskError("org/model", "/cache", Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" }));
  assert.match(String(full), /free some space, or point HF_HUB_CACHE/);
  const other = new TypeError("not of the disk");
  assert.is(diskError("org/model", "/cache", other), other);
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
