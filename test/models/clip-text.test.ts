// CLIP's text tower: against transformers, where a text is pooled, its gradients.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { ClipTextModel } from "../../lib/models/clip-text.js";
import { Case, caseNames, here, near } from "../case.js";
import { disposeAll, parameterGradients, reloaded } from "./encoders.js";
import { fresh, TEXTS, tiny } from "./tiny-clip.js";

for (const name of caseNames(/^clip-text/))
  test(`${name}: states, pooled state and embedding`, async () => {
    const c = new Case(name);
    using model = ClipTextModel.fromPretrained(c.folder, { device: here });
    using checkpoint = Checkpoint.open(c.folder);
    assert.equal([...model.namedParameters()].map(([n]) => n).sort(), [...checkpoint.names()].sort());
    const rows = c.info.rows as number[][];
    const out = model.forward(rows);
    await c.close("out.last_hidden_state", out.hidden, {
      mask: c.rows("in.input_ids").map((row, n) => row.map((_, t) => Number(t < rows[n]!.length))),
    });
    await c.close("out.pooler_output", out.pooled);
    await c.close("out.text_embeds", out.embeds);
    assert.not(out.embeds.requiresGrad);
    disposeAll(out);
  });

test("a text tower alone is saved and read with the same bits", async () => {
  using model = new ClipTextModel(fresh(), tiny.text);
  await reloaded(model, async (folder) => {
    using again = ClipTextModel.fromPretrained(folder, { device: here });
    assert.equal(again.config, model.config);
    const [a, b] = [model.forward(TEXTS), again.forward(TEXTS)];
    assert.equal(await b.hidden.data(), await a.hidden.data());
    assert.equal(await b.embeds.data(), await a.embeds.data());
    disposeAll(a, b);
  });
});

test("a text is pooled at its first end-of-text token, and nothing after it matters", async () => {
  using model = new ClipTextModel(fresh(), tiny.text);
  const [a, b, c] = [model.forward([[1, 4, 10, 3, 10]]), model.forward([[1, 4, 10]]), model.forward([[1, 4, 9, 10]])];
  near(await a.pooled.data(), await b.pooled.data(), 2e-6, "what follows the first end");
  const row = (await a.hidden.data()).slice(2 * 8, 3 * 8);
  assert.equal(await a.pooled.data(), row);
  assert.not.equal(await c.pooled.data(), await b.pooled.data());
  disposeAll(a, b, c);
  // Where the configuration says 2, as OpenAI's do, the highest id ends the text.
  using old = new ClipTextModel(fresh(), { ...tiny.text, eosTokenId: 2 });
  const [d, e] = [old.forward([[1, 2, 4, 10, 3]]), old.forward([[1, 2, 4, 10]])];
  near(await d.pooled.data(), await e.pooled.data(), 2e-6, "the highest id");
  assert.equal(await e.pooled.data(), (await e.hidden.data()).slice(3 * 8));
  disposeAll(d, e);
});

test("gradients of a text's states agree with central differences", async () => {
  using model = new ClipTextModel(fresh(true), { ...tiny.text, layers: 1 });
  await parameterGradients(model, () => ({ ...model.forward(TEXTS) }), 7);
});

test.run();
