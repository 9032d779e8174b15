// The course of tools/on-a-card.sh, once there is a Node to run it.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { RESULTS, runCourse, table } from "./course.js";
import { pack } from "./pack.js";
import { stagesFor } from "./stages.js";

const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
const USAGE = `tools/on-a-card.sh [--minutes 8] [--device cuda|emulated] [--out FOLDER] [--packed FOLDER] [--again all|STAGE,...]
tools/on-a-card.sh --pack FOLDER [--architecture 90a-real]
What is written goes to --out, or $OUT, as well as to runs/on-a-card; started again it goes on with the stages that have not ended.`;
const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "8" },
    device: { type: "string", default: "cuda" },
    out: { type: "string" },
    packed: { type: "string", default: "build/card" },
    pack: { type: "string" },
    architecture: { type: "string" },
    again: { type: "string", default: "" },
    help: { type: "boolean" },
  },
});

const answer = (command: string, ...args: string[]): string | undefined => {
  try {
    return execFileSync(command, args, { encoding: "utf8", cwd: root, stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return undefined;
  }
};

/** A checkout that travelled without its history was packed with its commit. */
function commitOf(): string {
  const here = answer("git", "describe", "--always", "--dirty");
  const packed = resolve(root, values.packed, "packed.json");
  return here ?? (existsSync(packed) ? `${JSON.parse(readFileSync(packed, "utf8")).commit} (as packed)` : "unknown");
}

function machine(python: string | undefined): Record<string, unknown> {
  const fields = "name,driver_version,memory.total,compute_cap,clocks.max.sm,clocks.max.memory,power.limit";
  const card = values.device === "cuda" ? answer("nvidia-smi", `--query-gpu=${fields}`, "--format=csv,noheader") : "emulated";
  return {
    card: card?.split("\n")[0] ?? "nvidia-smi gives no answer",
    nvcc: /release [\d.]+/.exec(answer("nvcc", "--version") ?? "")?.[0] ?? "none",
    torch: python ? answer(python, "-c", "import torch; print(torch.__version__, torch.version.cuda)") : "none",
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    date: new Date().toISOString(),
  };
}

async function main(): Promise<number> {
  const { device } = values;
  if (values.help || (device !== "cuda" && device !== "emulated") || !(Number(values.minutes) > 0)) {
    console.log(USAGE);
    return values.help ? 0 : 1;
  }
  const commit = commitOf();
  if (values.pack !== undefined) {
    pack(root, resolve(values.pack), commit, values.architecture);
    return 0;
  }
  const kept = join(root, "runs", device === "cuda" ? "on-a-card" : "on-a-card-emulated");
  const out = values.out ?? process.env.OUT;
  const folders = [...new Set([kept, ...(out ? [resolve(out)] : [])])];
  const python = answer("python3", "-c", "import torch") === undefined ? undefined : "python3";
  const sanitizer = ["compute-sanitizer", "/usr/local/cuda/bin/compute-sanitizer"].find((name) => answer(name, "--version"));
  const facts = machine(python);
  console.log(`${facts.card}; ${commit}; ${values.minutes} minutes; results go to ${folders.join(" and ")}`);
  const stages = stagesFor({ root, device, folder: folders.at(-1) as string, python, sanitizer });
  const again = values.again === "all" ? stages.map(({ name }) => name) : values.again.split(",").filter(Boolean);
  const report = await runCourse(stages, { minutes: Number(values.minutes), folders, machine: facts, commit, root, again });
  const open = stages.filter(({ name }) => !report.stages.some(({ stage, outcome }) => stage === name && outcome !== "out of time"));
  console.log(`\n${table(report.stages)}\n${join(folders.at(-1) as string, RESULTS)}`);
  if (open.length) console.log(`not ended: ${open.map(({ name }) => name).join(", ")}; start it again to go on`);
  return report.stages.some(({ outcome }) => outcome === "failed") ? 1 : open.length ? 2 : 0;
}

process.exitCode = await main();
