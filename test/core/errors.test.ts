// What is an AnymalError: everything this library throws, the addon's errors too. tools/test-package.ts asks both builds of the package.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { shown } from "../../lib/core/checks.js";
import { ADDON_CODES } from "../../lib/core/errors.js";
import { fileError, onFileSync } from "../../lib/core/file-error.js";
import { AnymalError, add, device, gatherRows, HubError, Tensor } from "../../lib/index.js";
import { here } from "../case.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

test("every code that the addon's sources name is known as this library's", () => {
  const sources = ["native", "cuda"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => /\.(cc|h|inc|cu|cuh)$/.test(name))
      .map((name) => readFileSync(join(root, folder, name), "utf8")),
  );
  const codes = new Set(sources.flatMap((text) => text.match(/"E_[A-Z_]+"/g) ?? []).map((code) => code.slice(1, -1)));
  assert.ok(codes.size > 8, `${[...codes]}`);
  for (const code of codes) assert.ok(ADDON_CODES.has(code), `${code} is thrown by the addon: name it in lib/core/errors.ts`);
});

/** Errors of the addon, at the call and later. */
const FAILURES: [string, () => unknown][] = [
  ["E_SHAPE", () => add(Tensor.zeros([2, 3], { device: here }), Tensor.zeros([4, 5], { device: here }))],
  ["E_DTYPE", () => add(Tensor.zeros([2], { device: here }), Tensor.zeros([2], { dtype: "i32", device: here }))],
  ["E_ARGUMENT", () => Tensor.empty("four" as unknown as number[], { device: here })],
  ["E_DEVICE", () => device("cpu", { level: "none" })],
  ["E_INDEX", () => gatherRows(Tensor.zeros([1, 1], { device: here }), Tensor.from(Int32Array.of(7), [1], { device: here })).data()],
];

test("the addon's errors are AnymalErrors, at the call and from promises", async () => {
  for (const [code, fail] of FAILURES) {
    const error = await (async () => fail())().then(
      () => undefined,
      (problem) => problem,
    );
    assert.ok(error instanceof AnymalError, `${code}: ${error}`);
    assert.is((error as AnymalError).code, code);
    assert.not.ok(error instanceof HubError, "of a class that it is not");
  }
  await here.synchronize().catch(() => undefined);
});

test("a message quotes no more than can be read, and keeps what to do at its end", () => {
  const { message } = new AnymalError("E_X", `expected a name, got ${"x".repeat(1e6)}; take a shorter one`);
  assert.ok(message.length < 4000, `${message.length} characters`);
  assert.match(message, /^expected a name, got x{9}/);
  assert.match(message, /x; take a shorter one$/);
  const circle: unknown[] = [];
  circle.push(circle);
  let deep: unknown = 1;
  for (let i = 0; i < 2e5; ++i) deep = [deep];
  const hostile = [
    deep,
    circle,
    "x".repeat(1e6),
    { toString: null, valueOf: 1 },
    Object.create(null),
    Symbol("x"),
    () => 1,
    1n,
    [1n],
    undefined,
  ];
  for (const value of hostile) assert.ok(shown(value).length <= 201, typeof value);
  assert.is(shown('a"b'), '"a\\"b"');
  assert.is(shown("abcdef", 4), '"abc…');
});

test("what is not of this library is none", () => {
  const others = [
    new Error("plain"),
    new TypeError("plain"),
    Object.assign(new Error("x"), { code: "ENOENT" }),
    { code: "E_SHAPE" },
    "E_SHAPE",
    null,
  ];
  for (const other of others) assert.not.ok((other as unknown) instanceof AnymalError, String(other));
  assert.ok(new AnymalError("E_X", "x") instanceof AnymalError);
});

test("what the file system refuses: E_FILE with the path, its word, and what to do; anything else as it is", () => {
  for (const [code, remedy] of [
    ["ENOSPC", /free some space/],
    ["EROFS", /can be written to/],
    ["EMFILE", /ulimit/],
    ["EISDIR", /name a file/],
    ["ENOTEMPTY", /no other process/],
    ["EWHATEVER", /check the path/],
  ] as const) {
    const cause = Object.assign(new Error(`${code}: in the system's words, write`), { code, syscall: "write" });
    const error = fileError("to be written", "/a/b", cause) as AnymalError;
    assert.is(error.code, "E_FILE");
    assert.match(error.message, new RegExp(`^/a/b: expected to be written, got ${code}: in the system's words; `));
    assert.match(error.message, remedy);
    assert.is(error.cause, cause);
  }
  const notOfFiles = Object.assign(new TypeError("x"), { code: "ERR_INVALID_ARG_TYPE" });
  for (const other of [new Error("x"), new AnymalError("E_STATE", "x"), new RangeError("x"), notOfFiles, undefined])
    assert.is(fileError("to be read", "/a", other), other);
  assert.throws(
    () => onFileSync("to be read", "/", () => readFileSync("/")),
    (error: AnymalError) => error.code === "E_FILE" && /EISDIR: illegal operation on a directory; it is a folder/.test(error.message),
  );
});

test.run();
