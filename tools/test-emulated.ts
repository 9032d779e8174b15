// `npm run test:emulated`: the CUDA sources on the CPU. Builds the emulator's three variants, then runs its own tests, and every op against the CPU's:
// plain under several schedules and data, as cards of few and of many multiprocessors choose kernels, checked for races and bounds, with memory
// that runs out, and under the sanitizers. Every kernel of cuda/ must have been launched, and every instance of its template.
//   --brief   one schedule, no sanitizers, fewer tests of models: what CI has time for
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runToEnd } from "./test-process.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const build = join(root, "build/emulator");
const stats = join(build, `stats-${process.pid}`);
const LIMIT_SECONDS = 25 * 60;
/** Ops that have tiles for many processors only. */
const LARGE_TILES =
  "linear,linear_quantized,linear_quantized_dx,linear_quantized_lora_backward,linear_quantized_group_backward,head_cross_entropy";
const AT_ONCE = 2;
/** A Hopper card whose products of many rows are asked for on wgmma. */
const HOPPER = { EMU_CAPABILITY: "90", ANYMAL_CUDA_WGMMA: "1" };
/** Multiprocessors of an H100 or H200; the emulator's own card has four. */
const LARGE_CARD = 132;
const brief = process.argv.includes("--brief");
/** The emulator's own tests. */
const OWN = ["host", "ptx", "faults", "hopper", "hopper_faults"];

function must(command: string, args: string[]): void {
  const r = spawnSync(command, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 });
  if (r.status === 0) return;
  console.error(`${r.stdout ?? ""}${r.stderr ?? ""}`);
  console.error(`${command} ${args.join(" ")} failed${r.error ? `: ${r.error.message}; is it installed?` : ""}`);
  process.exit(1);
}

function buildAll(): void {
  const ninja = spawnSync("ninja", ["--version"]).status === 0 && !existsSync(join(build, "Makefile")) ? ["-G", "Ninja"] : [];
  must("cmake", ["-S", "test/cuda-emulator", "-B", build, ...ninja, "-DONLY="]);
  const targets = brief
    ? ["anymal_emulated", "anymal_emulated_checked", "emulator_test", ...OWN.map((test) => `${test}_test_plain`)]
    : ["anymal_emulated", "anymal_emulated_checked", "anymal_emulated_asan", "emulator_tests"];
  must("cmake", ["--build", build, "--parallel", String(AT_ONCE), "--target", ...targets]);
  must(process.execPath, [join(root, "tools/build-native.cjs"), "--quiet", "--backend-ops"]);
}

interface Run {
  name: string;
  command: string;
  args: string[];
  env: Record<string, string>;
}
interface Outcome {
  passed: number;
  failed: number;
}

/** A program that was not built with the address sanitizer opens a library that was. */
function sanitizerEnvironment(): Record<string, string> {
  const library = spawnSync("c++", ["-print-file-name=libasan.so"], { encoding: "utf8" }).stdout.trim();
  return { LD_PRELOAD: library, ASAN_OPTIONS: "detect_leaks=0", UBSAN_OPTIONS: "print_stacktrace=1" };
}

function runs(): Run[] {
  const own = (variant: string, seed: number) =>
    OWN.map((test) => ({
      name: `emulator: ${test}, ${variant}, schedule ${seed}`,
      command: join(build, "emulator_test"),
      args: [join(build, `lib${test}_test_${variant}.so`)],
      env: { EMU_SEED: String(seed), ...(variant === "asan" ? sanitizerEnvironment() : {}) },
    }));
  const ops = (variant: string, seed: number, data: number, env: Record<string, string> = {}) => ({
    name: `ops: ${variant}, schedule ${seed}, data ${data}${env.EMU_RESIDENT ? ", one block at a time" : ""}${env.EMU_PROCESSORS ? `, ${env.EMU_PROCESSORS} processors` : ""}`,
    command: join(root, "build/cmake/backend_ops"),
    args: [join(build, `libanymal_emulated${variant === "plain" ? "" : `_${variant}`}.so`), "--seed", String(data)],
    env: { EMU_SEED: String(seed), ...env },
  });
  // A Hopper card, asked for wgmma.
  const manyRows = (variant: string, seed: number, data: number) => {
    const hopper = ops(variant, seed, data, HOPPER);
    return { ...hopper, name: `${hopper.name}, many rows on a Hopper card`, args: [...hopper.args, "--many-rows"] };
  };
  // Wide heads have room for two stages on cards with much shared memory alone.
  const roomy = ops("plain", 1, 2, { EMU_CAPABILITY: "90" });
  const wideHeads = {
    ...roomy,
    name: `${roomy.name}, attention's gradients on a Hopper card`,
    args: [...roomy.args, "--op", "attention_backward"],
  };
  const faults = {
    name: "ops: memory that runs out, a card that fails",
    command: join(root, "build/cmake/backend_ops"),
    args: [join(build, "libanymal_emulated.so"), "--faults"],
    env: {},
  };
  const large = { EMU_PROCESSORS: String(LARGE_CARD) };
  if (brief) {
    const tiles = ops("plain", 2, 3, large); // all ops on as many processors would take a quarter of an hour
    return [
      ops("checked", 1, 2),
      { ...tiles, args: [...tiles.args, "--ops", LARGE_TILES] },
      manyRows("checked", 1, 2),
      wideHeads,
      faults,
      ...own("plain", 1),
    ];
  }
  return [
    ops("asan", 2, 3, sanitizerEnvironment()), // the longest first
    ops("checked", 1, 2), // what it finds does not hang on the schedule
    ...[0, 1, 2].map((seed) => ops("plain", seed, seed + 1)),
    ops("plain", 5, 6, { EMU_RESIDENT: "1" }),
    ops("plain", 3, 4, large),
    ops("plain", 4, 5, { EMU_PROCESSORS: "1" }),
    manyRows("checked", 1, 2),
    ...[0, 2].map((seed) => manyRows("plain", seed, seed + 3)),
    wideHeads,
    faults,
    ...["plain", "checked", "asan"].flatMap((variant) => [0, 1].flatMap((seed) => own(variant, seed))),
  ];
}

