// `npm run bench -- SUITE [options]`: one file of suites/ per suite. Every figure is measured in this run; `--json FILE` keeps the rows together
// with machine, commit and command.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { type Row, SIZE_NAMES, type Suite } from "./suite.js";

const suites = readdirSync(new URL("./suites", import.meta.url)).map((file) => file.replace(/\.ts$/, ""));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string" },
    rival: { type: "string" },
    level: { type: "string" },
    threads: { type: "string" },
    filter: { type: "string" },
    size: { type: "string" },
    folder: { type: "string" },
    json: { type: "string" },
    resume: { type: "boolean" },
    help: { type: "boolean" },
  },
});

const USAGE = `npm run bench -- SUITE [--device cpu|cuda] [--rival PYTHON] [--level LEVEL] [--threads N] [--filter WORD] [--size SIZE] [--folder FOLDER] [--json FILE [--resume]]
--device: of ops, decode and train-step; --rival (a Python that has PyTorch), --resume (what FILE has of this commit is not measured again): of ops; --size: the language model of train-step and decode, ${SIZE_NAMES.join(", ")}; --folder: the checkpoint that load takes
suites: ${suites.join(", ")}`;

function machine(): Record<string, unknown> {
  const processors = cpus();
  let commit = "unknown";
  try {
    commit = execFileSync("git", ["describe", "--always", "--dirty"], { encoding: "utf8", cwd: new URL("..", import.meta.url) }).trim();
  } catch {
    // a tarball has no history
  }
  return {
    cpu: processors[0]?.model,
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.versions.node,
    commit,
    date: new Date().toISOString(),
  };
}

const name = positionals[0] ?? "";
if (values.help || !suites.includes(name)) {
  console.log(USAGE);
  process.exitCode = values.help ? 0 : 1;
} else {
  const where = machine();
  console.log(`${where.cpu}, ${where.cores} cores, ${where.memoryGiB} GiB, Node ${where.node}, ${where.commit}`);
  const command = `npm run bench -- ${process.argv.slice(2).join(" ")}`;
  console.log(command);
  const facts: Record<string, unknown> = {};
  /** Replaced as a whole, so that a run that is ended in between leaves what it had. */
  const keep = (rows: readonly Row[]) => {
    if (!values.json) return;
    writeFileSync(`${values.json}.part`, `${JSON.stringify({ ...where, command, ...facts, rows }, null, 1)}\n`);
    renameSync(`${values.json}.part`, values.json);
  };
  const before: { commit?: unknown; rows?: Row[] } =
    values.resume && values.json && existsSync(values.json) ? JSON.parse(readFileSync(values.json, "utf8")) : {};
  const measured = (cells: Row): Row | undefined =>
    before.commit === where.commit
      ? before.rows?.find((row) => Object.entries(cells).every(([key, cell]) => row[key] === cell))
      : undefined;
  const { default: suite } = (await import(`./suites/${name}.ts`)) as { default: Suite };
  const rows = await suite({
    device: values.device ?? "cpu",
    rival: values.rival,
    level: values.level,
    threads: values.threads ? Number(values.threads) : undefined,
    filter: values.filter ?? "",
    size: values.size ?? "small",
    folder: values.folder,
    row: keep,
    measured,
    fact: (name, value) => {
      facts[name] = value;
    },
  });
  keep(rows);
}
