// The files of native/cpu/ops are compiled once per instruction set. An inline function or template instance outside the level's namespace
// would be emitted by every level under one name; the linker keeps any one of them, and an old CPU might meet AVX-512 in it. So no two
// levels may define the same function. Constant tables may be shared: they hold the same bytes.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

export function sharedLevelSymbols(root: string): string[] {
  const objects = join(root, "build/cmake/CMakeFiles");
  if (!existsSync(objects)) return [];
  const owner = new Map<string, string>();
  const problems: string[] = [];
  for (const folder of readdirSync(objects).filter((name) => /^anymal_cpu_\w+\.dir$/.test(name))) {
    const level = folder.slice("anymal_cpu_".length, -".dir".length);
    const files = readdirSync(join(objects, folder), { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".o"));
    const nm = spawnSync("nm", ["--defined-only", "--extern-only", "-C", ...files.map((file) => join(objects, folder, file))], {
      encoding: "utf8",
      maxBuffer: 1 << 28,
    });
    if (nm.status !== 0) return [`nm: ${nm.error?.message ?? nm.stderr}`];
    for (const line of nm.stdout.split("\n")) {
      const symbol = /^[0-9a-f]+ [TW] (.+)$/.exec(line)?.[1];
      if (!symbol) continue;
      const first = owner.get(symbol);
      if (first !== undefined && first !== level)
        problems.push(`${symbol} is defined by the levels ${first} and ${level}: make it static or put it into the level's namespace`);
      owner.set(symbol, level);
    }
  }
  return [...new Set(problems)];
}
