// Whatever step of an answer or of a training fails: it is told under a code, nothing stays on the device, and the next one works.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { ConversationMemory } from "../../lib/anymal/conversation-memory.js";
import { backward } from "../../lib/core/autograd.js";
import type { Tensor } from "../../lib/core/tensor.js";
import type { Row } from "../../lib/data/row.js";
import { ClipModel } from "../../lib/models/clip.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { align } from "../../lib/train/align.js";
import { contrastive } from "../../lib/train/contrastive.js";
import { instruct } from "../../lib/train/instruct.js";
import { language } from "../../lib/train/language.js";
import { blink, captions, shake, square, type Toy, toy } from "../anymal/toy.js";
import { caseFolder, here } from "../case.js";
import { spread, sweep, withFault } from "../faults.js";

const test = suite("faults in running");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

async function all(steps: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of steps);
}
/** Writes the projections as they are now: what a training that failed has made of them is nobody's starting point. */
async function restorer(model: AnyMAL): Promise<() => void> {
  const parameters = model.modalities.flatMap((modality) => model.projector(modality).parameters());
  const kept = await Promise.all(parameters.map(async (p) => [p, await p.data()] as const));
  return () => {
    for (const [p, data] of kept) p.write(data);
  };
}
const STEP = { batch: 2, microBatch: 1, learningRate: 1e-3, warmupSteps: 0, steps: 2 } as const;

test("answers: one, sampled, many, a conversation", async () => {
  using model = await AnyMAL.assemble(world.options());
  const prompt = ["of ", square("red"), blink("red", "white"), shake(3), " say"] as const;
  await sweep("generate", () => all(model.generate([...prompt], { maxNewTokens: 3 })));
  await sweep("sampled", () => all(model.generate("hello", { maxNewTokens: 3, temperature: 1, seed: 1 })));
  await sweep("generateAll", () => model.generateAll([[...prompt], "hello"], { maxNewTokens: 3 }));
  await sweep("conversation", async () => {
    using memory = new ConversationMemory();
    for (const more of [0, 6]) {
      const role = (i: number) => (i % 2 ? ("assistant" as const) : ("user" as const));
      const turns = Array.from({ length: 1 + more }, (_, i) => ({ role: role(i), content: [`turn ${i}`, ...(i ? [] : [square("blue")])] }));
      await all(model.generate(turns, { maxNewTokens: 2, memory }));
    }
  });
});

test("forward and backward, plain and recomputed", async () => {
  const model = LlamaForCausalLM.fromPretrained(caseFolder("llama2"), { device: here, trainable: true });
  const inputIds = [[1, 2, 3, 4]];
  for (const recomputed of [false, true]) {
    model.gradientCheckpointing = recomputed;
    await sweep(`recomputed: ${recomputed}`, () => {
      let loss: ReturnType<typeof model.forward>["loss"];
      try {
        loss = model.forward({ inputIds }, { labels: inputIds, logits: false }).loss!;
        backward(loss);
      } finally {
        loss?.dispose();
        for (const p of model.parameters()) {
          p.grad?.dispose();
          p.grad = undefined;
        }
      }
    });
  }
  model.dispose();
});

test("stage 1, also with 8-bit moments and recomputation", async () => {
  using model = await AnyMAL.assemble(world.options());
  const data = captions();
  const restore = await restorer(model);
  for (const more of [{}, { optimizer: "adamw8bit", gradientCheckpointing: true }] as const)
    await sweep("align", () => {
      restore();
      model.calibrated.clear();
      return all(align(model, { modality: "image", data, ...STEP, ...more }));
    });
});

test("stage 2", async () => {
  using model = await AnyMAL.assemble(world.options());
  const rows: Row[] = captions();
  const restore = await restorer(model);
  await sweep("instruct", async () => {
    restore();
    try {
      await all(instruct(model, { data: rows, ...STEP, lora: { r: 2, alpha: 4, dropout: 0.1 } }));
    } finally {
      model.adapter?.unload();
      model.adapter = undefined;
    }
  });
});

test("from nothing: a language model, two towers", async () => {
  const text = [{ ids: [1, 2, 3, 4] }];
  await sweep("language", async () => {
    using llm = LlamaForCausalLM.fromPretrained(caseFolder("llama2"), { device: here, trainable: true });
    await all(language(llm, { batch: () => text, steps: 2, learningRate: 1e-3 }));
  });

  await sweep("contrastive", async () => {
    using clip = ClipModel.fromPretrained(caseFolder("clip-pair"), { device: here, trainable: true });
    const size = clip.config.vision.imageSize;
    const media = { data: new Float32Array(2 * 3 * size * size).fill(0.5), shape: [2, 3, size, size] };
    const captions = [1, 2].map((first) => [first, first + 1, clip.config.text.eosTokenId]);
    const towers = { encoder: clip.vision, text: clip.text, logitScale: clip.logitScale };
    await all(contrastive({ ...towers, batch: () => ({ media, captions }), steps: 2, learningRate: 1e-3 }));
  });
});

/** After faults on the device in `train`: every parameter can be read, and is a number. */
async function leavesWeights(
  name: string,
  parameters: () => Iterable<readonly [string, Tensor]>,
  train: () => Promise<void>,
): Promise<void> {
  const { steps } = await withFault(0, "now", train);
  let failed = 0;
  for (const n of spread(steps, 40)) {
    const { error } = await withFault(n, "later", train);
    failed += Number(error !== undefined);
    for (const [path, parameter] of parameters()) {
      const where = `${name}, step ${n}: ${path}`;
      const values = await parameter.data().catch((problem: Error) => assert.unreachable(`${where}: ${problem.message}`));
      assert.ok(Array.from(values as Float32Array).every(Number.isFinite), where);
    }
  }
  assert.ok(failed > 20, `${name}: ${failed} of 40 faults were felt`);
}

test("what a training that failed leaves behind are weights: a step that was not made is taken back", async () => {
  const text = [{ ids: [1, 2, 3, 4] }];
  using llm = LlamaForCausalLM.fromPretrained(caseFolder("llama2"), { device: here, trainable: true });
  await leavesWeights(
    "language",
    () => llm.namedParameters(),
    () => all(language(llm, { batch: () => text, steps: 2, learningRate: 1e-3 })),
  );
  using model = await AnyMAL.assemble(world.options());
  const data = captions();
  await all(align(model, { modality: "image", data, ...STEP })); // calibrated, which writes weights and is not taken back
  await leavesWeights(
    "align",
    () => model.projector("image").namedParameters(),
    () => all(align(model, { modality: "image", data, ...STEP })),
  );
});

test.run();
