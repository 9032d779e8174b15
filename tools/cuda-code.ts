// What compilers made of a kernel's main loop, for cuda-budgets.ts: the instructions of the innermost loop that computes on tensor cores, in the card's
// own code where a disassembler is at hand, in PTX otherwise. A loop is what lies between a label and the last branch back to it.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";

/**
 * Of a line `// loop of TYPE, TYPE: mma.sync, at most N instructions a weight, P in PTX` above a kernel; `of`: of its instances that name these types.
 * Without a number: no more than the kind of tensor instruction, no shuffles, no local memory, and sixteen bytes at once among what it loads.
 */
export interface LoopRule {
  types: readonly string[];
  tensor: "mma.sync" | "wgmma";
  perWeight: number | undefined;
  perWeightPtx: number | undefined;
}

export function loopRule(line: string): LoopRule | undefined {
  const found = /loop(?: of ([\w, ]+))?: (mma\.sync|wgmma)(?:, at most ([\d.]+) instructions a weight, ([\d.]+) in PTX)?/.exec(line);
  if (!found) return undefined;
  const [, types, tensor, perWeight, perWeightPtx] = found;
  const number = (text: string | undefined) => (text === undefined ? undefined : Number(text));
  return {
    types: types?.split(", ") ?? [],
    tensor: tensor as LoopRule["tensor"],
    perWeight: number(perWeight),
    perWeightPtx: number(perWeightPtx),
  };
}

/** Of a line `// code: TYPE alone, loads of sixteen bytes` above a kernel whose loads and products are in loops of different warps. */
export function codeRule(line: string): LoopRule["tensor"] | undefined {
  return /code: (mma\.sync|wgmma) alone, loads of sixteen bytes/.exec(line)?.[1] as LoopRule["tensor"] | undefined;
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
  tensor: Record<LoopRule["tensor"], RegExp>;
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
  tensor: { "mma.sync": /\bHMMA\b/, wgmma: /\bHGMMA\b/ },
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
  wide: /\bld\.global(\.\w+)*\.v4\.[ubfs]32\b|\bcp\.async\.cg\b/,
  narrow: /\bld\.global(?!(\.\w+)*\.v4\.[ubfs]32\b)/,
  shuffle: /\bshfl\b/,
  local: /\b(ld|st)\.local\b/,
};

/** Instructions of each kernel, and where its labels are. */
function kernels(text: string, language: Language): Map<string, { code: string[]; labels: Map<string, number> }> {
  const found = new Map<string, { code: string[]; labels: Map<string, number> }>();
  let now: { code: string[]; labels: Map<string, number> } | undefined;
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

/** The shortest loop with a tensor instruction of any kind that loads global memory too; where none does, the shortest with a tensor instruction. */
function mainLoop({ code, labels }: { code: string[]; labels: Map<string, number> }, language: Language): string[] | undefined {
  const loops: string[][] = [];
  code.forEach((line, at) => {
    const begin = labels.get(language.target.exec(line)?.[1] ?? "");
    if (begin !== undefined && begin <= at) loops.push(code.slice(begin, at + 1));
  });
  const kinds = Object.values(language.tensor);
  const computing = loops.filter((body) => body.some((line) => kinds.some((kind) => kind.test(line)))).sort((a, b) => a.length - b.length);
  return computing.find((body) => body.some((line) => language.wide.test(line) || language.narrow.test(line))) ?? computing[0];
}

const readableName = (mangled: string) => spawnSync("c++filt", [mangled], { encoding: "utf8" }).stdout?.trim() || mangled;
const titleOf = (name: string, readable: string) => `${name}${/<.*?>(?=\()/.exec(readable.slice(readable.indexOf(`${name}<`)))?.[0] ?? ""}`;

/** What is wrong with the whole code of kernels whose demangled name holds `name`: products of another kind, no wide load, local memory. */
export function checkCode(text: string, isSass: boolean, name: string, tensor: LoopRule["tensor"]): string[] {
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

const WEIGHTS_A_LOAD = 32; // codes of 4 bit in sixteen bytes

/** What is wrong with the loops of kernels whose demangled name holds `name`; and what they cost, in words. */
export function checkLoops(text: string, isSass: boolean, name: string, rule: LoopRule): { problems: string[]; said: string[] } {
  const language = isSass ? SASS : PTX;
  const limit = isSass ? rule.perWeight : rule.perWeightPtx;
  const problems: string[] = [];
  const said: string[] = [];
  for (const [mangled, kernel] of kernels(text, language)) {
    const readable = readableName(mangled);
    if (!new RegExp(`\\b${name}<`).test(readable)) continue;
    if (!rule.types.every((type) => new RegExp(`<[^(]*\\b${type}\\b`).test(readable))) continue;
    const title = titleOf(name, readable);
    const body = mainLoop(kernel, language);
    if (!body) {
      problems.push(`${title} has no loop with a tensor instruction`);
      continue;
    }
    const count = (pattern: RegExp) => body.filter((line) => pattern.test(line)).length;
    const weights = WEIGHTS_A_LOAD * count(language.wide);
    if (!count(language.tensor[rule.tensor])) problems.push(`${title}: its loop has no ${rule.tensor}`);
    if (!weights) problems.push(`${title}: its loop loads no sixteen bytes of global memory at once`);
    if (limit !== undefined && count(language.narrow))
      problems.push(`${title}: its loop has ${count(language.narrow)} loads of global memory of less than sixteen bytes`);
    if (count(language.shuffle)) problems.push(`${title}: its loop has ${count(language.shuffle)} shuffles`);
    if (count(language.local)) problems.push(`${title}: its loop touches local memory`);
    const each = body.length / weights;
    if (weights && limit !== undefined && each > limit)
      problems.push(`${title}: ${each.toFixed(2)} instructions a weight, more than ${limit}`);
    const cost = limit === undefined ? `${body.length} instructions` : `${each.toFixed(2)} instructions a weight`;
    if (weights) said.push(`${title} ${cost}${isSass ? "" : " in PTX"}, ${count(language.tensor[rule.tensor])} of them ${rule.tensor}`);
  }
  if (!problems.length && !said.length) problems.push(`${name}: no instance of it was compiled`);
  return { problems, said };
}
