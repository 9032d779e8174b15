// `npm run test:package`: packs the tarball and uses it as a stranger would: installed in an empty folder, with no compiler on PATH and no
// install script, loaded by `import` and by `require`, and asked for help through `npx`.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "anymal-package-"));

function run(command: string, args: string[], cwd: string, env: NodeJS.ProcessEnv = process.env): string {
  return execFileSync(command, args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], maxBuffer: 1 << 26 });
}

/** A PATH with node, npm and a shell, and nothing that could compile. */
function barePath(): string {
  const bin = join(work, "bin");
  mkdirSync(bin);
  symlinkSync(process.execPath, join(bin, "node"));
  for (const tool of ["sh", "env", "npm", "npx"]) {
    const candidates = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, tool));
    const found = candidates.find((file) => existsSync(file));
    if (found) symlinkSync(found, join(bin, tool));
  }
  return bin;
}

const script = (load: string) => `${load}
const x = Tensor.from([1, 2, 3, 4, 5, 6], [2, 3]);
const w = Tensor.from([1, 0, -1, 2, 2, 2], [2, 3], { requiresGrad: true });
const y = linear(x, w);
backward(y, Tensor.full([2, 2], 1));
const isOurs = (error) => error instanceof AnymalError && !(error instanceof HubError) && error.code;
let shape;
try {
  add(x, Tensor.zeros([5]));
} catch (error) {
  shape = isOurs(error);
}
const later = gatherRows(x, Tensor.from([7], [1], { dtype: "i32" })).data().catch(isOurs);
later.then((index) => Promise.all([y.data(), w.grad.data()]).then(([out, grad]) => console.log([...out, ...grad, shape, index].join(" "))));
`;
/** x·wᵀ by hand; the gradient of each row of w is the sum of x's rows; errors of the addon at the call, and from a promise. */
const EXPECTED = "-2 12 -2 30 5 7 9 5 7 9 E_SHAPE E_INDEX";

try {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  for (const hook of ["preinstall", "install", "postinstall"]) {
    if (manifest.scripts[hook]) throw new Error(`package.json has a script "${hook}": an installed package must need none`);
  }
  // One architecture or none: the module's sources are compiled by other tests, here it would only take long.
  run("npm", ["run", "prepack"], root, { ...process.env, ANYMAL_CUDA_ARCHITECTURES: "none" });
  const packed = JSON.parse(run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", work], root));
  const tarball = join(work, packed[0].filename);
  run("npx", ["publint", "--strict", tarball], root);

  const app = join(work, "app");
  mkdirSync(app);
  writeFileSync(join(app, "package.json"), '{ "private": true }');
  writeFileSync(join(app, "esm.mjs"), script('import { AnymalError, add, backward, gatherRows, HubError, linear, Tensor } from "anymal";'));
  writeFileSync(
    join(app, "cjs.cjs"),
    script('const { AnymalError, add, backward, gatherRows, HubError, linear, Tensor } = require("anymal");'),
  );
  const env = { ...process.env, PATH: barePath() };
  run("npm", ["install", "--no-audit", "--no-fund", tarball], app, env);
  for (const file of ["esm.mjs", "cjs.cjs"]) {
    const got = run(process.execPath, [file], app, env).trim();
    if (got !== EXPECTED) throw new Error(`${file}: expected ${EXPECTED}, got ${got}`);
  }
  const help = run("npx", ["anymal", "--help"], app, env);
  for (const name of ["demo", "align", "instruct", "generate", "chat"])
    if (!new RegExp(`^ +${name} `, "m").test(help)) throw new Error(`anymal --help: expected the command ${name}, got\n${help}`);
  // A folder of sources has another worker for sounds and another decoder of films than a package, where they must be found beside the library.
  for (const path of ["dist/decode-worker.mjs", "dist/clip-decoder.mjs"])
    if (!packed[0].files.some((file: { path: string }) => file.path === path)) throw new Error(`no ${path} is packed`);
  const flac = JSON.stringify(join(root, "test", "media", "files", "tones.flac"));
  for (const load of ['import("anymal")', 'Promise.resolve(require("anymal"))']) {
    const code = `let workers = 0; process.on("worker", () => ++workers);
      ${load}.then(async ({ audio, loadAudio }) => console.log((await loadAudio(audio(${flac}))).samples.length, workers))`;
    const got = run(process.execPath, ["-e", code], app, env).trim();
    if (got !== "4000 1") throw new Error(`a FLAC through ${load}: expected 4000 samples from 1 worker, got ${got}`);
  }
  const megabytes = (packed[0].size / 2 ** 20).toFixed(1);
  console.log(
    `ok   ${packed[0].filename} (${megabytes} MiB) installs without a compiler and loads by import and by require; npx anymal runs`,
  );
} catch (error) {
  const { message, stdout = "", stderr = "" } = error as Error & { stdout?: string; stderr?: string };
  console.log(`FAIL ${message}\n${stdout}${stderr}`);
  process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
  // prebuildify moved the addon out of the build folder
  execFileSync(process.execPath, [join(root, "tools/build-native.cjs"), "--quiet"], { stdio: "inherit" });
}
