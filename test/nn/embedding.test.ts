// A table of rows by id, and the row that looking up teaches nothing.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { parseLlamaConfig } from "../../lib/models/llama-config.js";
import { Weights } from "../../lib/nn/weights.js";
import { embedding, linear, mul, sum } from "../../lib/ops/index.js";
import { here } from "../case.js";

const table = () => {
  const w = Tensor.from([1, 2, 3, 4, 5, 6, 7, 8], [4, 2], { device: here });
  w.requiresGrad = true;
  return w;
};
const ids = () => Tensor.from(Int32Array.of(1, 0, 1, 3), [4], { device: here });
const ramp = (shape: number[], from = 0) =>
  Tensor.from(
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => from + i),
    shape,
    { device: here },
  );

// torch.nn.functional.embedding(ids, w, padding_idx=1) of torch 2.13.
test("torch's padding_idx: no gradient from looking the row up", async () => {
  const w = table();
  const rows = embedding(ids(), w, 1);
  assert.equal([...(await rows.data())], [3, 4, 1, 2, 3, 4, 7, 8]);
  backward(sum(mul(rows, ramp([4, 2], 1))));
  assert.equal([...(await w.grad!.data())], [3, 4, 0, 0, 0, 0, 7, 8]);
});

test("… but the one that it has as the head", async () => {
  const w = table();
  const step = () => backward(sum(mul(linear(embedding(ids(), w, 1), w), ramp([4, 4]))));
  const wanted = [210, 256, 126, 154, 140, 172, 380, 470];
  step();
  assert.equal([...(await w.grad!.data())], wanted);
  step(); // gradients of several steps add up
  assert.equal(
    [...(await w.grad!.data())],
    wanted.map((v) => 2 * v),
  );
});

test("a decoder's pad_token_id names the row, from the table's end where it is negative", async () => {
  const sizes = { vocab_size: 5, hidden_size: 4, intermediate_size: 6, num_hidden_layers: 1, num_attention_heads: 2 };
  const rowsOf = async (pad: number | null, tied: boolean) => {
    const config = parseLlamaConfig({ ...sizes, pad_token_id: pad, tie_word_embeddings: tied });
    using model = new LlamaForCausalLM(Weights.fresh({ device: here, seed: 3 }), config);
    const { loss } = model.forward({ inputIds: [[0, 4, 1, 4]], labels: [[-100, 4, 1, 4]], logits: false });
    backward(loss!);
    const grad = await model.model.embedding.weight.grad!.data();
    return Array.from({ length: 5 }, (_, row) => [...grad.subarray(4 * row, 4 * row + 4)]);
  };
  const plain = await rowsOf(null, false);
  assert.ok(plain[4]!.some((v) => v !== 0));
  const wanted = [...plain.slice(0, 4), [0, 0, 0, 0]];
  assert.equal(await rowsOf(4, false), wanted);
  assert.equal(await rowsOf(-1, false), wanted);
  assert.equal(await rowsOf(7, false), plain);
  const [tied, padded] = [await rowsOf(null, true), await rowsOf(4, true)];
  assert.equal(padded.slice(0, 4), tied.slice(0, 4));
  assert.ok(
    padded[4]!.some((v) => v !== 0),
    "the head learns",
  );
  assert.not.equal(padded[4], tied[4]);
});

test.run();
