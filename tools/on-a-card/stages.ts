// What is worth knowing of a card, in the order of worth: does it build, is the first op right, are the newest kernels, then all; how fast the products are
// that the project exists for, and does training run. On the emulated device the same course in small, so that CI sees that each of its commands works.
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command, Stage } from "./course.js";

export interface Surroundings {
  root: string;
  device: "cuda" | "emulated";
  /** Where the stages put files of their own. */
  folder: string;
  /** A Python with PyTorch, if there is one. */
  python?: string | undefined;
  sanitizer?: string | undefined;
}

/** Ops whose kernels are chosen by the number of multiprocessors. */
const CHOOSERS =
  "linear,linear_dx,linear_dw,linear_quantized,linear_quantized_dx,linear_quantized_lora,linear_quantized_lora_backward,linear_quantized_group,linear_quantized_group_backward,attention_decode,conv1d,conv1d_backward,conv2d,conv2d_backward,gru,gru_backward,head_cross_entropy,contrastive_loss";
/** One of each kind of access to memory. */
const MEMCHECK =
  "linear,linear_quantized,linear_quantized_dx,linear_quantized_lora_backward,linear_quantized_group,linear_quantized_group_backward,attention,attention_backward,attention_decode,cache_write,gather_rows_backward,embedding_backward,rms_norm_backward,conv1d_backward,adamw_8bit,adamw_clipped,head_cross_entropy,quantize_absmax,sample_categorical";
/** Kernels that no card has run yet, newest first: what stands around products, groups of them, few rows and some hundreds, the optimiser in two launches, norms that end in one. */
const NEWEST =
  "linear_quantized_group,linear_quantized_group_backward,add_rms_norm,rope_pair,rope_cached,head_cross_entropy,linear_fused,linear_fused_backward,project_two_source,project_two_source_backward,linear_quantized,linear_quantized_dx,linear_quantized_lora,linear_quantized_lora_backward,adamw_clipped,attention_two_source,attention_two_source_backward,layer_norm_backward,rms_norm_backward,linear";
const HOPPER = { ANYMAL_CUDA_WGMMA: "1" };
/** Processors for which kernels are chosen besides the card's own: one, the emulated card's, an H200's. */
const PROCESSORS = [1, 4, 132];

