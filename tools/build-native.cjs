#!/usr/bin/env node
// Builds the addon (and, with --cuda, the CUDA module) through cmake-js into build/. Called by npm scripts, by binding.gyp and by prebuildify.
// What is missing is said in one sentence with the command to run.
"use strict";
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const root = path.join(__dirname, "..");

function version(command, args = ["--version"]) {
  const r = spawnSync(command, args, { encoding: "utf8" });
  return r.status === 0 ? (r.stdout || r.stderr) : undefined;
}

function fail(sentence) {
  console.error(`anymal: ${sentence}`);
  process.exit(1);
}

const debian = fs.existsSync("/etc/debian_version");
const install = (debianPackages, other) => (debian ? `run: sudo apt-get install -y ${debianPackages}` : other);

const compiler = process.env.CXX || ["c++", "g++", "clang++"].find((c) => version(c));
if (!compiler || !version(compiler)) fail(`building the addon needs a C++20 compiler and none was found; ${install("g++", "install g++ 10 or clang 13 or newer")}`);
const cmake = version("cmake");
const [major, minor] = (/(\d+)\.(\d+)/.exec(cmake || "") || []).slice(1).map(Number);
if (!cmake || major < 3 || (major === 3 && minor < 22))
  fail(`building the addon needs CMake 3.22 or newer${cmake ? `, found ${major}.${minor}` : " and none was found"}; ${install("cmake", "install it from cmake.org")}`);
if (!version("ninja") && !version("make")) fail(`building the addon needs ninja or make and neither was found; ${install("ninja-build", "install ninja")}`);

let cmakeJs;
try {
  cmakeJs = require.resolve("cmake-js/bin/cmake-js", { paths: [root] });
} catch {
  fail("building the addon needs the development packages; run: npm ci");
}

const cuda = process.argv.includes("--cuda");
if (cuda && !version("nvcc")) fail("building the CUDA module needs nvcc on PATH; install the CUDA toolkit 12.4 or newer");

const args = [cmakeJs, "compile", "--out", path.join(root, "build", "cmake"), "--config", "Release", `--CDANYMAL_CUDA=${cuda ? "ON" : "OFF"}`];
const quiet = process.argv.includes("--quiet");
const r = spawnSync(process.execPath, args, { cwd: root, stdio: quiet ? ["ignore", "pipe", "pipe"] : ["ignore", "inherit", "inherit"], encoding: "utf8" });
if (r.status !== 0) {
  if (quiet) process.stderr.write((r.stdout || "") + (r.stderr || ""));
  fail("the native build failed; the compiler's first error above says where");
}
