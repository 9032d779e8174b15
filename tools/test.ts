// `npm test`: builds what changed, then runs the C++ tests and every test/**/*.test.ts, each in a process of its own, and closes with
// `N passed, N failed`. A file that crashes, tests nothing or outlasts its limit counts as a failure; the others go on.
//   npm test -- models core/lifecycle     only files whose path contains one of the words
//   npm test -- --native                  only the C++ tests
//   npm test -- --device cuda             only what runs ops, on that device: cpu, cuda, or emulated (npm run test:emulated builds it)
//   npm test -- --level avx2              at a lower dispatch level of the CPU: generic, avx2, avx512, avx512_bf16 or amx, as far as the machine has them
//   npm test -- --limit 60                seconds that a file may take
//   npm test -- --folder DIR              the test files of another folder, and nothing is built
//   npm test -- --ci                      also what depends on the dispatch level at every level of the machine, `npm run check`, the CUDA sources
//                                         emulated, the kernels' budgets and the packed tarball, as .ci/run does
import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { runToEnd } from "./test-process.js";

const root = fileURLToPath(new URL("..", import.meta.url));
/** Twice what the longest file takes on two cores; of an emulated device, and of what runs other suites, more. */
const [FILE_SECONDS, LONG_SECONDS] = [6 * 60, 25 * 60];

interface Suite {
  name: string;
  command: string;
  args: string[];
  /** A command that only succeeds or fails counts as one test. */
  whole?: boolean;
  /** The CPU's dispatch level, where it is not the highest. */
  level?: string;
}
interface Outcome {
  passed: number;
  failed: number;
  skipped: number;
}

const { positionals: words, values } = parseArgs({
  allowPositionals: true,
  options: {
    native: { type: "boolean" },
    ci: { type: "boolean" },
    device: { type: "string" },
    level: { type: "string" },
    limit: { type: "string" },
    folder: { type: "string" },
  },
});
const device = values.device ?? "cpu";
const limit = Number(values.limit ?? (device === "emulated" ? LONG_SECONDS : FILE_SECONDS));
if (!(limit > 0)) throw new RangeError(`--limit: expected seconds above 0, got ${values.limit}`);
/** Folders whose tests run on any device; what tests the CPU itself, the host or the command line is not among them. */
const ON_DEVICES = /^test\/(ops|nn|models|adapters|generate|train|anymal)\//;
/** What can tell one dispatch level from another, beside the C++ tests and test/ops/golden, which run at all of them. Half a minute a level, on two cores. */
const ON_LEVELS = /^test\/(ops\/bf16|adapters\/lora|models\/llama|generate\/generate|anymal\/anymal|train\/(stages|optimizer))\.test/;
const ON_EMULATED = /^test\/cuda-emulator\//;

const node = (...args: string[]) => ({ command: process.execPath, args });
const tsx = (...args: string[]) => node("--import", "tsx", ...args);
const chosen = (name: string) => !words.length || words.some((word) => name.includes(word));

function build(): void {
  const r = spawnSync(process.execPath, [join(root, "tools/build-native.cjs"), "--quiet", "--tests"], { stdio: "inherit" });
  if (r.status !== 0) process.exit(1);
}

function machineLevels(): string[] {
  const { command, args } = tsx(join(root, "tools/machine-levels.ts"));
  return JSON.parse(execFileSync(command, args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }));
}

function nativeSuites(): Suite[] {
  const names = readdirSync(join(root, "test/native")).filter((file) => file.endsWith(".cc"));
  return names.map((file) => ({
    name: `test/native/${file}`,
    command: join(root, "build/cmake", `native_test_${file.slice(0, -3)}`),
    args: [],
  }));
}

function typescriptSuites(): Suite[] {
  const folder = values.folder === undefined ? join(root, "test") : resolve(values.folder);
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".test.ts"));
  return files.sort().map((file) => ({ name: relative(root, join(folder, file)), ...tsx(join(folder, file)) }));
}

/** All stages anew, in less time than a card's. */
const BRIEFLY = ["--minutes", "12", "--again", "all"];
const atLevel = (suite: Suite, level: string): Suite => ({ ...suite, name: `${suite.name} at ${level}`, level });

/** All endings, and of the trainings that are killed the one with packing, dropout and sets of two kinds of media. */
const ENDED = "worker,exit,throw,abort,instruct";

