// Contrastive training of labelled data: one caption for many media, the loss by UniCL's own words, towers of one's own, and which caption is nearest.
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  ClipTextModel,
  contrastive,
  Draw,
  nearestTexts,
  nn,
  noGrad,
  parseClipTextConfig,
  scope,
  Tensor,
  Weights,
} from "../../lib/index.js";
import { here } from "../case.js";

const [INPUT, EMBED] = [6, 5];

/** A user's own: one linear layer, which notes what it is told beside x. */
class Own extends nn.Module {
  projection: nn.Linear;
  told: object | undefined;
  readonly device = here;

  constructor(
    seed: number,
    readonly dtype: "f32" | "bf16" = "f32",
  ) {
    super();
    this.projection = new nn.Linear(Weights.fresh({ device: here, dtype, seed }), INPUT, EMBED);
  }
  forward(x: Tensor, told?: object): { embeds: Tensor } {
    this.told = told;
    return { embeds: this.projection.forward(x) };
  }
}

class Captions extends nn.Module {
  table: nn.Embedding;
  /** Rows that it was asked for. */
  asked: number[] = [];

  constructor(seed: number) {
    super();
    this.table = new nn.Embedding(Weights.fresh({ device: here, seed }), 9, EMBED);
  }
  forward(ids: readonly ArrayLike<number>[]): { embeds: Tensor } {
    this.asked.push(ids.length);
    return scope(() => ({
      embeds: this.table.forward(
        Tensor.from(
          Int32Array.from(ids, (row) => row[0] as number),
          [ids.length],
          { device: here },
        ),
      ),
    }));
  }
}

const scaleOf = (temperature: number) => Tensor.from([Math.log(1 / temperature)], [1], { device: here });
const drawn = (count: number, label: string) => {
  const draw = new Draw(3, label);
  return Float32Array.from({ length: count * INPUT }, () => draw.normal());
};
const batchOf = (captions: readonly number[], label = "media") => ({
  media: { data: drawn(captions.length, label), shape: [captions.length, INPUT] },
  captions: captions.map((id) => [id]),
});

async function unitRows(make: () => Tensor): Promise<number[][]> {
  const rows = noGrad(() => scope(make));
  const [n, width] = rows.shape as [number, number];
  const flat = Array.from(await rows.data());
  rows.dispose();
  return Array.from({ length: n }, (_, i) => {
    const row = flat.slice(i * width, (i + 1) * width);
    return row.map((value) => value / Math.hypot(...row));
  });
}

/** Equations 2 to 4 of arXiv 2204.03610, divided by two: positives of a row are all pairs with its caption, and its loss is their mean. */
function uniCl(media: readonly number[][], texts: readonly number[][], labels: readonly number[], temperature: number): number {
  const scores = media.map((a) => texts.map((b) => a.reduce((sum, value, k) => sum + value * b[k]!, 0) / temperature));
  const side = (score: (i: number, j: number) => number) =>
    labels.reduce((sum, label, i) => {
      const all = Math.log(labels.reduce((total, _, j) => total + Math.exp(score(i, j)), 0));
      const own = labels.flatMap((other, j) => (other === label ? [all - score(i, j)] : []));
      return sum + own.reduce((a, b) => a + b, 0) / own.length;
    }, 0) / labels.length;
  return (side((i, j) => scores[i]![j]!) + side((i, j) => scores[j]![i]!)) / 2;
}

async function firstLoss(encoder: Own, text: Captions, labels: readonly number[], temperature: number): Promise<number> {
  const logitScale = scaleOf(temperature);
  for await (const { loss, items } of contrastive({ encoder, text, logitScale, steps: 1, learningRate: 0, batch: () => batchOf(labels) })) {
    assert.is(items, labels.length);
    logitScale.dispose();
    return loss;
  }
  throw new Error("no step was told");
}

for (const [what, labels] of [
  ["each caption once", [4, 1, 7, 2]],
  ["captions twice and three times", [4, 1, 4, 2, 4, 1, 8]],
  ["one caption for all", [5, 5, 5]],
] as const)
  test(`the loss is UniCL's with ${what}`, async () => {
    const [encoder, text] = [new Own(1), new Captions(2)];
    const { media, captions } = batchOf(labels);
    const a = await unitRows(() => encoder.forward(Tensor.from(media.data, media.shape, { device: here })).embeds);
    const b = await unitRows(() => text.forward(captions).embeds);
    text.asked = [];
    const loss = await firstLoss(encoder, text, labels, 0.2);
    const wanted = uniCl(a, b, labels, 0.2);
    assert.ok(Math.abs(loss - wanted) < 1e-5 * Math.abs(wanted) + 1e-5, `${loss}, by the formula ${wanted}`);
    assert.equal(text.asked, [new Set(labels).size], "each caption goes through its tower once");
    for (const one of [encoder, text]) one.dispose();
  });

