// What stands in the way of a CUDA module is told in words, and the process goes on: no module, another file, another version, no card.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { device, openDevice, Tensor } from "../../lib/index.js";

const folder = mkdtempSync(join(tmpdir(), "anymal-modules-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));
const root = fileURLToPath(new URL("../..", import.meta.url));

const SCRIPT = `import { device, Tensor } from "${root}lib/index.js";
try { device("cuda"); console.log("opened"); } catch (error) { console.log(error.code, error.message); }
const warnings = [];
process.on("warning", (w) => warnings.push(w.message));
const d = device("auto");
device("auto");
const x = Tensor.from([1, 2], [2], { device: d });
console.log(d.name, (await x.data()).join());
setImmediate(() => console.log(warnings.filter((w) => w.includes("running on the CPU")).length));`;

/** What a process says that looks for its CUDA module at `path`. */
function asked(path: string): string[] {
  const env = { ...process.env, ANYMAL_CUDA_MODULE: path };
  const r = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", SCRIPT], { encoding: "utf8", env, cwd: root });
  assert.is(r.status, 0, r.stderr);
  return r.stdout.trim().split("\n");
}

/** A shared library from a few lines of C++. */
function library(name: string, source: string): string {
  const [file, out] = [join(folder, `${name}.cc`), join(folder, `${name}.so`)];
  writeFileSync(file, source);
  const r = spawnSync(process.env.CXX ?? "c++", ["-std=c++20", "-shared", "-fPIC", `-I${root}native`, "-o", out, file], {
    encoding: "utf8",
  });
  assert.is(r.status, 0, r.stderr);
  return out;
}

function refused(path: string, reason: RegExp): void {
  const [error, fallback, warned] = asked(path);
  assert.match(error!, /^E_DEVICE device "cuda": /);
  assert.match(error!, reason);
  assert.match(error!, /use device\("cpu"\), or device\("auto"\) to fall back by itself$/);
  assert.is(fallback, "cpu 1,2");
  assert.is(warned, "1", "the fallback is told once");
}

test("no module", () => refused(join(folder, "nowhere.so"), /could not be opened .*nowhere\.so/));

test("a file that is no library", () => {
  const path = join(folder, "text.so");
  writeFileSync(path, "not a library");
  refused(path, /could not be opened .*text\.so/);
});

test("a library that is no module", () => refused(library("other", "int other = 1;"), /other\.so is not an anymal CUDA module/));

test("a module of another version", () => {
  const source = `#include "backend.h"
static const anymal::Backend table{anymal::kBackendVersion + 1, "cuda"};
extern "C" const anymal::Backend* anymal_backend_cuda(uint32_t) { return &table; }`;
  refused(library("version", source), /another version of the backend table .* install both from one release/);
});

test("a module that finds no card", () => {
  const source = `#include "backend.h"
#include <stdexcept>
static anymal::Stream* create(const char*) { throw std::runtime_error("the NVIDIA driver sees no card"); }
static const anymal::Backend table{anymal::kBackendVersion, "cuda", create};
extern "C" const anymal::Backend* anymal_backend_cuda(uint32_t) { return &table; }`;
  refused(library("no-card", source), /the NVIDIA driver sees no card/);
});

// The module waits in its first function until JavaScript has answered it: a thread that were held there would never answer.
test("a model that loads by a device's name, and openDevice(), leave the thread to others", () => {
  const source = `#include <cstdio>
#include <cstdlib>
#include <unistd.h>
extern "C" const void* anymal_backend_cuda(unsigned) {
  for (int i = 0; i < 3000 && access(std::getenv("ANYMAL_TEST_ANSWER"), F_OK); ++i) usleep(10000);
  puts(access(std::getenv("ANYMAL_TEST_ANSWER"), F_OK) ? "held" : "answered");
  fflush(stdout);
  return nullptr;
}`;
  const script = (call: string) => `import { writeFileSync } from "node:fs";
import { AutoModelForCausalLM, openDevice } from "${root}lib/index.js";
setImmediate(() => writeFileSync(process.env.ANYMAL_TEST_ANSWER, ""));
await ${call}.then(() => console.log("opened"), (error) => console.log(error.code));`;
  const module = library("slow", source);
  for (const [i, call] of [
    'openDevice("cuda")',
    'AutoModelForCausalLM.fromPretrained("models/tiny/llama", { device: "cuda" })',
  ].entries()) {
    const env = { ...process.env, ANYMAL_CUDA_MODULE: module, ANYMAL_TEST_ANSWER: join(folder, `answer-${i}`) };
    const r = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script(call)], {
      encoding: "utf8",
      env,
      cwd: root,
    });
    assert.is(r.stdout, "answered\nE_DEVICE\n", r.stderr);
  }
});

test("openDevice() gives the device that device() gives, whoever comes first", async () => {
  const [a, b] = await Promise.all([openDevice("cpu", { threads: 1 }), openDevice("cpu", { threads: 1 })]);
  assert.is(a, b);
  assert.is(device("cpu", { threads: 1 }), a);
  const later = openDevice("cpu", { threads: 2 });
  const sooner = device("cpu", { threads: 2 });
  assert.is(await later, sooner);
  assert.equal(await Tensor.from([1, 2], [2], { device: sooner }).data(), new Float32Array([1, 2]));
  await a.close();
  const again = await openDevice("cpu", { threads: 1 });
  assert.is.not(again, a);
  assert.equal(await Tensor.from([3], [1], { device: again }).data(), new Float32Array([3]));
  const failed = await openDevice("abacus").catch((error) => error);
  assert.is(failed.code, "E_DEVICE");
  assert.match(failed.message, /expected device "cpu" or "cuda", got "abacus"/);
});

test.run();
