// models/tiny/training.json keeps what each run measured; the model card is written from it, so that no figure in it was typed.
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";

export interface Scores {
  name: string;
  steps: number;
  seconds: number;
  /** What every score of the first set must reach. */
  gate: number;
  /** By set of questions, then by kind. */
  scores: Record<string, Record<string, number>>;
}
type Stored = Scores & { machine: string; date: string };

const WHAT: Readonly<Record<string, string>> = {
  llama:
    "LlamaForCausalLM; next-token cross entropy on descriptions, questions and answers (`lib/data/world/language.ts`), of every combination of values",
  clip: "CLIPModel, both towers; contrastive, pictures of one and two shapes; no held-out pair of colour and shape",
  clap: "ClapAudioModelWithProjection (HTSAT), its captions' tower in `text/`; contrastive, melodies; no held-out pair of instrument and first note",
  imu2clip:
    "IMU2CLIP with its GRU over channels, its captions' tower in `text/`; contrastive, head-mounted recordings; no held-out triple of activity, turn and speed",
};

/** Adds `results` to what is stored, writes the card, and returns a sentence per score below its gate. */
export function writeCard(folder: string, results: readonly Scores[]): string[] {
  const file = join(folder, "training.json");
  const stored: Record<string, Stored> = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? "unknown processor"}`;
  for (const result of results) stored[result.name] = { ...result, machine, date: new Date().toISOString().slice(0, 10) };
  writeFileSync(file, `${JSON.stringify(stored, null, 1)}\n`);
  writeFileSync(join(folder, "README.md"), card(folder, Object.values(stored)));
  return results.flatMap(missedIn);
}

/** A sentence per score of the first set that is below the gate. */
export const missedIn = ({ name, gate, scores }: Pick<Scores, "name" | "gate" | "scores">): string[] =>
  Object.entries(Object.values(scores)[0] ?? {})
    .filter(([, score]) => score < gate)
    .map(([kind, score]) => `${name}: ${kind} ${score.toFixed(3)} < ${gate}`);

function card(folder: string, all: readonly Stored[]): string {
  const kilobytes = (path: string): number =>
    readdirSync(path, { withFileTypes: true }).reduce(
      (sum, entry) => sum + (entry.isDirectory() ? kilobytes(join(path, entry.name)) : statSync(join(path, entry.name)).size / 1000),
      0,
    );
  const minutes = all.reduce((sum, { seconds }) => sum + seconds / 60, 0);
  const sections = all.map(({ name, steps, seconds, gate, scores, machine, date }) => {
    const tables = Object.entries(scores).map(
      ([set, kinds]) =>
        `| ${set} | ${Object.entries(kinds)
          .map(([kind, score]) => `${kind} ${(100 * score).toFixed(1)}`)
          .join(", ")} |`,
    );
    const missed = missedIn({ name, gate, scores });
    const head = `${WHAT[name] ?? name}. ${steps} steps, ${(seconds / 60).toFixed(0)} minutes on ${machine} (${date}), ${kilobytes(join(folder, name)).toFixed(0)} kB.${missed.length ? ` **Gate missed**: ${missed.join("; ")}.` : ""}`;
    return `## ${name}\n\n${head}\n\n| set (gate ${100 * gate} % on the first) | accuracy, % |\n| --- | --- |\n${tables.join("\n")}\n`;
  });
  return `# The tiny models

Everything \`npm run demo\` needs that a user would otherwise download: a LLaMA, a CLIP, a CLAP and an IMU2CLIP of real architecture and tiny size, in Hugging
Face's folder layout, trained by this project from nothing on synthetic scenes (\`lib/data/world\`) with \`npm run demo:pretrain\`: ${minutes.toFixed(0)} minutes in all. They
know nothing but that world: eight colours, eight shapes, eight instruments, eight activities and a few dozen words. MIT licence, as the code.

One combination of values in eight is held out: no encoder has seen one, neither as a medium nor as a caption. The language model has read of all, as a real one has.
What the encoders know is measured with captions that differ in one attribute: how often the true one is the nearest. What the language model knows is measured
by exact answers to one question behind one description, its linear layers in NF4. This page is written by the run that trained the models.

${sections.join("\n")}`;
}
