// `npm run check:cuda`: compiles the kernels of matrix products and attention for sm_80 and holds what ptxas reports against the budget written
// above each kernel, `// budget: R registers, S KiB shared, 0 spills`: no instance may use more registers or static shared memory, spill, or have
// local memory. A file whose kernels have no budget is not looked at; a kernel of linear/ or attention/ without one fails.
// A kernel with a line `// loop: ...` above its budget has its main loop read as well (cuda-code.ts): sixteen-byte loads of global memory and no others,
// instructions of the kind that is named, no shuffles, so many instructions for each weight.
// `// code: ...`: the whole of its code has products of that kind alone, sixteen-byte loads and no local memory. A file that says `compiled for sm_X` is
// compiled for that card whatever is asked for. What ptxas calls a potential performance loss (products put in a row, registers not handed over) fails.
// Then one small source is compiled as build:cuda does it, to see that a module still has code for every card that the README promises, PTX for the others,
// and a runtime of its own (cuda-module.cjs); `-- module` does that alone.
//   npm run check:cuda -- --arch 90a    another card's: ptxas gives registers out anew for each
//   npm run check:cuda -- attention     only files whose path contains the word
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { checkCode, checkLoops, codeRule, findDisassembler, type LoopRule, loopRule } from "./cuda-code.js";
import { architecturesOf, complaintsOf, contentOf, flagsOf } from "./cuda-module.cjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const nvcc = process.env.CUDACXX ?? "nvcc";
const { values, positionals: words } = parseArgs({ options: { arch: { type: "string", default: "80" } }, allowPositionals: true });

interface Budget {
  registers: number;
  sharedBytes: number;
  loops: LoopRule[];
  code: ReturnType<typeof codeRule>;
}
interface Usage {
  kernel: string;
  registers: number;
  sharedBytes: number;
  stack: number;
  spills: number;
}

/** Name of each kernel of a source and its budget, if it has one. */
function budgets(text: string): Map<string, Budget | undefined> {
  const found = new Map<string, Budget | undefined>();
  let budget: Budget | undefined;
  let loops: LoopRule[] = [];
  let code: ReturnType<typeof codeRule>;
  let head: string | undefined; // of a kernel, from __global__ on: its name may stand on a later line
  for (const line of text.split("\n")) {
    const loop = loopRule(line);
    if (loop) loops.push(loop);
    code = codeRule(line) ?? code;
    const written = /budget: (\d+) registers, (\d+) KiB shared, 0 spills/.exec(line);
    if (written) budget = { registers: Number(written[1]), sharedBytes: Number(written[2]) * 1024, loops, code };
    if (line.includes("__global__")) head = "";
    if (head === undefined) continue;
    head += ` ${line}`;
    const name = /\bvoid\b.*?\b(\w+)\(\s*(?!\w+\)\s*\w+\()/.exec(head.replace(/__launch_bounds__\([^)]*\)/, ""));
    if (!name) continue;
    found.set(name[1] as string, budget);
    [budget, loops, code, head] = [undefined, [], undefined, undefined];
  }
  return found;
}

const archOf = (file: string) => /compiled for sm_(\w+)/.exec(readFileSync(join(root, file), "utf8"))?.[1] ?? values.arch;
const run = (command: string, args: string[]) => promisify(execFile)(command, args, { cwd: root, maxBuffer: 1 << 28 });
const compile = (file: string, ...args: string[]) =>
  run(nvcc, ["-std=c++20", `-arch=sm_${archOf(file)}`, "-Inative", "-Icuda", ...args, file]);

/** What ptxas says of every kernel in a file; instances of a template each have a line. */
async function usages(file: string, losses: string[]): Promise<Usage[]> {
  const { stderr } = await compile(file, "-Xptxas", "-v", "-c", "-o", "/dev/null");
  const demangled = spawnSync("c++filt", [], { input: stderr, encoding: "utf8", maxBuffer: 1 << 28 }).stdout ?? stderr;
  for (const [loss] of demangled.matchAll(/Potential Performance Loss[^\n]*/g)) losses.push(`${file}: ${loss}`);
  const list: Usage[] = [];
  for (const [, kernel, text] of demangled.matchAll(
    /Compiling entry function '(.+?)' for[^\n]*\n((?:(?!Compiling entry)[\s\S])*?Used \d+ registers[^\n]*)/g,
  )) {
    const number = (pattern: RegExp) => Number(pattern.exec(text as string)?.[1] ?? 0);
    list.push({
      kernel: kernel as string,
      registers: number(/Used (\d+) registers/),
      sharedBytes: number(/(\d+) bytes smem/),
      stack: number(/(\d+) bytes stack frame/),
      spills: number(/(\d+) bytes spill stores/) + number(/(\d+) bytes spill loads/),
    });
  }
  return list;
}

/** Where every kernel must have a budget. */
const folderOf = (file: string) => /\/(linear|attention)\//.exec(file)?.[1];

