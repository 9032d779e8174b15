// `npm run test:asan`, `npm run test:tsan`: the core and the CPU backend with their C++ tests under sanitizers, in build/<name>; and the addon, whose
// Node is not instrumented: what the addon itself and the core under it do is seen, in test/core and in models that load, answer and train. Not under
// the thread sanitizer, which takes V8's own ways of waiting, that it does not see, for races.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const LIMIT_MS = 25 * 60_000;
const sanitizers = process.argv[2] ?? "address,undefined";
const out = join(root, "build", sanitizers.replace(",", "-"));
const hasNode = !sanitizers.includes("thread");

function must(command: string, args: string[]): string {
  const r = spawnSync(command, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 });
  if (r.status === 0) return r.stdout;
  console.error(`${r.stdout ?? ""}${r.stderr ?? ""}`);
  console.error(`${command} ${args.join(" ")} failed${r.error ? `: ${r.error.message}; is it installed?` : ""}`);
  process.exit(1);
}

const include = must("npx", ["cmake-js", "print-cmakejs-include", "--log-level", "error"]).trim().split("\n").at(-1);
must("cmake", ["-S", root, "-B", out, "-DCMAKE_BUILD_TYPE=RelWithDebInfo", `-DANYMAL_SANITIZE=${sanitizers}`, `-DCMAKE_JS_INC=${include}`]);
must("cmake", ["--build", out, "--parallel", "--target", "native_tests", ...(hasNode ? ["anymal"] : [])]);

/** V8 has signal handlers of its own; and more than a machine has is asked for on purpose. Node ends without giving everything back: leaks are for C++ alone. */
const ASAN = "strict_init_order=1:handle_segv=0:allow_user_segv_handler=1:allocator_may_return_null=1";
const environment = {
  ...process.env,
  ASAN_OPTIONS: `detect_leaks=1:${ASAN}`,
  UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1",
  TSAN_OPTIONS: "halt_on_error=1:second_deadlock_stack=1",
};
const inNode = {
  ...environment,
  ASAN_OPTIONS: `detect_leaks=0:${ASAN}`,
  // An uninstrumented program has to have the runtime before anything else.
  LD_PRELOAD: must(process.env.CXX ?? "c++", ["-print-file-name=libasan.so"]).trim(),
  ANYMAL_PREBUILD: out,
};
const IN_NODE =
  /^(core\/(errors|failures|lifecycle|misuse|faults-loading|faults-running|turns)|train\/stages|generate\/generate|io\/safetensors)\.test\.ts$/;

interface Program {
  name: string;
  command: string;
  args: string[];
  env: NodeJS.ProcessEnv;
}
const filesIn = (folder: string, ending: string) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(ending));
const programs: Program[] = [
  ...filesIn("test/native", ".cc")
    .filter((file) => !file.includes("/"))
    .map((file) => ({ name: file, command: join(out, `native_test_${file.slice(0, -3)}`), args: [], env: environment })),
  ...filesIn("test", ".test.ts")
    .filter((file) => hasNode && IN_NODE.test(file))
    .map((file) => ({ name: file, command: process.execPath, args: ["--import", "tsx", join(root, "test", file)], env: inNode })),
];

let passed = 0;
let failed = 0;
for (const { name, command, args, env } of programs) {
  const r = spawnSync(command, args, { cwd: root, encoding: "utf8", env, maxBuffer: 1 << 28, timeout: LIMIT_MS, killSignal: "SIGKILL" });
  const [, good, bad] = /(\d+) passed, (\d+) failed/.exec(r.stdout ?? "") ?? [];
  const [total, right] = ["Total", "Passed"].map((word) => new RegExp(`${word}:\\s+(\\d+)`).exec(r.stdout ?? "")?.[1]);
  const counts = total === undefined ? { passed: good, failed: bad } : { passed: right, failed: Number(total) - Number(right) };
  const clean = r.status === 0 && counts.passed !== undefined && !/(Address|Thread)Sanitizer|runtime error/.test(r.stderr);
  console.log(`${clean ? "ok  " : "FAIL"} ${sanitizers}: ${name} ${counts.passed ?? 0} passed, ${counts.failed ?? 0} failed`);
  if (!clean) console.log(`${r.stdout}${r.stderr}${r.error ? `\n${name}: ended after its limit of ${LIMIT_MS / 1000} s` : ""}`);
  passed += Number(counts.passed ?? 0);
  failed += Number(counts.failed ?? 0) + Number(!clean);
}
if (!hasNode) console.log(`skipped: the addon in Node under ${sanitizers} (Node is not built with it)`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
