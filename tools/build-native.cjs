#!/usr/bin/env node
// Builds the addon into build/Release through cmake-js. npm scripts, binding.gyp (node-gyp) and prebuildify all come here; the last
// two pass arguments of node-gyp, which have no meaning for CMake and are ignored.
//   --tests   the C++ tests of test/native as well        --quiet   say nothing unless the build fails
// Whatever is missing is said in one sentence with the command to run.
"use strict";
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const root = path.join(__dirname, "..");
const out = path.join(root, "build", "cmake");
const quiet = process.argv.includes("--quiet");

function fail(sentence) {
  console.error(`anymal: ${sentence}`);
  process.exit(1);
}

function runs(command, args = ["--version"], input = "") {
  const r = spawnSync(command, args, { encoding: "utf8", input });
  return r.status === 0 ? r.stdout : undefined;
}

/** Everything that is missing, in one sentence: a user who lacks the compiler usually lacks CMake as well. */
function checkTools() {
  const missing = [];
  const compiler = process.env.CXX || ["c++", "g++", "clang++"].find((name) => runs(name));
  const cpp20 = "#include <concepts>\n#include <span>\n#include <thread>\nstd::jthread t;\n";
  if (!compiler || !runs(compiler))
    missing.push(process.env.CXX ? `a C++20 compiler (CXX is "${process.env.CXX}", which does not run)` : "a C++20 compiler");
  else if (runs(compiler, ["-std=c++20", "-fsyntax-only", "-x", "c++", "-"], cpp20) === undefined)
    missing.push(`a C++20 compiler (g++ 11, clang 14 or newer; ${compiler} is ${runs(compiler).split("\n")[0]})`);
  const cmake = /(\d+)\.(\d+)/.exec(runs("cmake") ?? "");
  if (!cmake) missing.push("CMake 3.22 or newer");
  else if (Number(cmake[1]) * 100 + Number(cmake[2]) < 322) missing.push(`CMake 3.22 or newer (found ${cmake[0]})`);
  if (!runs("ninja") && !runs("make")) missing.push("ninja or make");
  if (missing.length > 0) fail(`building the addon needs ${missing.join(" and ")}; run: ${installCommand()}`);
}

function installCommand() {
  if (os.platform() === "darwin") return "xcode-select --install && brew install cmake ninja";
  const managers = {
    "apt-get": "sudo apt-get install -y g++ cmake ninja-build",
    dnf: "sudo dnf install -y gcc-c++ cmake ninja-build",
    apk: "sudo apk add g++ cmake ninja",
    pacman: "sudo pacman -S --needed gcc cmake ninja",
  };
  const found = Object.keys(managers).find((name) => ["/usr/bin", "/sbin", "/usr/sbin"].some((dir) => fs.existsSync(path.join(dir, name))));
  return managers[found ?? "apt-get"];
}

function findCmakeJs() {
  try {
    return require.resolve("cmake-js/bin/cmake-js", { paths: [root] });
  } catch {
    const installed = path.basename(path.dirname(root)) === "node_modules";
    fail(
      `building the addon needs the packages cmake-js and node-addon-api; run: ${installed ? "npm install --no-save cmake-js node-addon-api" : "npm ci"}`,
    );
  }
}

/** A cache made for other tools or by a clone that has since been moved is thrown away; otherwise the build is incremental. */
function dropStaleCache() {
  const cache = path.join(out, "CMakeCache.txt");
  const stamp = path.join(out, "anymal-stamp.json");
  const wanted = JSON.stringify({
    root,
    compiler: process.env.CXX ?? "",
    launcher: process.env.CMAKE_CXX_COMPILER_LAUNCHER ?? "",
    generator: runs("ninja") ? "Ninja" : "Unix Makefiles",
  });
  const found = fs.existsSync(stamp) ? fs.readFileSync(stamp, "utf8") : "";
  if (found !== wanted) fs.rmSync(cache, { force: true });
  fs.mkdirSync(out, { recursive: true });
  fs.writeFileSync(stamp, wanted);
}

function cmakeJs(target) {
  const args = [findCmakeJs(), "build", "--out", out, "--config", "Release", "--parallel", String(os.cpus().length)];
  if (process.env.CXX) args.push("--cxx", process.env.CXX, "--cc", process.env.CC ?? process.env.CXX);
  if (target) args.push("--target", target);
  const r = spawnSync(process.execPath, args, {
    cwd: root,
    stdio: ["ignore", quiet ? "pipe" : "inherit", quiet ? "pipe" : "inherit"],
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  if (r.status !== 0) {
    if (quiet) process.stderr.write(`${r.stdout}${r.stderr}`);
    fail("the native build failed; the first error above says where");
  }
}

checkTools();
dropStaleCache();
cmakeJs();
if (process.argv.includes("--tests")) cmakeJs("native_tests");
if (process.argv.includes("--backend-ops")) cmakeJs("backend_ops");
