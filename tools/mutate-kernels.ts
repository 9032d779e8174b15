// `npm run test:mutations`: are the kernels' barriers, fences and waits under test? Each is deleted in turn, the touched op file is compiled again for
// the emulator's checked variant, and the ops of that file run under a few schedules. A deletion that nobody notices means that the line is not
// needed, or that no case reaches it; either is a failure.
//   npm run test:mutations -- --file norm       only files of cuda/ whose path contains the text
//   --seeds N    schedules per deletion (3)     --jobs N    deletions side by side (1)
// A line that must stay although no run can show why says so: `__syncthreads();  // kept: reason`.
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");
const build = join(root, "build/emulator");
const work = join(root, "build/mutations");
const driver = join(root, "build/cmake/backend_ops");
const LIMIT_MS = 10 * 60_000; // generous: a machine that is busy with other things must not count as one that noticed
const CALL =
  /(?:\b__syncthreads\(\)|\b__syncwarp\([^()]*\)|\b__threadfence\(\)|(?<!\w)(?:\w+::)*ptx::\w*(?:wait|commit|fence|arrive)\w*(?:<[^<>;]*>)?\([^;]*\));/g;

const { values } = parseArgs({ options: { file: { type: "string" }, seeds: { type: "string" }, jobs: { type: "string" } } });
const seeds = Number(values.seeds ?? 3);
const jobs = Number(values.jobs ?? 1);

const files = readdirSync(join(root, "cuda"), { recursive: true, encoding: "utf8" }).filter((file) => /\.cuh?$/.test(file));
const text = new Map(files.map((file) => [file, readFileSync(join(root, "cuda", file), "utf8")]));
const opNames = new Set([...readFileSync(join(root, "native/ops.def"), "utf8").matchAll(/^OP\((\w+)\)/gm)].map((m) => m[1] as string));

/** The files of cuda/ that one includes, itself among them, however far. */
function included(file: string, found = new Set<string>()): Set<string> {
  if (found.has(file)) return found;
  found.add(file);
  for (const [, name] of (text.get(file) ?? "").matchAll(/^#include "([^"]+)"/gm))
    for (const path of [join(dirname(file), name as string), name as string]) if (text.has(path)) included(path, found);
  return found;
}

/** The ops that a .cu file defines; one that only helps its neighbours is under test in theirs. */
function opsOf(file: string): string[] {
  const own = [...(text.get(file) ?? "").matchAll(/^void (\w+)\(Stream&/gm)].map((m) => m[1] as string).filter((name) => opNames.has(name));
  if (own.length || dirname(file) === ".") return own;
  return files.filter((other) => other.endsWith(".cu") && other !== file && dirname(other) === dirname(file)).flatMap(defined);
}
const defined = (file: string) =>
  [...(text.get(file) ?? "").matchAll(/^void (\w+)\(Stream&/gm)].map((m) => m[1] as string).filter((name) => opNames.has(name));

interface Deletion {
  file: string;
  line: number;
  call: string;
  mutated: string; // the whole file
  kept?: string;
  users: string[]; // .cu files to compile, those that name the function first
}

function deletions(file: string): Deletion[] {
  const lines = (text.get(file) as string).split("\n");
  const list: Deletion[] = [];
  let enclosing = "";
  lines.forEach((line, i) => {
    const head = /^(?:template.*|.*__(?:device|global)__.*?)?\b(\w+)\(/.exec(line);
    if (head && /__device__|__global__/.test(`${lines[i - 1] ?? ""}${line}`))
      enclosing = line.includes("__launch_bounds__") ? enclosing : (head[1] as string);
    const code = line.replace(/\/\/.*/, "");
    if (file === "ptx.cuh" || file === "hopper.cuh") return; // the wrappers themselves
    for (const match of code.matchAll(CALL)) {
      const without = `${line.slice(0, match.index)};${line.slice((match.index as number) + match[0].length)}`;
      const users = files.filter((cu) => cu.endsWith(".cu") && included(cu).has(file) && opsOf(cu).length);
      const names = (cu: string) => (enclosing && [...included(cu)].some((f) => f !== file && text.get(f)?.includes(enclosing)) ? 0 : 1);
      list.push({
        file,
        line: i + 1,
        call: match[0],
        mutated: [...lines.slice(0, i), without, ...lines.slice(i + 1)].join("\n"),
        kept: /\/\/ kept: (.*)/.exec(line)?.[1],
        users: file.endsWith(".cu") ? [file] : users.sort((a, b) => names(a) - names(b)),
      });
    }
  });
  return list;
}

function must(command: string, args: string[]): void {
  const r = spawnSync(command, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 });
  if (r.status === 0) return;
  console.error(`${r.stdout ?? ""}${r.stderr ?? ""}\n${command} ${args.join(" ")} failed${r.error ? `: ${r.error.message}` : ""}`);
  process.exit(1);
}

interface Ending {
  ok: boolean;
  output: string;
}
function ends(command: string, args: string[], env: Record<string, string> = {}): Promise<Ending> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: build, env: { ...process.env, ...env }, timeout: LIMIT_MS, killSignal: "SIGKILL" });
    let output = "";
    const take = (chunk: Buffer) => {
      output += chunk;
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.on("error", (error) => resolve({ ok: false, output: String(error) }));
    child.on("close", (code, signal) => resolve({ ok: code === 0, output: signal ? `${output}\nFAIL ended by ${signal}` : output }));
  });
}