/** The kernels that a file compiles, its headers' among them, by name. */
function knownBudgets(file: string): Map<string, Budget | undefined> {
  const known = new Map<string, Budget | undefined>();
  const folder = folderOf(file);
  const headers = folder ? readdirSync(join(root, "cuda", folder)).filter((name) => name.endsWith(".cuh")) : [];
  for (const source of [...headers.map((name) => join(root, "cuda", folder as string, name)), join(root, file)])
    for (const [name, budget] of budgets(readFileSync(source, "utf8"))) known.set(name, budget);
  return known;
}

/** The main loops and the code that have a rule, in what was compiled. */
async function codeProblems(file: string, ruled: [string, Budget][]): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), "anymal-cubin-"));
  try {
    const compiled = join(folder, "compiled");
    await compile(file, disassembler ? "-cubin" : "-ptx", "-o", compiled);
    const text = disassembler ? (await run(disassembler, ["-c", compiled])).stdout : readFileSync(compiled, "utf8");
    const isSass = disassembler !== undefined;
    const found = ruled.flatMap(([name, { loops, code }]) => [
      ...loops.map((loop) => checkLoops(text, isSass, name, loop)),
      ...(code ? [{ problems: checkCode(text, isSass, name, code), said: [] as string[] }] : []),
    ]);
    for (const line of found.flatMap(({ said }) => said)) console.log(`     ${file}: ${line}`);
    return found.flatMap(({ problems }) => problems.map((problem) => `${file}: ${problem}`));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function check(file: string): Promise<string[]> {
  const known = knownBudgets(file);
  const problems: string[] = [];
  let most = 0;
  const list = await usages(file, problems);
  for (const { kernel, registers, sharedBytes, stack, spills } of list) {
    const name = [...known.keys()].find((k) => new RegExp(`\\b${k}[<(]`).test(kernel));
    const budget = name && known.get(name);
    most = Math.max(most, registers);
    if (!budget) {
      if (folderOf(file)) problems.push(`${file}: ${kernel} has no budget`);
      continue;
    }
    if (registers > budget.registers) problems.push(`${file}: ${kernel} uses ${registers} registers, more than ${budget.registers}`);
    if (sharedBytes > budget.sharedBytes) problems.push(`${file}: ${kernel} uses ${sharedBytes} bytes of shared memory`);
    if (spills || stack) problems.push(`${file}: ${kernel} spills ${spills} bytes and has ${stack} bytes of local memory`);
  }
  const own = budgets(readFileSync(join(root, file), "utf8"));
  const ruled = [...own].flatMap(([name, budget]): [string, Budget][] => (budget?.loops.length || budget?.code ? [[name, budget]] : []));
  if (ruled.length) problems.push(...(await codeProblems(file, ruled)));
  console.log(`${problems.length ? "FAIL" : "ok  "} ${file}: ${list.length} kernels, at most ${most} registers`);
  return problems;
}

/** What a module of CUDA 13 must hold, whatever build:cuda asks for. */
const PROMISED = ["80-real", "86-real", "89-real", "90a-real", "100-real", "110-real", "120-real", "80-virtual"];

/** What is wrong with a module of one source. */
async function embedding(): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), "anymal-module-"));
  try {
    const module = join(folder, "module.so");
    const flags = ["-std=c++20", "-Inative", "-Icuda", "-Xcompiler=-fPIC", "-shared", "-cudart=static", ...flagsOf(architecturesOf(nvcc))];
    await run(nvcc, [...flags, "-o", module, "cuda/probe.cu"]);
    const content = contentOf(module);
    const problems = complaintsOf(content, PROMISED);
    const { cards, ptx } = content.sources[0] ?? { cards: [], ptx: [] };
    const held = `code for ${cards.join(", ")}, PTX for ${ptx.join(", ")}, links to ${content.needed.join(", ")}`;
    console.log(`${problems.length ? "FAIL" : "ok  "} a module: ${held}`);
    return problems.map((problem) => `a module as build:cuda makes it: ${problem}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const disassembler = findDisassembler(nvcc);
const release = Number(/release (\d+)\./.exec(spawnSync(nvcc, ["--version"], { encoding: "utf8" }).stdout ?? "")?.[1] ?? 0);
if (release < 13) {
  console.log(`skipped: ${nvcc} of CUDA 13 was not found; the kernels' budgets were not looked at`);
} else {
  if (!disassembler) console.log("nvdisasm was not found (NVDISASM=FILE): loops are read in PTX");
  const queue = readdirSync(join(root, "cuda"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".cu"))
    .map((file) => `cuda/${file}`)
    .filter((file) => !words.length || words.some((word) => file.includes(word)))
    .filter((file) => folderOf(file) || [...knownBudgets(file).values()].some(Boolean))
    .sort((a, b) => Number(b.includes("/linear/")) - Number(a.includes("/linear/"))); // the slow ones first
  const problems: string[] = words.length && !words.includes("module") ? [] : await embedding();
  const drain = async () => {
    for (let file = queue.shift(); file; file = queue.shift()) problems.push(...(await check(file)));
  };
  await Promise.all(Array.from({ length: availableParallelism() }, drain));
  for (const problem of problems) console.log(problem);
  if (problems.length) process.exitCode = 1;
}
