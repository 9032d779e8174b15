// The folder of the smallest training, stopped after the first of its two steps, and the model that goes on with it. Both are made once: what is on the
// model when an input begins is taken from that input's folder, or it is refused.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { defaultDevice } from "../../lib/core/device.js";
import { FeatureCache } from "../../lib/data/feature-cache.js";
import type { Row } from "../../lib/data/row.js";
import { image } from "../../lib/media/image.js";
import { type InstructOptions, instruct } from "../../lib/train/instruct.js";
import { ADDED, MANY, tinyModel } from "./tiny-model.js";

const picture = image({ width: 8, height: 8, data: Uint8Array.from({ length: 192 }, (_, i) => i) });
const ROW: Row = {
  where: "rows:1",
  turns: [
    { role: "user", content: ["ab", picture] },
    { role: "assistant", content: ["ba"] },
  ],
};
/** Every option that recipe.yaml names, but for those that are filled in. */
const OPTIONS = {
  ...{ data: [ROW], batch: 1, steps: 2, saveEvery: 1, warmupSteps: 0, learningRate: 1e-3 },
  lora: { r: 1, targetModules: ["q_proj"], dropout: 0 },
} satisfies InstructOptions;

/** In what is written these stand for the fingerprints of the run's own folders, which depend on where it is made. */
export const [LLM_FINGERPRINT, CLIP_FINGERPRINT] = ["0", "1"].map((digit) => `sha256:${digit.repeat(32)}`) as [string, string];
const MANIFEST = "checkpoint/anymal.json";

export class TinyRun {
  private constructor(
    private readonly model: AnyMAL,
    private readonly cache: FeatureCache,
    private readonly files: ReadonlyMap<string, Buffer>,
  ) {}

  /** Beside `path`, which an input is written to. `carries`: tokens that were added and prompts, beside the branches that train. */
  static async make(path: string, carries = false): Promise<TinyRun> {
    const { llm, clip } = await tinyModel(path);
    const modalities = { image: { encoder: clip, projector: { type: "linear" } } } as const;
    const more = { device: defaultDevice(), ...(carries && { addedTokens: [ADDED] }) };
    const model = await AnyMAL.assemble({ llm, quantization: "none", modalities, ...more });
    if (carries) model.addAdapter(MANY["llama-adapter-v1"], { kind: "llama-adapter-v1", name: "prompts" });
    const [cache, output] = [new FeatureCache(), `${path}-${carries ? "carries" : "made"}`];
    for await (const _ of instruct(model, { ...OPTIONS, output, cache })) break; // which saves
    const names = readdirSync(output, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const paths = names.map(({ parentPath, name }) => join(parentPath, name));
    return new TinyRun(model, cache, new Map(paths.map((file) => [file.slice(output.length + 1), readFileSync(file)])));
  }

  /** A copy, with some of its files as `changed` has them. */
  write(folder: string, changed: Readonly<Record<string, Uint8Array | string>>): void {
    rmSync(folder, { recursive: true, force: true });
    for (const [name, content] of Object.entries({ ...Object.fromEntries(this.files), ...changed })) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), name === MANIFEST ? this.#fingerprinted(content) : content);
    }
  }

  #fingerprinted(content: Uint8Array | string): Buffer {
    const { llm, modalities } = JSON.parse(String(this.files.get(MANIFEST)));
    const text = Buffer.from(content).toString("latin1"); // any bytes come back as they were
    return Buffer.from(
      text.replaceAll(LLM_FINGERPRINT, llm.fingerprint).replaceAll(CLIP_FINGERPRINT, modalities.image.encoder.fingerprint),
      "latin1",
    );
  }

  /** Steps that it took. */
  async goOn(output: string): Promise<number> {
    this.model.calibrated.clear();
    let steps = 0;
    for await (const _ of instruct(this.model, { ...OPTIONS, output, cache: this.cache, resume: true })) ++steps;
    return steps;
  }
}

/** What a disk keeps when the power goes is no matter here, and waiting for it is nearly all of the time. */
export async function unflushed<T>(work: () => Promise<T>): Promise<T> {
  const file = await open(process.execPath, "r");
  const prototype = Object.getPrototypeOf(file) as Pick<FileHandle, "sync">;
  await file.close();
  const { sync } = prototype;
  prototype.sync = async () => {};
  try {
    return await work();
  } finally {
    prototype.sync = sync;
  }
}
