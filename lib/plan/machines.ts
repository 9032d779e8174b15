// What a plan is made for: this machine's CPU, as measured, or a card by the numbers of its data sheet.
import { totalmem } from "node:os";
import type { Device } from "../core/device.js";
import { expected } from "../core/errors.js";
import type { Level } from "./cpu-products.js";

export interface Machine {
  name: string;
  kind: "cpu" | "cuda";
  /** Bytes. */
  memory: number;
  /** FLOP/s of matrix products by the dtype of their operands, with sums in f32 and no sparsity. */
  f32: number;
  bf16: number;
  /** Bytes/s. */
  bandwidth: number;
  /** Seconds for which each op keeps the machine at least. */
  launch: number;
}

const card = (name: string, gib: number, bf16: number, f32: number, bandwidth: number): Machine => ({
  ...{ name, kind: "cuda", memory: gib * 2 ** 30 },
  ...{ bf16: bf16 * 1e12, f32: f32 * 1e12, bandwidth: bandwidth * 1e9, launch: 4e-6 },
});

/** NVIDIA's data sheets: GiB, dense TFLOP/s in bf16 and in f32, GB/s. */
export const CARDS: Readonly<Record<string, Machine>> = {
  h200: card("NVIDIA H200 SXM", 141e9 / 2 ** 30, 989, 67, 4800),
  h100: card("NVIDIA H100 SXM", 80, 989, 67, 3350),
  "h100-pcie": card("NVIDIA H100 PCIe", 80, 756, 51, 2000),
  "a100-80": card("NVIDIA A100 80 GB SXM", 80, 312, 19.5, 2039),
  "a100-40": card("NVIDIA A100 40 GB SXM", 40, 312, 19.5, 1555),
  l40s: card("NVIDIA L40S", 48, 362, 91.6, 864),
  a10: card("NVIDIA A10", 24, 125, 31.2, 600),
  l4: card("NVIDIA L4", 24, 121, 30.3, 300),
  "rtx-4090": card("NVIDIA GeForce RTX 4090", 24, 165.2, 82.6, 1008),
  "rtx-3090": card("NVIDIA GeForce RTX 3090", 24, 71, 35.6, 936),
};

/** Throws E_VALUE on a name that is none of a card in the table. */
export function cardOf(name: string): Machine {
  const key = name.toLowerCase();
  const found = Object.hasOwn(CARDS, key) ? CARDS[key] : undefined;
  if (found) return found;
  throw expected("E_VALUE", "plan: machine", `cpu, or one of ${Object.keys(CARDS).join(", ")}`, name, "or give its numbers as an object");
}

/** What a CPU device can do, measured now; takes a second or two. */
export async function measuredCpu(device: Device): Promise<Machine> {
  const [f32, bf16, bandwidth] = [await device.peak("f32"), await device.peak("bf16"), await device.peak("bandwidth")];
  // A level without products of bf16 widens them.
  return { name: device.describe(), kind: "cpu", memory: memoryHere(), f32, bf16: Math.max(f32, bf16), bandwidth, launch: 2e-6 };
}

/** Of this machine, or of the control group that the process is in. */
export function memoryHere(): number {
  const constrained = process.constrainedMemory?.() ?? 0;
  return constrained > 0 && constrained < totalmem() ? constrained : totalmem();
}

/** "cpu: avx2, 4 threads" in parts. */
export function levelOf(described: string): { level: Level; threads: number } {
  const [, level = "generic", threads = "1"] = /^cpu: (\w+), (\d+) thread/.exec(described) ?? [];
  return { level: level as Level, threads: Number(threads) };
}
