// What compilers made of a kernel's main loop, for cuda-budgets.ts: the instructions of the innermost loop that computes on tensor cores, in the card's
// own code where a disassembler is at hand, in PTX otherwise. A loop is what lies between a label and the last branch back to it.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";

/**
 * Of a line `// loop of TYPE, TYPE: mma.sync, at most N instructions a weight, P in PTX` above a kernel; `of`: of its instances that name these types;
 * `, W weights a load` behind it: that a lane uses of sixteen bytes, where that is not all 32. Without a number: no more than the kind of instruction, no shuffles, no local memory, and sixteen
 * bytes at once among what it loads. TMA: the loop of those who fill shared memory. `wgmma out of shared memory, at most N instructions, P in PTX`: the
 * loop of those who multiply, which touches no other memory.
 */
export interface LoopRule {
  types: readonly string[];
  kind: Kind;
  outOfShared: boolean;
  weightsALoad: number;
  limit: number | undefined; // for each weight, or out of shared memory, for a turn
  limitPtx: number | undefined;
}
type Tensor = "mma.sync" | "wgmma";
type Kind = Tensor | "TMA";

const CODES_A_LOAD = 32; // of 4 bit in sixteen bytes

export function loopRule(line: string): LoopRule | undefined {
  const found =
    /loop(?: of ([\w, ]+))?: (mma\.sync|wgmma|TMA)( out of shared memory)?(?:, at most ([\d.]+) instructions(?: a weight)?, ([\d.]+) in PTX(?:, (\d+) weights a load)?)?/.exec(
      line,
    );
  if (!found) return undefined;
  const [, types, kind, outOfShared, limit, limitPtx, weights] = found;
  const number = (text: string | undefined) => (text === undefined ? undefined : Number(text));
  return {
    types: types?.split(", ") ?? [],
    kind: kind as Kind,
    outOfShared: outOfShared !== undefined,
    weightsALoad: number(weights) ?? CODES_A_LOAD,
    limit: number(limit),
    limitPtx: number(limitPtx),
  };
}

/** Of a line `// code: TYPE alone, loads of sixteen bytes` above a kernel whose loads and products are in loops of different warps. */
export function codeRule(line: string): Tensor | undefined {
  return /code: (mma\.sync|wgmma) alone, loads of sixteen bytes/.exec(line)?.[1] as Tensor | undefined;
}

/** nvdisasm: $NVDISASM, beside nvcc, or on the path. CUDA's compiler comes without it; the toolkit and the wheel of triton have it. */
export function findDisassembler(nvcc: string): string | undefined {
  const named = process.env.NVDISASM;
  const places = [dirname(nvcc), ...(process.env.PATH ?? "").split(delimiter)].map((folder) => join(folder, "nvdisasm"));
  return [named, ...places].find((file) => file && existsSync(file));
}

interface Language {
  /** A kernel's beginning, with its mangled name. */
  kernel: RegExp;
  label: RegExp;
  /** An instruction of its own line, and the label that a branch goes to. */
  instruction: RegExp;
  target: RegExp;
  tensor: Record<Tensor, RegExp>;
  tma: RegExp;
  wide: RegExp;
  narrow: RegExp;
  shuffle: RegExp;
  local: RegExp;
}

