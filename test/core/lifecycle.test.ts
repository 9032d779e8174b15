// Exit at every stage of life: the process must end by itself, with the exit code it asked for, never by a signal and never hanging.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const child = fileURLToPath(new URL("./lifecycle-child.ts", import.meta.url));

interface Expected {
  code: number;
  stdout?: string;
  stderr?: RegExp;
}
const stages: Record<string, Expected> = {
  "after loading": { code: 0 },
  "after opening a device": { code: 0 },
  "while a device opens": { code: 0 },
  "by itself with a device that nobody awaited": { code: 0 },
  "with work enqueued": { code: 0 },
  "with a read open": { code: 0 },
  "by an exception with work enqueued": { code: 1, stderr: /thrown on purpose/ },
  "by itself after a read": { code: 0, stdout: "settled 65536\n" },
  "by itself with work enqueued and nothing awaited": { code: 0 },
  "after garbage collection while busy": { code: 0, stdout: "settled\n" },
  "after closing a device with work enqueued": { code: 0, stdout: "E_DISPOSED\n" },
  "two workers": { code: 0, stdout: "settled\n" },
  "terminating a busy worker": { code: 0, stdout: "settled true\n" },
  "terminating workers that open a device": { code: 0, stdout: "settled true\n" },
};

for (const [stage, expected] of Object.entries(stages)) {
  test(`a process ends cleanly ${stage}`, () => {
    const r = spawnSync(process.execPath, ["--expose-gc", "--import", "tsx", child, stage], { encoding: "utf8", timeout: 240_000 });
    assert.is(r.signal, null, `killed by ${r.signal}: ${r.stderr}`);
    assert.is(r.status, expected.code, r.stderr);
    if (expected.stdout !== undefined) assert.is(r.stdout, expected.stdout);
    if (expected.stderr) assert.match(r.stderr, expected.stderr);
  });
}

test.run();