test("a caption that comes twice learns from both media", async () => {
  const trained = async (labels: readonly number[], split: boolean) => {
    const [encoder, text] = [new Own(1), new Captions(2)];
    // Ids that differ in what the table does not read are other captions with the same embedding.
    const batch = () => {
      const { media, captions } = batchOf(labels);
      return { media, captions: split ? captions.map((ids, i) => [...ids, i]) : captions };
    };
    const logitScale = scaleOf(0.2);
    for await (const _ of contrastive({ encoder, text, logitScale, steps: 4, learningRate: 1e-2, batch }));
    const weights = await Promise.all([encoder, text].flatMap((one) => one.parameters()).map((tensor) => tensor.data()));
    for (const one of [encoder, text, logitScale]) one.dispose();
    return weights.flatMap((values) => Array.from(values));
  };
  const labels = [3, 6, 3, 3, 1];
  const [together, apart, other] = [await trained(labels, false), await trained(labels, true), await trained([3, 6, 3, 1, 1], false)];
  const furthest = (values: readonly number[]) => values.reduce((most, value, i) => Math.max(most, Math.abs(value - together[i]!)), 0);
  assert.ok(furthest(apart) < 1e-3, `as if each had a caption of its own: ${furthest(apart)}`);
  assert.ok(furthest(other) > 1e-2, "other captions train other weights");
});

test("towers that compute in bf16 train, and are told which clips are longer and which frames were heard", async () => {
  const [encoder, text] = [new Own(1, "bf16"), new Captions(2)];
  const logitScale = scaleOf(0.1);
  const beside = { isLonger: [true, false, false], heard: [3, 2, 1], chunks: [1, 1, 1] };
  const batch = () => {
    const { media, captions } = batchOf([1, 2, 3]);
    return { media: { ...media, ...beside }, captions };
  };
  const losses: number[] = [];
  for await (const { loss } of contrastive({ encoder, text, logitScale, steps: 30, learningRate: 3e-2, batch })) losses.push(loss);
  assert.ok(losses.at(-1)! < losses[0]! / 2, `from ${losses[0]} to ${losses.at(-1)}`);
  assert.equal(encoder.told, { isLonger: beside.isLonger, heard: beside.heard });
  for (const one of [encoder, text, logitScale]) one.dispose();
});

test("a sound in several chunks, and an unknown option, are refused", async () => {
  const [encoder, text, logitScale] = [new Own(1), new Captions(2), scaleOf(0.1)];
  const { media, captions } = batchOf([1, 2, 3]);
  const batch = () => ({ media: { ...media, chunks: [1, 2] }, captions });
  const run = async () => {
    for await (const _ of contrastive({ encoder, text, logitScale, steps: 1, learningRate: 1, batch }));
  };
  await run().then(
    () => assert.unreachable(),
    (error) => {
      assert.is(error.code, "E_SHAPE");
      assert.match(error.message, /one chunk per medium, got 2/);
    },
  );
  const misspelt = { encoder, text, logitScale, steps: 1, learningRate: 1, batch, logitscale: logitScale };
  assert.throws(
    () => contrastive(misspelt),
    (error: { code?: string; message: string }) => error.code === "E_VALUE" && /logitscale/.test(error.message),
  );
  for (const one of [encoder, text, logitScale]) one.dispose();
});

test("the nearest text is the one whose cosine is largest, of equal ones the first; nothing is left behind", async () => {
  const [encoder, text] = [new Own(4), new Captions(5)];
  const { media } = batchOf([0, 0, 0, 0, 0, 0, 0, 0], "asked");
  const captions = [2, 7, 7, 1, 5].map((id) => [id]);
  const a = await unitRows(() => encoder.forward(Tensor.from(media.data, media.shape, { device: here })).embeds);
  const b = await unitRows(() => text.forward(captions).embeds);
  const wanted = a.map((row) => {
    const scores = b.map((other) => other.reduce((sum, value, k) => sum + value * row[k]!, 0));
    return scores.indexOf(Math.max(...scores));
  });
  assert.ok(new Set(wanted).size > 1, "media that are nearest to one text alone tell nothing");
  await here.synchronize();
  const { tensors } = here.memory();
  assert.equal(await nearestTexts({ encoder, text }, media, captions), wanted);
  await here.synchronize();
  assert.is(here.memory().tensors, tensors);
  await nearestTexts({ encoder, text }, media, []).then(
    () => assert.unreachable(),
    (error) => assert.is(error.code, "E_VALUE"),
  );
  for (const one of [encoder, text]) one.dispose();
});

test("towers of the library learn which of two media has which caption, many times in a batch", async () => {
  const text = new ClipTextModel(
    Weights.fresh({ device: here, seed: 2 }),
    parseClipTextConfig({
      model_type: "clip_text_model",
      vocab_size: 12,
      eos_token_id: 11,
      max_position_embeddings: 4,
      hidden_size: 16,
      intermediate_size: 32,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      projection_dim: EMBED,
    }),
  );
  const [encoder, logitScale] = [new Own(6), scaleOf(0.1)];
  const draw = new Draw(1, "sides");
  const captions = [
    [3, 11],
    [4, 11],
  ];
  const make = (size: number) => {
    const sides = Array.from({ length: size }, () => draw.below(2));
    const data = Float32Array.from(
      { length: size * INPUT },
      (_, i) => (i % INPUT ? 0 : 4 * sides[Math.floor(i / INPUT)]! - 2) + draw.normal(),
    );
    return { sides, media: { data, shape: [size, INPUT] } };
  };
  const batch = () => {
    const { sides, media } = make(16);
    return { media, captions: sides.map((side) => captions[side]!) };
  };
  for await (const _ of contrastive({ encoder, text, logitScale, steps: 60, learningRate: 1e-2, batch }));
  const { sides, media } = make(64);
  const found = await nearestTexts({ encoder, text }, media, captions);
  const right = found.filter((place, i) => place === sides[i]).length;
  assert.ok(right > 56, `${right} of 64`);
  for (const one of [encoder, text, logitScale]) one.dispose();
});

test.run();
