// One life of a process that uses the addon; lifecycle.test.ts starts it at every stage and looks at how it ends.
import { once } from "node:events";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { device, linear, openDevice, scope, Tensor } from "../../lib/index.js";

const startWorker = (stage: string) => new Worker(new URL("./worker.mjs", import.meta.url), { workerData: stage, execArgv: [] });

const stage = isMainThread ? (process.argv[2] ?? "") : (workerData as string);

/** Enough enqueued work that the queue is busy for a while. */
function busy(steps: number): Tensor {
  const x = Tensor.full([256, 256], 0.01);
  const w = Tensor.full([256, 256], 0.01);
  let y = x;
  for (let i = 0; i < steps; i++) y = scope(() => linear(y, w));
  return y;
}

/** What two workers must agree on bit for bit. */
async function checksum(): Promise<number> {
  const y = busy(20);
  const data = (await y.data()) as Float32Array;
  return data.reduce((a, b) => a + b, 0);
}

const stages: Record<string, () => Promise<void> | void> = {
  "after loading": () => process.exit(0),
  "after opening a device": () => {
    device("cpu");
    process.exit(0);
  },
  "while a device opens": () => {
    void openDevice("cpu");
    process.exit(0);
  },
  "by itself with a device that nobody awaited": () => {
    void openDevice("cpu");
  },
  "with work enqueued": () => {
    busy(200);
    process.exit(0);
  },
  "with a read open": () => {
    void busy(200).data();
    process.exit(0);
  },
  "by an exception with work enqueued": () => {
    busy(200);
    throw new Error("thrown on purpose");
  },
  // An open promise keeps the process alive until it settles, and nothing keeps it alive after that.
  "by itself after a read": () => {
    void busy(50)
      .data()
      .then((d) => console.log(`settled ${d.length}`));
  },
  "by itself with work enqueued and nothing awaited": () => {
    busy(50);
  },
  "after garbage collection while busy": async () => {
    for (let i = 0; i < 50; i++) {
      busy(4);
      globalThis.gc?.();
    }
    await device("cpu").synchronize();
    console.log("settled");
  },
  "after closing a device with work enqueued": async () => {
    const d = device("cpu");
    const t = busy(100);
    await d.close();
    try {
      t.shape;
      await t.data();
    } catch (e) {
      console.log((e as { code: string }).code);
    }
  },
  "two workers": async () => {
    const sums = await Promise.all(
      [0, 1].map(async () => {
        const worker = startWorker("worker: sum");
        const [sum] = await once(worker, "message");
        await once(worker, "exit");
        return sum as number;
      }),
    );
    if (sums[0] !== sums[1] || sums[0] !== (await checksum())) throw new Error(`workers disagree: ${sums}`);
    console.log("settled");
  },
  "terminating a busy worker": async () => {
    for (let i = 0; i < 5; i++) {
      const worker = startWorker("worker: busy");
      await once(worker, "message");
      await worker.terminate();
    }
    console.log(`settled ${Number.isFinite(await checksum())}`);
  },
  "terminating workers that open a device": async () => {
    for (let i = 0; i < 20; i++) {
      const worker = startWorker("worker: opening");
      await once(worker, "message");
      await worker.terminate();
    }
    console.log(`settled ${Number.isFinite(await checksum())}`);
  },
  "worker: opening": () => {
    for (let threads = 1; threads <= 8; threads++) void openDevice("cpu", { threads });
    parentPort?.postMessage("opening");
  },
  "worker: sum": async () => {
    parentPort?.postMessage(await checksum());
  },
  "worker: busy": () => {
    void busy(300).data();
    parentPort?.postMessage("busy");
  },
};

const run = stages[stage];
if (!run) throw new Error(`no such stage: ${stage}`);
await run();
