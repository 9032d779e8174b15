// A head's loss on the emulated card, forward and backward: by how many rows, and whether the head trains, is the argument.
import { backward, device, scope, Tensor } from "../../lib/index.js";
import { headCrossEntropy } from "../../lib/ops/index.js";
import { random } from "../harness.js";

export interface Asked {
  rows: number;
  trains: boolean;
}

const [C, V] = [16, 24];
const { rows, trains }: Asked = JSON.parse(process.argv[2] as string);
const d = device("emulated");
const draw = random(5);
const drawn = (...shape: [number, number]) =>
  Tensor.from(Float32Array.from({ length: shape[0] * shape[1] }, draw), shape, { device: d, dtype: "bf16" });
const [x, w] = [drawn(rows, C), drawn(V, C)];
x.requiresGrad = true;
w.requiresGrad = trains;
const target = Tensor.from(
  Int32Array.from({ length: rows }, (_, i) => i % V),
  [rows],
  { device: d },
);
backward(scope(() => headCrossEntropy(x, w, target)));
await d.synchronize();
