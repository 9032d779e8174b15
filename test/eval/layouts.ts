// Small benchmarks as they lie on a disk when they were unpacked, with made-up questions; and a model that answers by rote.
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { PromptInput } from "../../lib/anymal/prompt.js";
import type { Turn } from "../../lib/data/row.js";
import type { Answering } from "../../lib/eval/run/answering.js";

export class Layout {
  readonly folder = mkdtempSync(join(tmpdir(), "anymal-eval-"));

  write(files: Readonly<Record<string, unknown>>): this {
    for (const [name, content] of Object.entries(files)) {
      const path = join(this.folder, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
    }
    return this;
  }
  /** Media that nobody opens. */
  media(...names: readonly string[]): this {
    return this.write(Object.fromEntries(names.map((name) => [name, "bytes"])));
  }
  copy(from: string, name: string): this {
    copyFileSync(from, this.path(name));
    return this;
  }
  path(name: string): string {
    return join(this.folder, name);
  }
  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A layout for the time of a test. */
export async function within(run: (layout: Layout) => Promise<void> | void): Promise<void> {
  const layout = new Layout();
  try {
    await run(layout);
  } finally {
    layout.remove();
  }
}

export const lines = (rows: readonly object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
export const csv = (names: readonly string[], rows: readonly (readonly unknown[])[]): string =>
  [names, ...rows].map((row) => row.map((cell) => `"${String(cell).replaceAll('"', '""')}"`).join(",")).join("\n");
export const coco = (id: number, split = "val2014"): string => `COCO_${split}_${String(id).padStart(12, "0")}.jpg`;

/** Media as <path>. */
export const written = (prompt: PromptInput): string =>
  (prompt as readonly Turn[])
    .map(
      ({ role, content }) => `${role}: ${content.map((part) => (typeof part === "string" ? part : `<${String(part.source)}>`)).join("")}`,
    )
    .join("\n");

/** Says of each prompt what `answer` has for it. */
export class Rote implements Answering {
  readonly asked: string[] = [];
  readonly options: object[] = [];
  constructor(private readonly answer: (asked: string, count: number) => string) {}

  async generateAll(prompts: readonly PromptInput[], options: object = {}): Promise<string[]> {
    this.options.push(options);
    return prompts.map((prompt) => this.answer(this.asked[this.asked.push(written(prompt)) - 1] as string, this.asked.length - 1));
  }
}
/** These answers one after the other. */
export const saying = (answers: readonly string[]): Rote => new Rote((_, count) => answers[count] as string);
