// What the hub says: refusals, troubles that pass, redirects, lies.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { COMMIT, get, model, Place, refusal, weights } from "./place.js";
import { refuse } from "./server.js";

const test = suite("hub: requests");

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

test.run();
