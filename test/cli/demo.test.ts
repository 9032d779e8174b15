// `anymal demo` from end to end, in small: files, both stages, answers, scores as JSON, and a checkpoint that another process reads.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { DemoResult } from "../../lib/cli/demo-run.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const anymal = (...args: string[]): string =>
  execFileSync(process.execPath, ["--import", "tsx", join(root, "lib/cli/main.ts"), ...args], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });

test("a quick demo writes its scores and a checkpoint that gives the same answers in a new process", () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-demo-"));
  try {
    const text = anymal("demo", "--output", join(folder, "run"), "--effort", "0.02", "--json", join(folder, "scores.json"));
    const result: DemoResult = JSON.parse(readFileSync(join(folder, "scores.json"), "utf8"));
    assert.equal(Object.keys(result.modalities), ["image", "video", "audio", "imu"]);
    for (const [name, { exact, blank, shuffled, ciderD }] of Object.entries(result.modalities)) {
      for (const share of [exact, blank, shuffled]) assert.ok(share >= 0 && share <= 1, name);
      assert.ok(ciderD >= 0 && ciderD <= 10, name);
      assert.match(text, new RegExp(`${name} +${(100 * exact).toFixed(1)} %`));
    }
    assert.ok(result.seconds > 0 && result.peakBytes > 1e7 && result.device.startsWith("cpu"));
    assert.is(result.answers.length, 5);
    assert.is(result.answers.at(-1)!.media.length, 2);
    for (const name of ["anymal.json", "adapter_config.json", "adapter_model.safetensors"])
      assert.ok(existsSync(join(result.checkpoint, name)), name);
    const { prompt, media, answer } = result.answers[0]!;
    const again = anymal("generate", "--model", result.checkpoint, `${prompt} <image>`, "--image", media[0]!, "--max-new-tokens", "32");
    assert.is(again.trim(), answer);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