export function stagesFor({ root, device, folder, python, sanitizer }: Surroundings): Stage[] {
  const brief = device === "emulated";
  const module = join(root, brief ? "build/emulator/libanymal_emulated.so" : "build/Release/libanymal_cuda.so");
  const onDevice = { ANYMAL_DEVICE: device, ...(brief && { ANYMAL_EMULATED_MODULE: module }) };
  const tsx = (...args: string[]): Command => ({
    command: process.execPath,
    args: ["--import", "tsx", join(root, args[0] as string), ...args.slice(1)],
    env: onDevice,
  });
  const ops = (...args: string[]): Command => ({ command: join(root, "build/cmake/backend_ops"), args: [module, ...args] });
  const test = (file: string) => tsx(`test/${file}.test.ts`);
  const bench = (suite: string, ...args: string[]) => {
    const size = suite === "decode" ? `-${args[args.indexOf("--size") + 1]}` : ""; // of which there are two
    return tsx("bench/run.ts", suite, "--device", device, "--json", join(folder, `bench-${suite}${size}.json`), ...args);
  };

  const checked = join(root, "build/emulator/libanymal_emulated_checked.so");
  const memcheck = (): Stage["commands"] => {
    // The emulator's checker looks for what memcheck does.
    if (brief)
      return existsSync(checked)
        ? [{ ...ops(), args: [checked, "--ops", "rms_norm_backward"] }]
        : "the emulator's checked variant is not built";
    if (!sanitizer) return "compute-sanitizer was not found beside nvcc";
    const { command, args } = ops("--ops", MEMCHECK);
    return [{ command: sanitizer, args: ["--tool", "memcheck", "--error-exitcode", "9", command, ...args] }];
  };
  const rival = python ? ["--rival", python] : [];
  const rivals = python ? ["--rivals", "--python", python] : [];
  const demo = ["--output", join(folder, "demo"), "--json", join(folder, "demo.json")];
  const hopper = { ...ops("--many-rows", ...(brief ? ["--ops", "linear_quantized_dx"] : [])), env: { ...HOPPER, EMU_CAPABILITY: "90" } };
  const goals: Stage[] = [
    { name: "bench-linear", weight: 6, commands: [bench("linear", "--size", "70b", "--turns", "3", "--filter", "nf4 nested", ...rivals)] },
    { name: "bench-paths", weight: 4, commands: [bench("paths", "--size", "70b", "--turns", "2", "--write")] },
    { name: "bench-resampler", weight: 1, commands: [bench("resampler", ...rivals)] },
    { name: "bench-attention", weight: 1, commands: [bench("attention", "--size", "70b", "--filter", "bf16", ...rivals)] },
    { name: "bench-memory", weight: 1, commands: [bench("memory", "--filter", "adamw_clipped", ...rivals)] },
    {
      name: "bench-train-step",
      weight: 4,
      commands: [bench("train-step", "--size", "70b", "--filter", "4 x 192", "--turns", "3", ...rivals)],
    },
    { name: "bench-decode-70b", weight: 3, commands: [bench("decode", "--size", "70b", "--filter", "nf4", "--turns", "2", ...rivals)] },
    { name: "bench-decode-7b", weight: 2, commands: [bench("decode", "--size", "7b", "--filter", "nf4", "--turns", "2", ...rivals)] },
  ];
  // The same commands at tiny sizes, each with the case that an emulator is done with soonest.
  const small: Stage[] = (
    [
      ["linear", "nf4 nested, k, v 256 to 128, 1 rows, forward"],
      ["paths", "nf4 nested, k, v 256 to 128, 1 rows, forward"],
      ["attention", "bf16, 4 heads over 2, D 64, 64 tokens, decode"],
      ["memory", "adamw_clipped"],
      ["train-step", "bf16, 2 x 8"],
      ["decode", "nf4"],
    ] as const
  ).map(([suite, filter]) => ({
    name: `bench-${suite}`,
    weight: 2,
    commands: [bench(suite, "--size", "tiny", "--turns", "1", "--filter", filter)],
  }));
  return [
    { name: "build", weight: 3, needed: true, commands: [tsx("tools/on-a-card/build.ts", "--device", device)] },
    { name: "first", weight: 1, needed: true, commands: [ops("--ops", "add")] },
    { name: "newest", weight: 1, commands: [ops("--ops", brief ? "adamw_clipped" : NEWEST)] },
    { name: "hopper", weight: 1, commands: [hopper] },
    ...(brief ? small : goals),
    { name: "ops", weight: 2, commands: [brief ? ops("--ops", "linear,rms_norm,adamw_8bit") : ops()] },
    {
      name: "tiles",
      weight: 2,
      commands: brief
        ? [ops("--ops", "linear_dx", "--processors", "132")]
        : PROCESSORS.map((n) => ops("--ops", CHOOSERS, "--processors", String(n))),
    },
    { name: "memcheck", weight: 2, commands: memcheck() },
    { name: "trajectories", weight: 2, commands: brief ? [test("models/projectors")] : [test("models/trajectory"), test("train/stages")] },
    // A demo on the emulated device would take an hour: here it is the CPU's.
    {
      name: "demo",
      weight: 3,
      commands: [tsx("lib/cli/main.ts", "demo", "--device", brief ? "cpu" : device, "--effort", brief ? "0.002" : "0.1", ...demo)],
    },
    { name: "bench-ops", weight: 6, commands: [bench("ops", "--resume", ...(brief ? ["--filter", "clip_scale"] : rival))] },
  ];
}
