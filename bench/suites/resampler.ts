// One layer of a Perceiver resampler, forward, and forward with its backward, with weights in f32 that are computed with in bf16 as in training: on a card
// in one graph. Beside it PyTorch's layer of the same shape under autocast: as it runs by itself, in a graph, compiled.
import { backward, type Device, noGrad, scope, sum, Tensor } from "../../lib/index.js";
import { Resampler } from "../../lib/models/bridges/perceiver.js";
import { Weights } from "../../lib/nn/weights.js";
import { capturedSampler } from "../captured.js";
import { contest, type Figures } from "../contest.js";
import { atEachLevel, type Place } from "../levels.js";
import { floorOf } from "../limits.js";
import type { SuiteOptions } from "../suite.js";

interface Shape {
  batch: number;
  latents: number;
  keys: number;
  dim: number;
  heads: number;
  headDim: number;
}
/** A picture's cells at 336 pixels, and OpenFlamingo's latents. */
const SHAPE: Shape = { batch: 4, latents: 64, keys: 577, dim: 1024, heads: 16, headDim: 64 };
const TINY: Shape = { batch: 2, latents: 8, keys: 37, dim: 64, heads: 2, headDim: 32 };
const PASSES = ["forward", "forward and backward"] as const;
const AS = { eager: "eager", graph: "eager, in a graph", compiled: "compiled" };
const TURNS = 5;

export default function resampler(options: SuiteOptions): Promise<Figures[]> {
  const shape = options.size === "tiny" ? TINY : SHAPE;
  return atEachLevel(options, async (place, report) => {
    for (const pass of PASSES) {
      const name = `${shape.latents} latents of ${shape.keys} keys, width ${shape.dim}, batch ${shape.batch}, ${pass}`;
      if (name.includes(options.filter)) report(await measure(options, place, shape, pass, name));
    }
  });
}

async function measure(options: SuiteOptions, { device, level, peaks }: Place, shape: Shape, pass: (typeof PASSES)[number], name: string) {
  const torch = await torchLayers(options, device, shape, pass);
  using layer = ownLayer(device, shape);
  using ours = await capturedSampler(device, pass === "forward" ? () => layer.forward() : () => layer.forwardAndBackward());
  const { flops, bytes } = workOf(shape, pass);
  const told = {
    case: name,
    level,
    unit: "us",
    of: (seconds: number) => 1e6 * seconds,
    limit: floorOf(peaks, "bf16", flops, bytes),
    more: (seconds: number) => ({ "GFLOP/s": flops / seconds / 1e9, "GB/s": bytes / seconds / 1e9 }),
  };
  const figures = await contest(
    told,
    () => ours.sample(),
    torch.map((side) => [side]),
    options.turns ?? TURNS,
    true,
  );
  for (const side of torch) await side.drop();
  return figures;
}

function ownLayer(device: Device, { batch, latents, keys, dim, heads, headDim }: Shape) {
  const model = new Resampler(Weights.fresh({ device, dtype: "f32" }), {
    form: "flamingo",
    dim,
    depth: 1,
    heads,
    dimHead: headDim,
    latents,
  });
  const media = Tensor.full([batch, keys, dim], 0.5, { device, dtype: "bf16" });
  return {
    forward: () => scope(() => void noGrad(() => model.forward(media))),
    forwardAndBackward: () => scope(() => backward(sum(model.forward(media)))),
    [Symbol.dispose]: () => {
      model.dispose();
      media.dispose();
    },
  };
}

/** Every weight once for each row that it meets, and both products of attention; backward twice as much. Weights are read in f32, rows in bf16. */
function workOf({ batch, latents, keys, dim, heads, headDim }: Shape, pass: string): { flops: number; bytes: number } {
  const inner = heads * headDim;
  const rows = latents * (2 * dim * inner + 8 * dim * dim) + 2 * (keys + latents) * dim * inner;
  const flops = 2 * batch * (rows + 2 * latents * (keys + latents) * inner);
  const weights = 4 * (4 * dim * inner + 8 * dim * dim);
  const activations = 2 * batch * dim * (keys + latents);
  return pass === "forward" ? { flops, bytes: weights + activations } : { flops: 3 * flops, bytes: 3 * weights + 2 * activations };
}

async function torchLayers({ rivals }: SuiteOptions, device: Device, shape: Shape, pass: string) {
  // A graph is a card's.
  const ways = (["eager", "graph", "compiled"] as const).filter((way) => way !== "graph" || device.name === "cuda");
  const request = { what: "resampler", ...shape, pass };
  return (await rivals?.torch(...ways.map((way) => [{ ...request, as: way }, AS[way]] as const))) ?? [];
}