async function run({ name, command, args, env }: Run, index: number): Promise<Outcome> {
  // The emulator's own tests launch no kernel of cuda/.
  const all = { ...process.env, ...env, ...(name.startsWith("ops") ? { EMU_STATS: join(stats, String(index)) } : {}) };
  const { output, ok, seconds, reason } = await runToEnd({ command, args }, LIMIT_SECONDS, { cwd: root, env: all });
  const counts = /(\d+) passed, (\d+) failed\n$/.exec(output);
  const passed = Number(counts?.[1] ?? 0);
  let failed = Number(counts?.[2] ?? 0);
  if (!counts || (!ok && failed === 0)) ++failed;
  console.log(`${failed ? "FAIL" : "ok  "} ${name}: ${passed} passed, ${failed} failed (${seconds.toFixed(1)} s)`);
  if (failed) console.log(reason ? `${output}\n${reason}` : output);
  return { passed, failed };
}

/** Of the library's own tests those that together touch every op and both training stages; `npm test -- --device emulated` runs all, in half an hour. */
const SUITES = [
  "cuda-emulator",
  "ops/attention",
  "ops/large-logits",
  "ops/golden",
  "ops/bf16",
  "ops/random",
  "nn/",
  "models/llama.test",
  "models/trajectory",
  "models/imu2clip",
  "models/projectors",
];
const BRIEF = [
  "cuda-emulator",
  "ops/attention",
  "ops/large-logits",
  "ops/golden",
  "ops/bf16",
  "nn/",
  "models/imu2clip",
  "models/projectors",
];

function suites(): Promise<Outcome> {
  const args = ["--import", "tsx", "tools/test.ts", "--device", "emulated", ...(brief ? BRIEF : SUITES)];
  const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk;
    process.stdout.write(chunk.toString().replace(/^\d+ passed, \d+ failed\n/m, ""));
  });
  return new Promise((resolve) => {
    child.on("close", () => {
      const counts = /(\d+) passed, (\d+) failed\n$/.exec(output);
      resolve({ passed: Number(counts?.[1] ?? 0), failed: Number(counts?.[2] ?? 1) });
    });
  });
}

/** Instances that no size or address which a test can have chooses. */
const OUT_OF_REACH = [
  /swap_kernel<.*, long int>/, // more than 2^31 elements
  /each_kernel<1, .*WithRepeated<.*Repeat::packs>/, // its caller has seen to packs
];

/** What no run launched: names of `__global__` functions with their files, and instances of templates. */
function neverLaunched(): string[] {
  const launches = new Map<string, number>();
  for (const file of readdirSync(stats))
    for (const line of readFileSync(join(stats, file), "utf8").split("\n")) {
      const [kernel, count] = line.split("\t");
      if (kernel) launches.set(kernel, (launches.get(kernel) ?? 0) + Number(count));
    }
  const launched = new Set<string>();
  const missing: string[] = [];
  for (const [kernel, count] of launches)
    if (count > 0) launched.add(kernel.replace(/<.*/, "").replace(/^.*::/, ""));
    else if (!OUT_OF_REACH.some((pattern) => pattern.test(kernel))) missing.push(`the instance ${kernel}`);
  for (const file of readdirSync(join(root, "cuda"), { recursive: true, encoding: "utf8" })) {
    if (!/\.cuh?$/.test(file)) continue;
    const source = readFileSync(join(root, "cuda", file), "utf8").replace(/\/\/.*/g, "");
    for (const [, name] of source.matchAll(
      /__global__\s+(?:__launch_bounds__\((?:[^()]|\([^()]*\))*\)\s*)?void\s+(?:__launch_bounds__\((?:[^()]|\([^()]*\))*\)\s*)?(\w+)\(/g,
    ))
      if (!launched.has(name as string)) missing.push(`cuda/${file}: ${name}`);
  }
  return missing;
}

async function main(): Promise<number> {
  buildAll();
  mkdirSync(stats, { recursive: true });
  const total: Outcome = { passed: 0, failed: 0 };
  const queue = runs().map((r, index) => () => run(r, index));
  const drain = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const { passed, failed } = await next();
      total.passed += passed;
      total.failed += failed;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, drain));
  const missing = neverLaunched();
  rmSync(stats, { recursive: true, force: true });
  for (const kernel of missing) console.log(`FAIL ${kernel} was never launched`);
  total.failed += missing.length;
  if (!missing.length) ++total.passed;

  const device = await suites();
  total.passed += device.passed;
  total.failed += device.failed;

  console.log(`${total.passed} passed, ${total.failed} failed`);
  return total.failed ? 1 : 0;
}

process.exitCode = await main();