const SASS: Language = {
  kernel: /^\.text\.(\S+):/,
  label: /^(\.L_x_\d+):/,
  instruction: /^\s+\/\*[0-9a-f]{4,}\*\/\s+(.*?);/,
  target: /\bBRA\b.*?`\((\.L_x_\d+)\)/,
  tensor: { "mma.sync": /\b[HI]MMA\b/, wgmma: /\b[HI]GMMA\b/ },
  tma: /\bUTMALDG\b/,
  wide: /\bLDG(STS)?\.E(\.\w+)*\.128\b/,
  narrow: /\bLDG\.E(?!(\.\w+)*\.128\b)/,
  shuffle: /\bSHFL\b/,
  local: /\b(LDL|STL)\b/,
};
const PTX: Language = {
  kernel: /^\.visible \.entry (\S+?)\(|^\.entry (\S+?)\(/,
  label: /^(\$L__BB\w+):/,
  instruction: /^\s+((?:@!?%p\d+ )?[a-z][\w.:]* .*|.*\bmma\..*);/,
  target: /\bbra(?:\.uni)?\s+(\$L__BB\w+)/,
  tensor: { "mma.sync": /\bmma\.sync\b/, wgmma: /\bwgmma\.mma_async\b/ },
  tma: /\bcp\.async\.bulk\.tensor\b/,
  wide: /\bld\.global(\.\w+)*\.v4\.[ubfs]32\b|\bcp\.async\.cg\b/,
  narrow: /\bld\.global(?!(\.\w+)*\.v4\.[ubfs]32\b)/,
  shuffle: /\bshfl\b/,
  local: /\b(ld|st)\.local\b/,
};

/** Instructions of each kernel, and where its labels are. */
function kernels(text: string, language: Language): Map<string, Kernel> {
  const found = new Map<string, Kernel>();
  let now: Kernel | undefined;
  for (const line of text.split("\n")) {
    const kernel = language.kernel.exec(line);
    if (kernel) {
      now = { code: [], labels: new Map() };
      found.set((kernel[1] ?? kernel[2]) as string, now);
    }
    const label = language.label.exec(line);
    if (label) now?.labels.set(label[1] as string, now.code.length);
    const instruction = language.instruction.exec(line);
    if (instruction) now?.code.push(instruction[1] as string);
  }
  return found;
}

interface Kernel {
  code: string[];
  labels: Map<string, number>;
}
const counted = (body: string[], pattern: RegExp) => body.filter((line) => pattern.test(line)).length;

/** Loops with an instruction of a kind, the shortest first. */
function loopsWith({ code, labels }: Kernel, language: Language, kind: RegExp): string[][] {
  const loops: string[][] = [];
  code.forEach((line, at) => {
    const begin = labels.get(language.target.exec(line)?.[1] ?? "");
    if (begin !== undefined && begin <= at) loops.push(code.slice(begin, at + 1));
  });
  return loops.filter((body) => counted(body, kind)).sort((a, b) => a.length - b.length);
}

const readableName = (mangled: string) => spawnSync("c++filt", [mangled], { encoding: "utf8" }).stdout?.trim() || mangled;
const titleOf = (name: string, readable: string) => `${name}${/<.*?>(?=\()/.exec(readable.slice(readable.indexOf(`${name}<`)))?.[0] ?? ""}`;

/** What is wrong with the whole code of kernels whose demangled name holds `name`: products of another kind, no wide load, local memory. */
export function checkCode(text: string, isSass: boolean, name: string, tensor: Tensor): string[] {
  const language = isSass ? SASS : PTX;
  const problems: string[] = [];
  let instances = 0;
  for (const [mangled, { code }] of kernels(text, language)) {
    const readable = readableName(mangled);
    if (!new RegExp(`\\b${name}<`).test(readable)) continue;
    ++instances;
    const title = titleOf(name, readable);
    const has = (pattern: RegExp) => code.some((line) => pattern.test(line));
    for (const [kind, pattern] of Object.entries(language.tensor))
      if (has(pattern) !== (kind === tensor)) problems.push(`${title} has ${kind === tensor ? "no " : ""}${kind}`);
    if (!has(language.wide)) problems.push(`${title} loads no sixteen bytes of global memory at once`);
    if (has(language.local)) problems.push(`${title} touches local memory`);
  }
  if (!instances) problems.push(`${name}: no instance of it was compiled`);
  return problems;
}

/**
 * The shortest loop with an instruction of the kind that loads global memory too, sixteen bytes at once if any does; where none loads, and out of shared
 * memory, the shortest with one. A kernel that adds LoRA's branch has other loops of that kind: its main loop is the one with the products and loads of
 * the kernel's that adds none.
 */
function mainLoop(
  title: string,
  mine: Kernel,
  others: Map<string, Kernel>,
  language: Language,
  kind: RegExp,
  shared: boolean,
): string[] | undefined {
  const loops = loopsWith(mine, language, kind);
  if (shared) return loops[0];
  const without = others.get(title.replace(/\w+<[^<>]*>>$/, "NoBranch>"));
  if (!/\bLoraBranch(es)?</.test(title) || !without)
    return loops.find((body) => counted(body, language.wide)) ?? loops.find((body) => counted(body, language.narrow)) ?? loops[0];
  const like = mainLoop("", without, others, language, kind, shared) ?? [];
  const same = (body: string[], pattern: RegExp) => counted(body, pattern) === counted(like, pattern);
  return loops.find((body) => same(body, kind) && same(body, language.wide));
}

/** What is wrong with the loops of kernels whose demangled name holds `name`; and what they cost, in words. */
export function checkLoops(text: string, isSass: boolean, name: string, rule: LoopRule): { problems: string[]; said: string[] } {
  const language = isSass ? SASS : PTX;
  const limit = isSass ? rule.limit : rule.limitPtx;
  const kind = rule.kind === "TMA" ? language.tma : language.tensor[rule.kind];
  const problems: string[] = [];
  const said: string[] = [];
  const named = new Map<string, Kernel>();
  for (const [mangled, kernel] of kernels(text, language)) {
    const readable = readableName(mangled);
    if (!new RegExp(`\\b${name}<`).test(readable)) continue;
    if (rule.types.every((type) => new RegExp(`<[^(]*\\b${type}\\b`).test(readable)))
      named.set(titleOf(name, readable).replaceAll(/\(anonymous namespace\)::|\w+::|\s/g, ""), kernel);
  }
  for (const [title, kernel] of named) {
    const body = mainLoop(title, kernel, named, language, kind, rule.outOfShared);
    if (!body) {
      problems.push(`${title} has no ${rule.kind} in a main loop`);
      continue;
    }
    const count = (pattern: RegExp) => counted(body, pattern);
    const weights = rule.weightsALoad * count(language.wide);
    const cost = rule.outOfShared || limit === undefined ? body.length : body.length / weights;
    const unit = rule.outOfShared || limit === undefined ? "instructions" : "instructions a weight";
    if (rule.outOfShared) {
      if (count(language.wide) + count(language.narrow)) problems.push(`${title}: its loop loads global memory`);
    } else {
      if (!weights) problems.push(`${title}: its loop loads no sixteen bytes of global memory at once`);
      if (limit !== undefined && rule.kind !== "TMA" && count(language.narrow))
        problems.push(`${title}: its loop has ${count(language.narrow)} loads of global memory of less than sixteen bytes`);
    }
    if (count(language.shuffle)) problems.push(`${title}: its loop has ${count(language.shuffle)} shuffles`);
    if (count(language.local)) problems.push(`${title}: its loop touches local memory`);
    if (limit !== undefined && cost > limit) problems.push(`${title}: ${Number(cost.toFixed(2))} ${unit}, more than ${limit}`);
    said.push(`${title} ${Number(cost.toFixed(2))} ${unit}${isSass ? "" : " in PTX"}, ${count(kind)} of them ${rule.kind}`);
  }
  if (!problems.length && !said.length) problems.push(`${name}: no instance of it was compiled`);
  return { problems, said };
}
