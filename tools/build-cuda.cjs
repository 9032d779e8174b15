#!/usr/bin/env node
// `npm run build:cuda`: the CUDA module, build/Release/libanymal_cuda.so, beside the addon that opens it at run time. Needs nvcc of CUDA 12.4 or newer, no
// GPU. A module runs with drivers of its CUDA's major number and newer ones: 580 and newer for CUDA 13, 525 and newer for CUDA 12.
//   --if-possible   says in a line why it does nothing, where there is no nvcc; the prebuild calls it so
//   --quiet         say nothing unless the build fails
// ANYMAL_CUDA_ARCHITECTURES: a CMake list in place of all cards since Ampere ("90a-real" is quick to build), or "none".
"use strict";
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { architecturesOf, complaintsOf, contentOf } = require("./cuda-module.cjs");

const root = path.join(__dirname, "..");
const out = path.join(root, "build", "cuda");
const has = (flag) => process.argv.includes(flag);
const architectures = process.env.ANYMAL_CUDA_ARCHITECTURES ?? "";

function output(command) {
  const r = spawnSync(command, ["--version"], { encoding: "utf8" });
  return r.status === 0 ? r.stdout : undefined;
}
/** /usr/local/cuda/bin is where NVIDIA's packages put it, without a word to PATH. */
const nvcc = [process.env.CUDACXX, "nvcc", "/usr/local/cuda/bin/nvcc"].find((name) => name && output(name));

function reasonAgainst() {
  if (architectures === "none") return "ANYMAL_CUDA_ARCHITECTURES is none";
  if (!nvcc) return "no nvcc was found; install CUDA 13's toolkit (package cuda-nvcc-13-0), or name nvcc in CUDACXX";
  const [, major, minor] = /release (\d+)\.(\d+)/.exec(output(nvcc)) ?? [];
  if (Number(major) * 100 + Number(minor) < 1204) return `CUDA 12.4 or newer is needed, ${nvcc} is of CUDA ${major}.${minor}`;
  if (!output("cmake")) return "CMake 3.22 or newer was not found";
  return undefined;
}

function run(args) {
  const stdio = has("--quiet") ? "pipe" : "inherit";
  const r = spawnSync("cmake", args, { cwd: root, stdio: ["ignore", stdio, stdio], encoding: "utf8", maxBuffer: 1 << 28 });
  if (r.status === 0) return;
  if (has("--quiet")) process.stderr.write(`${r.stdout}${r.stderr}`);
  console.error("anymal: building the CUDA module failed; the first error above says where");
  process.exit(1);
}

const reason = reasonAgainst();
if (reason) {
  // A module of an earlier build would be packed with an addon it may not fit.
  if (has("--if-possible")) fs.rmSync(path.join(root, "build", "Release", "libanymal_cuda.so"), { force: true });
  console.error(`anymal: the CUDA module is not built: ${reason}`);
  process.exit(has("--if-possible") ? 0 : 1);
}
const asked = architectures ? architectures.split(/[;,]/) : architecturesOf(nvcc);
const generator = output("ninja") ? ["-G", "Ninja"] : [];
run([
  "-S",
  ".",
  "-B",
  out,
  ...generator,
  "-DANYMAL_CUDA=ON",
  `-DCMAKE_CUDA_COMPILER=${nvcc}`,
  `-DCMAKE_CUDA_ARCHITECTURES=${asked.join(";")}`,
]);
run(["--build", out, "--target", "anymal_cuda", "--parallel", String(os.cpus().length)]);

const complaints = complaintsOf(contentOf(path.join(root, "build", "Release", "libanymal_cuda.so")), asked);
for (const complaint of complaints) console.error(`anymal: the CUDA module is not what was asked for: ${complaint}`);
if (complaints.length) process.exit(1);
