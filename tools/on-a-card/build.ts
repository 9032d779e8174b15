// The stage "build": the CUDA module for this card's architecture alone and the op suite, each where it was not brought. On the emulated device the
// module comes from npm run test:emulated, and nvcc, where there is one, compiles one file.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { buildModule, moduleIsCurrent } from "./module.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values } = parseArgs({ options: { device: { type: "string", default: "cuda" } } });

function must(command: string, args: string[]): void {
  const r = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (r.status === 0) return;
  console.log(`${command} ${args.join(" ")} failed${r.error ? `: ${r.error.message}` : ""}`);
  process.exit(1);
}
const answers = (command: string) => spawnSync(command, ["--version"]).status === 0;

/** 9.0 as CMake names it: with the features that only this card has. */
function architectureOf(capability: string): string {
  const number = capability.replace(".", "");
  return `${number}${Number(number) >= 90 ? "a" : ""}-real`;
}

function buildOps(): void {
  if (existsSync(join(root, "build/cmake/backend_ops"))) {
    console.log("backend_ops: there already");
    return;
  }
  const folder = join(root, "build/on-a-card");
  const output = `-DCMAKE_RUNTIME_OUTPUT_DIRECTORY=${join(root, "build/cmake")}`;
  must("cmake", ["-S", ".", "-B", folder, ...(answers("ninja") ? ["-G", "Ninja"] : []), output]);
  must("cmake", ["--build", folder, "--target", "backend_ops", "--parallel"]);
}

function buildCuda(): void {
  if (moduleIsCurrent(root)) {
    console.log("libanymal_cuda.so: there already, of these sources");
    return;
  }
  const r = spawnSync("nvidia-smi", ["--query-gpu=compute_cap", "--format=csv,noheader"], { encoding: "utf8" });
  const capability = /^\d+\.\d+/.exec(r.stdout ?? "")?.[0];
  if (!capability) {
    console.log(`nvidia-smi does not say which card this is: ${r.error?.message ?? r.stderr}`);
    process.exit(1);
  }
  if (!buildModule(root, architectureOf(capability))) process.exit(1);
}

if (!existsSync(join(root, "build/Release/anymal.node"))) {
  console.log(
    "build/Release/anymal.node is missing: build it where the packages are (npm run build:native) and bring it, see tools/on-a-card.sh --pack",
  );
  process.exit(1);
}
buildOps();
if (values.device === "cuda") buildCuda();
else if (!existsSync(join(root, "build/emulator/libanymal_emulated.so"))) {
  console.log("the emulated module is missing; npm run test:emulated builds it");
  process.exit(1);
} else if (answers("nvcc")) {
  must("nvcc", ["-std=c++20", "-arch=sm_90a", "-Inative", "-Icuda", "-c", "cuda/peak.cu", "-o", "/dev/null"]);
  console.log("cuda/peak.cu compiles for sm_90a");
} else console.log("skipped: no nvcc was found; the CUDA module was not built");
