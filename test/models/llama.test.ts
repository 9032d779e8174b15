// The language models against transformers: logits, every hidden state, loss, gradient, greedy decoding with a cache.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { Case, caseNames, largest } from "../case.js";
import { decoderCases, loadDecoder } from "./decoder-cases.js";

decoderCases(/^(llama(?!-adapter)|mistral|qwen(?!2-audio))/);

const load = loadDecoder;

test("a checkpointed forward gives the same gradients, bit for bit", async () => {
  const [name] = caseNames(/^llama2$/) as [string];
  const c = new Case(name);
  using model = load(c.folder);
  const run = async (on: boolean) => {
    model.gradientCheckpointing = on;
    const inputsEmbeds = model.embed(c.rows("in.input_ids.right"));
    inputsEmbeds.requiresGrad = true;
    const { loss } = model.forward(
      { inputsEmbeds, attentionMask: c.rows("in.attention_mask.right") },
      { labels: c.rows("in.labels.right"), logits: false },
    );
    backward(loss!);
    return inputsEmbeds.grad!.data();
  };
  assert.equal(await run(true), await run(false));
});

test("labels that are all ignored give loss 0 and no gradient", async () => {
  const [name] = caseNames(/^llama2$/) as [string];
  const c = new Case(name);
  using model = load(c.folder);
  const ids = c.rows("in.input_ids.right").slice(0, 1);
  const inputsEmbeds = model.embed(ids);
  inputsEmbeds.requiresGrad = true;
  const { loss } = model.forward({ inputsEmbeds, labels: ids.map((row) => row.map(() => -100)), logits: false });
  backward(loss!);
  assert.is(await loss!.item(), 0);
  assert.is(largest(await inputsEmbeds.grad!.data()), 0);
});

test("an attention mask with a hole is refused", () => {
  const [name] = caseNames(/^llama2$/) as [string];
  using model = load(new Case(name).folder);
  assert.throws(
    () => model.forward({ inputIds: [[5, 6, 7]], attentionMask: [[1, 0, 1]] }),
    (e: { code?: string }) => e.code === "E_MASK",
  );
});

test.run();
