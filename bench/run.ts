// `npm run bench -- SUITE [options]`. Every figure is measured in this run. Suites of suites/ leave their rows as bench/schema.json says; those of tables/ fill a
// table of their own. `all` runs what the README's table is made of, `readme` writes that table.
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { basename, isAbsolute } from "node:path";
import { parseArgs } from "node:util";
import { setClock } from "./clock.js";
import { LEVELS } from "./levels.js";
import { commit, load, machine } from "./record.js";
import { Rivals } from "./rivals/index.js";
import { runSuite } from "./run-suite.js";
import { type Row, SIZE_NAMES, type Table } from "./suite.js";

const namesIn = (folder: string) => readdirSync(new URL(folder, import.meta.url)).map((file) => file.replace(/\.ts$/, ""));
const [suites, tables] = [namesIn("./suites"), namesIn("./tables")];
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string" },
    rivals: { type: "boolean" },
    python: { type: "string" },
    rival: { type: "string" },
    level: { type: "string" },
    levels: { type: "string" },
    threads: { type: "string" },
    turns: { type: "string" },
    filter: { type: "string" },
    size: { type: "string" },
    folder: { type: "string" },
    clock: { type: "string" },
    seeds: { type: "string" },
    effort: { type: "string" },
    json: { type: "string" },
    "json-dir": { type: "string" },
    resume: { type: "boolean" },
    write: { type: "boolean" },
    help: { type: "boolean" },
  },
});

const USAGE = `npm run bench -- SUITE [--levels all|LEVEL,… | --level LEVEL] [--threads N] [--filter WORD] [--json FILE]
  ${suites.join(", ")}
    --rivals: other libraries in turns with ours; node-llama-cpp is installed into build/rivals, PyTorch is that of --python (default: python3)
    --clock cpu: seconds of all threads in place of the wall's, which on a busy machine say more; shares need --threads 1 then
    --turns N: of each contest   --size ${SIZE_NAMES.join("|")}: of the language model (default: 1b, TinyLlama's shape)   --device cpu|cuda
    demo: --seeds 0,1,2 --effort 1   paths: --write, cuda/linear/path_table.cuh of a card's figures
  ${tables.join(", ")}
    ops: --device, --rival PYTHON, --resume (what FILE has of this commit is not measured again); loop-lag: --size; load, align-step, loop-lag: --folder CHECKPOINT
npm run bench -- all [--python PYTHON] [--levels …] [--seeds 0,1,2] [--json-dir DIR]   what the README's table is made of, rivals included (default: bench/results)
npm run bench -- readme [--json-dir DIR]                               the table, from what is there`;

const number = (text: string | undefined) => (text === undefined ? undefined : Number(text));
const threads = number(values.threads);
/** As it was typed, but for where this machine keeps its files. */
const command = `npm run bench -- ${process.argv
  .slice(2)
  .map((word) => (isAbsolute(word) ? basename(word) : word))
  .join(" ")}`;
const name = positionals[0] ?? "";
const common = { device: values.device ?? "cpu", threads, filter: values.filter ?? "" };

/** Replaced as a whole, so that a run that is ended in between leaves what it had. */
function write(content: object): void {
  if (!values.json) return;
  writeFileSync(`${values.json}.part`, `${JSON.stringify(content, null, 1)}\n`);
  renameSync(`${values.json}.part`, values.json);
}

async function run(): Promise<void> {
  setClock(values.clock === "cpu" ? "cpu" : "wall");
  const m = machine();
  console.log(`${m.cpu}, ${m.cores} cores, ${m.memoryGiB} GiB, Node ${m.node}, ${commit()}, load ${load()}\n${command}`);
  const rivals = values.rivals ? new Rivals({ python: values.python, threads, device: values.device }) : undefined;
  const asked = values.levels ?? values.level;
  const options = {
    ...common,
    size: values.size ?? "1b",
    levels: asked === undefined ? [undefined] : asked === "all" ? LEVELS : asked.split(","),
    turns: number(values.turns),
    rivals,
    seeds: (values.seeds ?? "0").split(",").map(Number),
    effort: Number(values.effort ?? 1),
  };
  const record = await runSuite(name, options, command, write);
  const { rows, seconds } = record;
  await rivals?.close();
  if (values.write && name === "paths") (await import("./path-table.js")).writePathTable(record);
  console.log(`${rows.length} rows in ${seconds} s`);
}

async function runTable(): Promise<void> {
  const { cpu, cores, memoryGiB, node } = machine();
  const where = { cpu, cores, memoryGiB, node, commit: commit(), date: new Date().toISOString() };
  console.log(`${cpu}, ${cores} cores, ${memoryGiB} GiB, Node ${node}, ${where.commit}\n${command}`);
  const facts: Record<string, unknown> = {};
  const keep = (rows: readonly Row[]) => write({ ...where, command, ...facts, rows });
  const before: { commit?: unknown; rows?: Row[] } =
    values.resume && values.json && existsSync(values.json) ? JSON.parse(readFileSync(values.json, "utf8")) : {};
  const { default: table } = (await import(`./tables/${name}.ts`)) as { default: Table };
  const rows = await table({
    ...common,
    rival: values.rival,
    level: values.level,
    size: values.size ?? "small",
    folder: values.folder,
    row: keep,
    measured: (cells) =>
      before.commit === where.commit
        ? before.rows?.find((row) => Object.entries(cells).every(([key, cell]) => row[key] === cell))
        : undefined,
    fact: (name, value) => {
      facts[name] = value;
    },
  });
  keep(rows);
}

if (values.help) console.log(USAGE);
else if (suites.includes(name)) await run();
else if (tables.includes(name)) await runTable();
else if (name === "all") await (await import("./all.js")).runAll(values);
else if (name === "readme") (await import("./readme.js")).writeReadme(values["json-dir"]);
else {
  console.log(USAGE);
  process.exitCode = 1;
}