/** Files whose kernels run on Hopper cards alone, where they are asked for, and only for many rows. */
const isHopper = (file: string) => /\bhopper/.test(file);

/** The first thing that is noticed under any schedule. */
async function noticed(module: string, ops: string[], hopper: boolean): Promise<string | undefined> {
  for (let seed = 0; seed < seeds; ++seed) {
    const env = { EMU_SEED: String(seed), ...(hopper ? { EMU_CAPABILITY: "90", ANYMAL_CUDA_WGMMA: "1" } : {}) };
    const under = ops.length ? ["--ops", ops.join(","), ...(hopper ? ["--many-rows"] : [])] : ["--peaks"]; // the only kernels of no op that wait
    const args = [module, ...under, "--seed", String(seed + 1)];
    const { ok, output } = await ends(driver, args, env);
    if (!ok) return `seed ${seed}: ${/^(?:EMU|FAIL).*/m.exec(output)?.[0].slice(0, 120) ?? "it does not end well"}`;
  }
  return undefined;
}

interface Compilation {
  file: string;
  command: string;
  output: string;
}
/** How the checked variant compiles each of its files: mutants go the same way, from a copy of cuda/. */
function compilations(): Compilation[] {
  const all = JSON.parse(readFileSync(join(build, "compile_commands.json"), "utf8")) as { command: string; file: string }[];
  return all
    .filter(({ command }) => /CMakeFiles\/(anymal_emulated_checked_kernels|anymal_emulated_checked|runtime_checked)\.dir/.test(command))
    .map(({ command, file }) => ({
      file: relative(join(root, "cuda"), file),
      command,
      output: /-o (\S+\.o)/.exec(command)?.[1] as string,
    }));
}

/** undefined: survived. */
async function tryDeletion(d: Deletion, worker: number, all: Compilation[]): Promise<string | undefined> {
  const place = join(work, String(worker));
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  cpSync(join(root, "cuda"), join(place, "cuda"), { recursive: true });
  writeFileSync(join(place, "cuda", d.file), d.mutated);
  for (const user of d.users) {
    const c = all.find(({ file }) => file === user);
    if (!c) continue;
    const object = join(place, `${basename(user)}.o`);
    const command = c.command
      .replaceAll(`${root}/test/cuda-emulator/../../cuda`, join(place, "cuda"))
      .replaceAll(`${root}/cuda`, join(place, "cuda"))
      .replace(/-o \S+\.o/, `-o ${object}`);
    const compiled = await ends("sh", ["-c", command]);
    if (!compiled.ok) throw new Error(`cuda/${d.file}:${d.line} does not compile without ${d.call}:\n${compiled.output}`);
    const module = join(place, "mutant.so");
    const others = all.filter((other) => other !== c).map(({ output }) => output);
    const linked = await ends("c++", ["-shared", "-Wl,--exclude-libs,ALL", "-o", module, object, ...others, "-pthread"]);
    if (!linked.ok) throw new Error(linked.output);
    const how = await noticed(module, opsOf(user), isHopper(d.file));
    if (how) return how;
  }
  return undefined;
}

async function main(): Promise<number> {
  const list = files
    .sort()
    .filter((file) => !values.file || file.includes(values.file))
    .flatMap(deletions);
  const ninja = spawnSync("ninja", ["--version"]).status === 0 && !existsSync(join(build, "Makefile")) ? ["-G", "Ninja"] : [];
  must("cmake", ["-S", "test/cuda-emulator", "-B", build, ...ninja, "-DONLY=", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]);
  must("cmake", ["--build", build, "--parallel", "--target", "anymal_emulated_checked"]);
  must(process.execPath, [join(root, "tools/build-native.cjs"), "--quiet", "--backend-ops"]);
  const all = compilations();

  let failed = 0;
  for (const hopper of [false, true]) {
    const there = list.filter((d) => !d.kept && isHopper(d.file) === hopper);
    const ops = [...new Set(there.flatMap((d) => d.users.flatMap(opsOf)))];
    // Not every op of a folder has a case of many rows: all together have.
    for (const some of hopper ? (ops.length ? [ops] : []) : ops.map((op) => [op])) {
      const how = await noticed(join(build, "libanymal_emulated_checked.so"), some, hopper);
      if (how) console.log(`FAIL ${some} with nothing deleted: ${how}`);
      failed += how ? 1 : 0;
    }
  }
  if (failed) return 1; // whatever were deleted, it would be noticed

  let passed = 0;
  const queue = [...list];
  const drain = async (worker: number) => {
    for (let d = queue.shift(); d; d = queue.shift()) {
      const what = `cuda/${d.file}:${d.line} ${d.call}`;
      if (d.kept) {
        console.log(`kept ${what}: ${d.kept}`);
        continue;
      }
      let how: string | undefined;
      try {
        how = await tryDeletion(d, worker, all);
      } catch (error) {
        console.log(`FAIL ${(error as Error).message}`);
        ++failed;
        continue;
      }
      console.log(how ? `ok   ${what}: ${how}` : `FAIL ${what}: nobody noticed`);
      how ? ++passed : ++failed;
    }
  };
  await Promise.all(Array.from({ length: jobs }, (_, worker) => drain(worker)));
  console.log(`${passed} passed, ${failed} failed`);
  return failed ? 1 : 0;
}

process.exitCode = await main();
