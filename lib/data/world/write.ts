// The tiny world as a folder of real files with captions and conversations beside them.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { checkOptions, optionNames } from "../../core/options.js";
import { reasonOf } from "../../media/error.js";
import type { BuiltIn } from "../../media/kinds/index.js";
import { Draw } from "../draw.js";
import { DataError } from "../row.js";
import { encodeClip, encodeCsv, encodePicture, encodeWav } from "./encode.js";
import { caption, type Question, questions, WORLD_PROMPTS } from "./language.js";
import { renderAudio } from "./render-audio.js";
import { renderImage } from "./render-image.js";
import { renderImu } from "./render-imu.js";
import { renderVideo } from "./render-video.js";
import { drawScene, type Scene } from "./scenes.js";

export type Split = "train" | "heldout";
export type WorldCounts = Readonly<Partial<Record<BuiltIn, number>>>;
export interface WorldOptions {
  seed: number;
  /** How many files of each modality; none where not said. */
  train: WorldCounts;
  heldout: WorldCounts;
  /** Conversations about two media at once, of the files above. */
  mixed?: Readonly<Partial<Record<Split, number>>>;
  onProgress?: (files: { done: number; total: number }) => void;
  signal?: AbortSignal;
}

const MODALITIES: readonly BuiltIn[] = ["image", "video", "audio", "imu"];
const SPLITS: readonly Split[] = ["train", "heldout"];
/** A question about a picture and one about a clip sound alike, so these two never stand in one prompt. */
const PAIRS: readonly (readonly [BuiltIn, BuiltIn])[] = [
  ["image", "audio"],
  ["image", "imu"],
  ["video", "audio"],
  ["video", "imu"],
  ["audio", "imu"],
];
const OPTIONS = optionNames<WorldOptions>({ seed: true, train: true, heldout: true, mixed: true, onProgress: true, signal: true });
/** Files in work at a time. */
const AT_ONCE = 8;
const TRAIN_QUESTIONS = 3;

/** Every third is of the second kind. */
const KINDS = { image: ["png", "jpg"], video: ["gif", "webp"], audio: ["wav", "wav"], imu: ["csv", "csv"] } as const;
const kindOf = <M extends BuiltIn>(modality: M, index: number): (typeof KINDS)[M][number] => KINDS[modality][index % 3 === 2 ? 1 : 0];
/** Within the modality's folder. */
const fileOf = (modality: BuiltIn, split: Split, index: number): string =>
  `${split}/${String(index).padStart(5, "0")}.${kindOf(modality, index)}`;

/** The scene that a file shows, and the draws that its rendering goes on with. */
export function worldScene(seed: number, modality: BuiltIn, split: Split, index: number): { scene: Scene; draw: Draw } {
  const draw = new Draw(seed, `${modality}/${split}/${index}`);
  return { scene: drawScene(modality, draw, { held: split === "train" ? "never" : "only" }), draw };
}

async function encode(scene: Scene, draw: Draw, index: number): Promise<Uint8Array | string> {
  switch (scene.modality) {
    case "image":
      return encodePicture(renderImage(scene, draw), kindOf("image", index));
    case "video":
      return encodeClip(renderVideo(scene, draw), kindOf("video", index));
    case "audio":
      return encodeWav(renderAudio(scene, draw));
    case "imu":
      return encodeCsv(renderImu(scene, draw));
  }
}

/**
 * Writes `<modality>/<split>/<number>.<kind>`, `<modality>/captions.<split>.jsonl` and `<modality>/instruct.<split>.json`, and for prompts
 * with two media `mixed/instruct.<split>.json`. The same options give the same bytes. What is trained on never shows a held-out combination;
 * what is held out always does, and is asked one question about it. The lists are written after the files.
 */
export async function writeWorld(folder: string, options: WorldOptions): Promise<void> {
  check(folder, options);
  const parts = MODALITIES.flatMap((modality) => SPLITS.map((split) => ({ modality, split, count: countOf(options, modality, split) })));
  // Side by side, so that what one thread renders and what others compress take turns.
  const jobs = parts.flatMap(({ modality, split, count }) => Array.from({ length: count }, (_, index) => ({ modality, split, index })));
  jobs.sort((a, b) => a.index - b.index);
  let done = 0;
  try {
    for (const { modality, split } of parts) await mkdir(join(folder, modality, split), { recursive: true });
    await pooled(jobs.length, async (at) => {
      options.signal?.throwIfAborted();
      const { modality, split, index } = jobs[at]!;
      const { scene, draw } = worldScene(options.seed, modality, split, index);
      await writeFile(join(folder, modality, fileOf(modality, split, index)), await encode(scene, draw, index));
      options.onProgress?.({ done: ++done, total: jobs.length });
    });
    for (const { modality, split } of parts) await writeLists(join(folder, modality), options, modality, split);
    await writeMixed(folder, options);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).syscall === undefined) throw cause;
    throw new DataError("E_DATA", folder, undefined, "a folder to write the world into", reasonOf(cause), "check rights and free space", {
      cause,
    });
  }
}

const countOf = (options: WorldOptions, modality: BuiltIn, split: Split): number => options[split][modality] ?? 0;