const wholeSuites: Suite[] = [
  { name: "npm run check", ...tsx(join(root, "tools/check.ts")), whole: true },
  { name: "npm run test:emulated -- --brief", ...tsx(join(root, "tools/test-emulated.ts"), "--brief") },
  {
    name: "tools/on-a-card.sh --device emulated",
    command: join(root, "tools/on-a-card.sh"),
    args: ["--device", "emulated", ...BRIEFLY],
    whole: true,
  },
  { name: "npm run fuzz -- all --seconds 10", ...tsx(join(root, "tools/fuzz/main.ts"), "all", "--seconds", "10") },
  { name: "npm run check:cuda", ...tsx(join(root, "tools/cuda-budgets.ts")), whole: true },
  { name: "npm run test:package", ...tsx(join(root, "tools/test-package.ts")), whole: true },
  {
    name: "npm run endurance -- endings kills",
    ...tsx(join(root, "tools/endurance/main.ts"), "endings", "kills", "--count", "20", "--kills", "1", "--only", ENDED),
  },
  {
    name: "npm run endurance -- long",
    ...tsx(join(root, "tools/endurance/main.ts"), "long", "--answers", "240", "--steps", "80", "--loads", "16"),
  },
];

/** uvu closes with "Passed: N", the C++ tests with "N passed, N failed". */
function count(output: string, suite: Suite, ok: boolean): Outcome {
  if (suite.whole) {
    const skipped = ok && output.startsWith("skipped: ");
    return { passed: Number(ok && !skipped), failed: Number(!ok), skipped: Number(skipped) };
  }
  const number = (pattern: RegExp) => Number(output.match(pattern)?.[1] ?? 0);
  const native = [...output.matchAll(/^(\d+) passed, (\d+) failed$/gm)].at(-1);
  const skipped = number(/Skipped:\s+(\d+)/);
  const passed = native ? Number(native[1]) : number(/Passed:\s+(\d+)/);
  const failed = native ? Number(native[2]) : number(/Total:\s+(\d+)/) - number(/Passed:\s+(\d+)/); // uvu's total leaves skipped tests out
  const silent = passed + skipped === 0 || (!ok && failed === 0);
  return { passed, failed: failed + Number(silent), skipped };
}

async function run(suite: Suite): Promise<Outcome> {
  const env = {
    ...process.env,
    ANYMAL_DEVICE: device,
    ...(suite.level === undefined ? {} : { ANYMAL_CPU_LEVEL: suite.level }),
    ANYMAL_EMULATED_MODULE: process.env.ANYMAL_EMULATED_MODULE ?? join(root, "build/emulator/libanymal_emulated.so"),
  };
  const { output, ok, seconds, reason } = await runToEnd(suite, wholeSuites.includes(suite) ? LONG_SECONDS : limit, { cwd: root, env });
  const { passed, failed, skipped } = count(output, suite, ok);
  console.log(
    `${failed ? "FAIL" : "ok  "} ${suite.name}: ${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ""} (${seconds.toFixed(1)} s)`,
  );
  if (failed) console.log(reason ? `${output}\n${suite.name}: ${reason}` : output);
  for (const line of output.matchAll(/^skipped: .*$/gm)) console.log(`     ${line[0]}`);
  return { passed, failed, skipped };
}

async function main(): Promise<number> {
  const own = values.folder === undefined;
  if (own) build();
  const all = [...(own && device === "cpu" ? nativeSuites() : []), ...(values.native ? [] : typescriptSuites())];
  const levels = values.level !== undefined || (values.ci && device === "cpu") ? machineLevels() : [];
  if (values.level !== undefined && !(device === "cpu" && levels.includes(values.level))) {
    const wanted =
      device === "cpu" ? `one that this machine has (${levels.join(", ")})` : `none on --device ${device}: levels are the CPU's`;
    console.error(`--level: expected ${wanted}, got "${values.level}"`);
    return 1;
  }
  const meant = (name: string) => (ON_EMULATED.test(name) ? device === "emulated" : device === "cpu" || ON_DEVICES.test(name));
  const fitting = all.filter(({ name }) => chosen(name) && meant(name));
  const suites = values.level === undefined ? [...fitting] : fitting.map((suite) => atLevel(suite, values.level as string));
  if (values.ci && values.level === undefined)
    for (const level of levels.slice(0, -1))
      suites.push(...fitting.filter(({ name }) => ON_LEVELS.test(name)).map((suite) => atLevel(suite, level)));
  if (!suites.length) {
    console.error(`no test file's path contains ${words.join(" or ")}`);
    return 1;
  }
  const total: Outcome = { passed: 0, failed: 0, skipped: 0 };
  const drain = async (queue: Suite[]) => {
    for (let suite = queue.shift(); suite; suite = queue.shift()) {
      const { passed, failed, skipped } = await run(suite);
      total.passed += passed;
      total.failed += failed;
      total.skipped += skipped;
    }
  };
  await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, () => drain(suites)));
  if (values.ci) await drain([...wholeSuites]);
  if (total.skipped) console.log(`${total.skipped} skipped (the lines above say why)`);
  console.log(`${total.passed} passed, ${total.failed} failed`);
  return total.failed ? 1 : 0;
}

process.exitCode = await main();
