// One process of endings.ts, or one of its workers: works in a way drawn at random until it is ended.
//   node life.mjs ROOT WORLD worker|exit|throw|abort SEED ROUNDS
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const [root, world, ending, seed, rounds] = isMainThread ? process.argv.slice(2) : workerData;
const anymal = await import(join(root, "dist/index.mjs"));
const { AnyMAL, AdamW, align, audio, backward, device, image, linear, loadAudio, loadImage, scope, sum, Tensor } = anymal;

let state = Number(seed) >>> 0;
const draw = (most) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * most);
};
const files = (modality, ...kinds) =>
  readdirSync(join(world, modality, "heldout"))
    .filter((file) => kinds.some((kind) => file.endsWith(kind)))
    .map((file) => join(world, modality, "heldout", file));
const tiny = (name) => join(root, "models/tiny", name);
const assemble = (signal) =>
  AnyMAL.assemble({
    llm: tiny("llama"),
    modalities: { image: { encoder: tiny("clip"), projector: { type: "resampler", layers: 1, tokens: 4, heads: 4 } } },
    ...(signal && { signal }),
  });

/** Each goes on until the signal aborts, or for ever. */
const WORK = {
  async ops(signal) {
    const w = Tensor.full([192, 192], 0.01);
    let y = Tensor.full([192, 192], 0.01);
    for (let i = 0; !signal?.aborted; ++i) {
      const before = y;
      y = scope(() => linear(before, w));
      before.dispose();
      if (i % 40 === 39) await y.data();
    }
    w.dispose();
    y.dispose();
  },
  async closing(signal) {
    while (!signal?.aborted) {
      const d = device("cpu", { threads: 1 });
      const w = Tensor.full([256, 256], 0.01, { device: d });
      let y = w;
      for (let i = 0; i < 60; ++i) y = scope(() => linear(y, w));
      void y.data().catch(() => undefined);
      const closed = d.close();
      if (draw(2)) await closed;
      else await sleep(0);
    }
  },
  async optimiser(signal) {
    const w = Tensor.full([64, 64], 0.01, { requiresGrad: true });
    const optimizer = new AdamW([{ parameters: [["w", w]] }]);
    while (!signal?.aborted) {
      const loss = scope(() => sum(linear(Tensor.full([64, 64], 0.1), w)));
      backward(loss);
      optimizer.step(1e-3).dispose();
      optimizer.zeroGrad();
      loss.dispose();
      if (!draw(8)) await w.data();
    }
    optimizer.dispose();
    w.dispose();
  },
  async media(signal) {
    const pictures = files("image", ".png", ".jpg");
    const sounds = files("audio", ".wav");
    while (!signal?.aborted) await Promise.all([...pictures.map((p) => loadImage(image(p))), ...sounds.map((s) => loadAudio(audio(s)))]);
  },
  async answers(signal) {
    const model = await assemble();
    try {
      const pictures = files("image", ".png", ".jpg");
      for (let i = 0; !signal?.aborted; ++i)
        for await (const _ of model.generate([image(pictures[i % pictures.length]), "what color is it?"], {
          maxNewTokens: 1 + draw(8),
          ...(signal && { signal }),
        }));
    } finally {
      model.dispose();
    }
  },
  async loading(signal) {
    while (!signal?.aborted) (await assemble(signal)).dispose();
  },
  async training(signal) {
    const model = await assemble();
    try {
      for await (const _ of align(model, {
        modality: "image",
        data: join(world, "image/captions.train.jsonl"),
        steps: 10_000,
        batch: 4,
        ...(signal && { signal }),
      }));
    } finally {
      model.dispose();
    }
  },
};
const kinds = Object.keys(WORK);
/** Gives the event loop back to nobody, so that only a worker can be ended in it: inside of one of its calls, most likely. */
function calls() {
  const x = Tensor.full([1, 2, 1, 2, 1, 2], 1);
  for (;;) scope(() => x.reshape([2, 1, 2, 1, 2, 1]));
}

/** Reserved memory stays; what is in use, and the tensors, must be what they were. */
async function held() {
  const d = device("cpu");
  await d.synchronize();
  const { bytesInUse, tensors } = d.memory();
  return { bytesInUse, tensors };
}

async function endWorkers() {
  for (let i = 0; i < Number(rounds); ++i) {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: [root, world, i % 4 ? "calls" : kinds[draw(kinds.length)], String(draw(2 ** 31)), "1"],
      execArgv: [],
    });
    let failure;
    worker.on("error", (error) => {
      failure = error;
    });
    await once(worker, "message");
    await sleep(draw(120));
    await worker.terminate();
    if (failure) throw failure;
  }
  // The process goes on with an addon of its own: what a dead worker left behind would be written to now.
  await Promise.all([WORK.ops(AbortSignal.timeout(200)), WORK.optimiser(AbortSignal.timeout(200))]);
}

async function abortOften() {
  await WORK.answers(AbortSignal.timeout(300)).catch(() => undefined);
  const before = await held();
  for (let i = 0; i < Number(rounds); ++i) {
    const kind = kinds[draw(kinds.length)];
    const control = new AbortController();
    const done = WORK[kind](control.signal);
    await sleep(draw(150));
    control.abort();
    await done.catch((error) => {
      if (error?.name !== "AbortError") throw error;
    });
    const after = await held();
    for (const key of Object.keys(before))
      if (after[key] !== before[key]) throw new Error(`${kind}: ${key} was ${before[key]}, is ${after[key]}`);
  }
}

if (!isMainThread) {
  parentPort.postMessage("works");
  await (ending === "calls" ? calls() : WORK[ending]());
} else if (ending === "worker" || ending === "abort") {
  await (ending === "worker" ? endWorkers() : abortOften());
  console.log("nothing left");
} else {
  const end =
    ending === "exit"
      ? () => process.exit(7)
      : () => {
          throw new Error("thrown on purpose");
        };
  setTimeout(end, draw(400));
  for (const kind of [kinds[draw(kinds.length)], kinds[draw(kinds.length)]]) void WORK[kind]();
}