function check(folder: string, options: WorldOptions): void {
  checkOptions("writeWorld", options, OPTIONS);
  for (const split of SPLITS) checkOptions(`writeWorld ${split}`, options[split], MODALITIES);
  const fail = (expected: string, got: unknown, remedy: string) => {
    throw new DataError("E_DATA", folder, undefined, expected, String(got), remedy);
  };
  if (!Number.isSafeInteger(options.seed)) fail("a whole number as seed", options.seed, "pass one, such as 0");
  const counts = SPLITS.flatMap((split) => [...MODALITIES.map((m) => countOf(options, m, split)), options.mixed?.[split] ?? 0]);
  for (const count of counts) if (!(Number.isSafeInteger(count) && count >= 0)) fail("whole numbers of files", count, "see WorldOptions");
  for (const split of SPLITS)
    if (options.mixed?.[split] && !pairsOf(options, split).length)
      fail(
        `${split} files of two modalities to mix`,
        JSON.stringify(options[split]),
        "ask for some sounds or recordings, or for no mixed rows",
      );
}

/** Runs `work` for 0 … count - 1, a few at a time; the first failure stops the others after what they are at. */
async function pooled(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    try {
      while (next < count) await work(next++);
    } catch (error) {
      next = count;
      throw error;
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker));
  for (const end of ended) if (end.status === "rejected") throw end.reason;
}

interface Said {
  from: "human" | "gpt";
  value: string;
}
/** In AnyMAL's order: the instruction, then the media. */
const conversation = (marks: readonly BuiltIn[], asked: readonly Question[]): Said[] =>
  asked.flatMap(({ question, answer }, i): Said[] => [
    { from: "human", value: i === 0 ? [question, ...marks.map((mark) => `<${mark}>`)].join(" ") : question },
    { from: "gpt", value: answer },
  ]);

/** Of a training scene some questions and now and then the caption, last, so that no answer can be read there; of a held-out one, one. */
function asked(scene: Scene, split: Split, draw: Draw): Question[] {
  if (split === "heldout") return [draw.pick(questions(scene, draw, { heldOnly: true }))];
  const some = draw.shuffled(questions(scene, draw)).slice(0, TRAIN_QUESTIONS);
  if (draw.chance(0.5)) some.push({ kind: "caption", question: draw.pick(WORLD_PROMPTS[scene.modality]), answer: caption(scene) });
  return some;
}

async function writeLists(folder: string, options: WorldOptions, modality: BuiltIn, split: Split): Promise<void> {
  const [captions, rows]: string[][] = [[], []];
  for (let index = 0; index < countOf(options, modality, split); ++index) {
    const { scene } = worldScene(options.seed, modality, split, index);
    const file = fileOf(modality, split, index);
    const turns = asked(scene, split, new Draw(options.seed, `${modality}/${split}/${index}/words`));
    captions!.push(JSON.stringify({ [modality]: file, caption: caption(scene) }));
    const kind = split === "heldout" ? { kind: turns[0]!.kind } : {};
    rows!.push(
      JSON.stringify({ id: `${modality}-${split}-${index}`, [modality]: file, ...kind, conversations: conversation([modality], turns) }),
    );
  }
  await writeFile(join(folder, `captions.${split}.jsonl`), captions!.map((line) => `${line}\n`).join(""));
  await writeRows(join(folder, `instruct.${split}.json`), rows!);
}

const writeRows = (path: string, rows: readonly string[]) => writeFile(path, rows.length ? `[\n${rows.join(",\n")}\n]\n` : "[]\n");

const pairsOf = (options: WorldOptions, split: Split) => PAIRS.filter((pair) => pair.every((m) => countOf(options, m, split) > 0));

/** Two media in one prompt; what is asked fits one of them only. */
async function writeMixed(folder: string, options: WorldOptions): Promise<void> {
  for (const split of SPLITS) {
    const count = options.mixed?.[split] ?? 0;
    if (!count) continue;
    const rows = Array.from({ length: count }, (_, row) => {
      const draw = new Draw(options.seed, `mixed/${split}/${row}`);
      const marks = draw.shuffled(draw.pick(pairsOf(options, split)));
      const media = marks.map((modality) => ({ modality, index: draw.below(countOf(options, modality, split)) }));
      const files = media.map(({ modality, index }) => [modality, `../${modality}/${fileOf(modality, split, index)}`]);
      const all = media.map(({ modality, index }) =>
        questions(worldScene(options.seed, modality, split, index).scene, draw, { heldOnly: split === "heldout" }),
      );
      const about =
        split === "heldout" ? [draw.pick(draw.pick(all))] : draw.shuffled(all.flatMap((list) => draw.shuffled(list).slice(0, 2)));
      const kind = split === "heldout" ? { kind: about[0]!.kind } : {};
      return JSON.stringify({
        id: `mixed-${split}-${row}`,
        ...Object.fromEntries(files),
        ...kind,
        conversations: conversation(marks, about),
      });
    });
    await mkdir(join(folder, "mixed"), { recursive: true });
    await writeRows(join(folder, "mixed", `instruct.${split}.json`), rows);
  }
}
