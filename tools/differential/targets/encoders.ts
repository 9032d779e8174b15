// Encoders of pictures, clips and sounds: random configurations, alone, with a head on top, and inside of larger models.
import { join } from "node:path";
import { noGrad } from "../../../lib/core/autograd.js";
import { device } from "../../../lib/core/device.js";
import { Tensor } from "../../../lib/core/tensor.js";
import { Checkpoint } from "../../../lib/io/checkpoint.js";
import { saveModel } from "../../../lib/io/model-folder.js";
import { AutoEncoder } from "../../../lib/models/auto-encoder.js";
import { parseClapAudioConfig } from "../../../lib/models/clap-config.js";
import { parseClipVisionConfig } from "../../../lib/models/clip-config.js";
import { ConfigError } from "../../../lib/models/config.js";
import { parseDinov2Config } from "../../../lib/models/dinov2-config.js";
import type { EncoderOutput } from "../../../lib/models/encoder.js";
import { parseSiglipVisionConfig } from "../../../lib/models/siglip-config.js";
import { parseVideoMaeConfig } from "../../../lib/models/video-mae-config.js";
import type { Random } from "../../fuzz/random.js";
import { type Places, type Seeded, seeded, type Target, type Verdict } from "../target.js";
import type { Json } from "./decoder-configs.js";
import { type EncoderCase, encoderConfig } from "./encoder-configs.js";

type Case = Seeded & EncoderCase & { layer: number };
/** How far rounding of the weights moves each output. */
type Moved = Readonly<Record<string, number>>;

/** Of the largest value: sums of f32 in another order. */
const ALLOWED = 2e-5;
const MOVES = 16;
/** What transformers fails at, and why that is no fault of the reader's. */
const EXPLAINED: readonly [RegExp, string][] = [
  [
    /for (\/\/|-|\*\* or pow\(\)): '(int|list)' and '(int|list)'/,
    "a pair of equal sizes where this version of transformers wants a number",
  ],
  [/Kernel size can't be greater than actual input size/, "a picture of the sound that is smaller than the fusion's kernel"],
  [/pow\(\): 'NoneType' and 'float'/, "head_dim null, which is absent here"],
];

function* cases(random: Random, count: number, places: Places): Generator<Case> {
  for (const one of seeded(random, count, places)) yield { ...one, ...encoderConfig(random), layer: random.below(4) };
}

async function compare(input: unknown, answer: unknown, ask: (question: unknown) => Promise<unknown>): Promise<Verdict> {
  const asked = input as Case;
  const { value, error } = answer as { value?: { moved: Moved }; error?: string };
  const details = (what: string) => `${what}\n${JSON.stringify({ ...asked, path: undefined })}`;
  const kind = asked.architecture;
  if (!value) {
    const refused = refusalOf(asked);
    if (refused) return { agrees: true, what: `both refuse: ${refused.key}` };
    const reason = EXPLAINED.find(([said]) => said.test(error ?? ""))?.[1];
    if (reason) return { agrees: true, what: `Python refuses: ${reason}` };
    return { agrees: false, what: `${kind}: refused by Python alone`, details: details(error as string) };
  }
  try {
    const problems = (await problemsOf(asked, value.moved)).concat(await savedProblems(asked, value.moved, ask));
    if (!problems.length) return { agrees: true, what: `${kind}: the same numbers` };
    return { agrees: false, what: `${kind}: other numbers`, details: details(problems.join("; ")) };
  } catch (problem) {
    if (problem instanceof ConfigError && asked.odd.includes(problem.key)) return { agrees: true, what: `refused: ${problem.key}` };
    return { agrees: false, what: `${kind}: refused here alone`, details: details(String((problem as Error).stack)) };
  }
}

/** What the config's own reader says where there are no weights. */
function refusalOf({ architecture, config }: Case): ConfigError | undefined {
  const readers: readonly [string, (json: Json) => unknown][] = [
    ["CLIP", parseClipVisionConfig],
    ["Siglip", parseSiglipVisionConfig],
    ["Dinov2", parseDinov2Config],
    ["VideoMAE", parseVideoMaeConfig],
    ["Clap", parseClapAudioConfig],
  ];
  const tower = (config.vision_config as Json | undefined)?.model_type === "siglip_vision_model" ? "Siglip" : "CLIP";
  const name = architecture.startsWith("Llava") ? tower : architecture;
  const read = readers.find(([begin]) => name.startsWith(begin))?.[1];
  try {
    read?.(config);
    return undefined;
  } catch (problem) {
    if (problem instanceof ConfigError) return problem;
    throw problem;
  }
}

async function problemsOf({ path, architecture, shape, isLonger, layer }: Case, moved: Moved): Promise<string[]> {
  using encoder = await AutoEncoder.fromPretrained(path, { device: "cpu", dtype: "f32" });
  using want = Checkpoint.open(join(path, "want.st"));
  const wanted = (name: string) => new Float32Array(want.bytes(name));
  using x = Tensor.from(wanted("x"), shape, { device: device("cpu") });
  const problems: string[] = [];
  const hold = async (name: string, got: Tensor) => {
    if (!want.has(name)) return;
    const [values, theirs] = [(await got.data()) as Float32Array, wanted(name)];
    const allowed = ALLOWED * theirs.reduce((most, v) => Math.max(most, Math.abs(v)), 0) + MOVES * (moved[name] as number);
    const at = theirs.findIndex((v, i) => !(Math.abs(v - (values[i] as number)) <= allowed));
    if (values.length !== theirs.length) problems.push(`${name}: ${values.length} values, not ${theirs.length}`);
    else if (at >= 0) problems.push(`${name}[${at}]: ${values[at]}, want ${theirs[at]} ± ${allowed}`);
  };
  const run = async (at: number, use: (output: EncoderOutput) => Promise<void>) => {
    const output = noGrad(() => encoder.forward(x, { layer: at, ...(isLonger && { isLonger }) }));
    await use(output).finally(() => [output.hidden, output.embeds, output.pooled].map((each) => each.dispose()));
  };
  await run(-1, async ({ hidden, embeds, pooled }) => {
    await hold("hidden", hidden);
    await hold("pooled", pooled);
    await hold("embeds", embeds);
  });
  if (!architecture.startsWith("Clap") && want.has(`hidden.${layer}`)) await run(layer, ({ hidden }) => hold(`hidden.${layer}`, hidden));
  return problems;
}

/** Saved here, and read by transformers. */
async function savedProblems(asked: Case, moved: Moved, ask: (question: unknown) => Promise<unknown>): Promise<string[]> {
  const saved = join(asked.path, "saved");
  using encoder = await AutoEncoder.fromPretrained(asked.path, { device: "cpu", dtype: "f32" });
  await saveModel(saved, encoder, encoder.configJson());
  const { value, error } = (await ask({ ...asked, saved })) as {
    value?: { off: number; missing: string[]; unexpected: string[] };
    error?: string;
  };
  if (!value) return [`saved: ${error}`];
  const names = [...value.missing, ...value.unexpected];
  if (names.length) return [`saved: names that do not fit: ${names}`];
  return value.off <= 1e-5 + MOVES * (moved.hidden as number) ? [] : [`saved: off by ${value.off}`];
}

export const encoders: Target = { name: "encoders", needs: "transformers, torch, safetensors", script: "encoders.py", cases, compare };
