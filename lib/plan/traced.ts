// One stage let run on a dry device, and what was counted on the way.

import type { Device, DeviceMemory } from "../core/device.js";
import { type DryOptions, openDry } from "../core/dry.js";
import { CardScratch } from "./card-scratch.js";
import { Costs, type Sums } from "./costs.js";
import { CpuScratch } from "./cpu-scratch.js";
import { levelOf, type Machine } from "./machines.js";
import { bytesOf, counting, type OpCall } from "./op-call.js";

/** Sums as they stood when an update of the parameters began. */
export type Mark = Sums;
interface Update {
  gradients: number;
  moments: number;
}

export class Traced implements AsyncDisposable {
  readonly device: Device;
  readonly marks: Mark[] = [];
  /** Of one update: tensors by their bytes. */
  update: Update = { gradients: 0, moments: 0 };
  readonly #scratch: CpuScratch | CardScratch;
  readonly #costs: Costs;
  #updating = false;
  /** Of what was recorded last: the sums before and behind it, and how often it was replayed. */
  #recorded = { from: { flops: 0, seconds: 0 }, to: { flops: 0, seconds: 0 }, replays: 0 };

  constructor(machine: Machine, layout: DryOptions) {
    this.#costs = new Costs(machine);
    const onOp = counting((op, call) => this.#count(op, call));
    this.device = openDry({ ...layout, onOp, onCapture: (event) => this.#captured(event) });
    const { level, threads } = levelOf(this.device.describe());
    this.#scratch = machine.kind === "cpu" ? new CpuScratch(level, threads) : new CardScratch();
  }

  get scratch(): number {
    return this.#scratch.bytes;
  }
  get costs(): Mark {
    const { flops, seconds } = this.#costs;
    return { flops, seconds };
  }

  /** Of all that was asked for so far; without what ops compute in. */
  async memory(): Promise<DeviceMemory> {
    await this.device.synchronize();
    return this.device.memory();
  }

  #count(op: string, call: OpCall): void {
    const updates = op === "adamw_clipped";
    if (updates) {
      if (!this.#updating) {
        this.marks.push(this.costs);
        this.update = { gradients: 0, moments: 0 };
      }
      const sum = (...lists: number[]) => lists.flatMap((i) => call.all(i)).reduce((n, x) => n + bytesOf(x), 0);
      this.update.gradients += sum(1);
      this.update.moments += sum(2, 3, 4, 5);
    }
    this.#updating = updates;
    this.#scratch.take(op, call);
    this.#costs.add(op, call);
  }

  /** What is recorded runs when it is replayed: its first run was counted with the recording. */
  #captured(event: "begin" | "end" | "replay"): void {
    if (event === "begin") this.#recorded = { from: this.costs, to: this.costs, replays: 0 };
    else if (event === "end") this.#recorded.to = this.costs;
    else if (this.#recorded.replays++) this.#costs.repeat(this.#recorded.from, this.#recorded.to);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.device.close();
  }
}
