// Files on their way: cut, aborted, damaged, wanted twice.
import { execFile } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { diskError } from "../../../lib/io/hub/error.js";
import type { DownloadProgress } from "../../../lib/io/hub.js";
import { blobs, COMMIT, etag, get, isDownload, model, Place, refusal, weights } from "./place.js";
import { refuse, send } from "./server.js";

const test = suite("hub: downloads");
const run = promisify(execFile);
const child = fileURLToPath(new URL("./resolve-child.ts", import.meta.url));
const part = (place: Place): string => join(place.cache, `models--org--model/blobs/${etag}.anymal.incomplete`);

/** For what once never ended. */
async function within<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("no end within 20 s")), 20_000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

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

test("a file that stays away stops the others, with its name", async () => {
  await using place = await Place.make();
  place.hub.trouble = (seen, response) => seen.path.endsWith("tokenizer.json") && refuse(response, 503, "");
  const error = await refusal(get(place));
  assert.is(error.code, "E_HUB_NETWORK");
  assert.match(error.message, /org\/model tokenizer\.json/);
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

test.run();
