// `npm run test:asan`, `npm run test:tsan`: the core and the CPU backend with their C++ tests under sanitizers, in build/<name>.
// Not covered: native/node, since Node itself is not built with a sanitizer; test/core and test/native/core.cc exercise what lies under it.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const LIMIT_MS = 25 * 60_000;
const sanitizers = process.argv[2] ?? "address,undefined";
const out = join(root, "build", sanitizers.replace(",", "-"));

function must(command: string, args: string[]): void {
  const r = spawnSync(command, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 });
  if (r.status === 0) return;
  console.error(`${r.stdout ?? ""}${r.stderr ?? ""}`);
  console.error(`${command} ${args.join(" ")} failed${r.error ? `: ${r.error.message}; is it installed?` : ""}`);
  process.exit(1);
}

must("cmake", ["-S", root, "-B", out, "-DCMAKE_BUILD_TYPE=RelWithDebInfo", `-DANYMAL_SANITIZE=${sanitizers}`]);
must("cmake", ["--build", out, "--parallel", "--target", "native_tests"]);

const environment = {
  ...process.env,
  ASAN_OPTIONS: "detect_leaks=1:strict_init_order=1",
  UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1",
  TSAN_OPTIONS: "halt_on_error=1:second_deadlock_stack=1",
};
let passed = 0;
let failed = 0;
for (const file of readdirSync(join(root, "test/native")).filter((file) => file.endsWith(".cc"))) {
  const name = file.slice(0, -3);
  const r = spawnSync(join(out, `native_test_${name}`), {
    encoding: "utf8",
    env: environment,
    maxBuffer: 1 << 28,
    timeout: LIMIT_MS,
    killSignal: "SIGKILL",
  });
  const counts = /(\d+) passed, (\d+) failed/.exec(r.stdout ?? "");
  const clean = r.status === 0 && counts !== null;
  console.log(`${clean ? "ok  " : "FAIL"} ${sanitizers}: ${name} ${counts?.[0] ?? ""}`);
  if (!clean) console.log(`${r.stdout}${r.stderr}${r.error ? `\n${name}: ended after its limit of ${LIMIT_MS / 1000} s` : ""}`);
  passed += Number(counts?.[1] ?? 0);
  failed += Number(counts?.[2] ?? 0) + Number(!clean);
}
console.log(`skipped: native/node under ${sanitizers} (Node is not built with it)`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
