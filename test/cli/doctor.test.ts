// anymal doctor where all is well, and in environments that are broken on purpose: each is named, with what to do.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isNewEnough } from "../../lib/cli/doctor.js";
import { webcodecsPath } from "../../lib/media/libraries.js";

const MAIN = fileURLToPath(new URL("../../lib/cli/main.ts", import.meta.url));
const test = suite("doctor");
const folder = mkdtempSync(join(tmpdir(), "anymal-doctor-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

interface Finding {
  name: string;
  state: string;
  found: string;
  next?: string;
}

function doctor(env: Record<string, string>): Promise<{ code: number | null; of: Record<string, Finding> }> {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([key]) => !/^(ANYMAL_|HF_)/.test(key)));
  const child = spawn(process.execPath, ["--import", "tsx", MAIN, "doctor", "--json"], { env: { ...clean, ...env } });
  let out = "";
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  return new Promise((resolve) =>
    child.on("close", (code) => {
      const { findings } = JSON.parse(out) as { findings: Finding[] };
      resolve({ code, of: Object.fromEntries(findings.map((one) => [one.name, one])) });
    }),
  );
}

test("broken on purpose: level, ffmpeg and cache are named, each with what to do", async () => {
  const file = join(folder, "a-file");
  writeFileSync(file, "");
  const { code, of } = await doctor({
    ANYMAL_CPU_LEVEL: "avx9000",
    ANYMAL_FFMPEG: join(folder, "no-ffmpeg"),
    HF_HUB_CACHE: join(file, "hub"),
  });
  assert.is(code, 1);
  for (const name of ["addon", "ffmpeg", "cache"]) {
    assert.is(of[name]?.state, "bad", name);
    assert.ok(of[name]?.next, name);
  }
  assert.match(of.addon?.found ?? "", /avx9000/);
  assert.match(of.cache?.found ?? "", /a-file is a file/);
});

test("where all is well it says with what", async () => {
  const { of } = await doctor({ HF_HUB_CACHE: join(folder, "hub"), ANYMAL_THREADS: "1" });
  assert.match(of.addon?.found ?? "", /^cpu: \w+, 1 thread/);
  assert.is(of.addon?.state, "ok");
  assert.is(of.node?.found, process.versions.node);
  assert.not(of.ffmpeg?.state === "bad");
});

test("without ffmpeg it says what reads films in its place, or what would", async () => {
  const { of } = await doctor({ HF_HUB_CACHE: join(folder, "hub"), PATH: folder });
  assert.match(of.ffmpeg?.found ?? "", /^not on the PATH/);
  if (webcodecsPath()) assert.equal([of.ffmpeg?.state, /@napi-rs\/webcodecs reads/.test(of.ffmpeg?.found ?? "")], ["ok", true]);
  else assert.equal([of.ffmpeg?.state, /npm install @napi-rs\/webcodecs/.test(of.ffmpeg?.next ?? "")], ["note", true]);
});

test("the oldest Node is the one of package.json", () => {
  const { engines } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const [major, minor] = /^>=(\d+)\.(\d+)$/.exec(engines.node)!.slice(1).map(Number) as [number, number];
  for (const version of [`${major}.${minor}.0`, `${major}.${minor + 1}.0`, `${major + 1}.0.0`, "100.0.0"])
    assert.ok(isNewEnough(version), version);
  for (const version of [`${major}.${minor - 1}.9`, `${major - 1}.99.0`]) assert.not.ok(isNewEnough(version), version);
});

test.run();
