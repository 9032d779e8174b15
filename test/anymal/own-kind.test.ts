// A kind of media of the user's own goes wherever a picture goes: rows of data, both stages, checkpoints, prompts, caches, controls.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { readCaptions } from "../../lib/data/captions.js";
import { checkFile } from "../../lib/data/check.js";
import { readConversations } from "../../lib/data/conversations.js";
import { FeatureCache } from "../../lib/data/feature-cache.js";
import { featureKey } from "../../lib/data/feature-key.js";
import { mediaOf, type Row } from "../../lib/data/row.js";
import { blank, derange } from "../../lib/eval/controls.js";
import { image } from "../../lib/media/image.js";
import { kindsWith } from "../../lib/media/kinds/index.js";
import { type MediaKindOptions, mediaKind } from "../../lib/media/kinds/own.js";
import type { MediaPart } from "../../lib/media/part.js";
import { align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import { recipe } from "../../lib/train/recipe.js";
import { here } from "../case.js";
import { asked, encoder, halves, type Wave, wave } from "./own-kind.js";
import { square, type Toy, toy } from "./toy.js";

const test = suite("a kind of one's own");
let world: Toy;
const path = (name: string) => world.path(name);
test.before(async () => {
  world = await toy();
  for (const i of [0, 1, 2, 3]) writeFileSync(path(`${i}.wave`), Array.from({ length: 8 }, (_, t) => i + (t % 2)).join("\n"));
  const rows = [0, 1, 2, 3].map((i) => JSON.stringify({ wave: `${i}.wave`, caption: ["one", "two", "red", "blue"][i] }));
  writeFileSync(path("waves.jsonl"), rows.join("\n"));
});
test.after(() => world.remove());

const options = (more: object = {}) => ({
  llm: world.llm,
  device: here,
  quantization: "none" as const,
  kinds: [wave],
  modalities: { wave: { projector: { type: "linear" as const } } },
  ...more,
});
const TRAINING = { steps: 3, batch: 4, learningRate: 1e-2 };
const QUESTION = [wave({ values: Float32Array.of(1, 2, 3, 4) }), "which?"] as const;
const answer = (model: AnyMAL) => model.generateAll([[...QUESTION]], { maxNewTokens: 6 });
async function rejects(work: () => unknown, code: string, message: RegExp): Promise<void> {
  const error = await Promise.resolve()
    .then(work)
    .then(
      () => assert.unreachable(`${code} is expected`),
      (cause) => cause,
    );
  assert.is(error.code, code, error.stack);
  assert.match(error.message, message);
}

test("it is aligned from a file, saved, loaded with its kind, and answers the same", async () => {
  using model = await AnyMAL.assemble(options());
  assert.equal(model.modalities, ["wave"]);
  const before = await answer(model);
  let steps = 0;
  for await (const { loss } of align(model, { modality: "wave", data: path("waves.jsonl"), ...TRAINING, steps: 12, output: path("run") })) {
    assert.ok(Number.isFinite(loss));
    ++steps;
  }
  assert.is(steps, 12);
  const said = await answer(model);
  assert.not.equal(said, before);
  await model.save(path("saved"));
  const { modalities } = JSON.parse(readFileSync(path("saved/anymal.json"), "utf8"));
  assert.is(modalities.wave.encoder.own, encoder.key);
  for (const folder of ["saved", "run"]) {
    using loaded = await AnyMAL.fromPretrained(path(folder), { kinds: [wave], device: here });
    assert.equal(await answer(loaded), said);
  }
});

test("a folder that was trained with it asks for it, and for its encoder as it was", async () => {
  await rejects(
    () => AnyMAL.fromPretrained(path("saved")),
    "E_MODALITY",
    /kind of media "wave", .*image, video, audio and imu.*kinds: \[wave\]/,
  );
  const { encoder: _, ...bare } = { name: "wave", load: async () => ({ values: new Float32Array(4) }), blank: (v: Wave) => v, encoder };
  await rejects(
    () => AnyMAL.fromPretrained(path("saved"), { kinds: [mediaKind(bare)] }),
    "E_CHECKPOINT",
    /encoder of wave .* user's own, got none; .*encoders: \{ wave/,
  );
  for (const other of [
    { ...encoder, key: "halves 2" },
    { ...encoder, shape: [3, 2] as const },
  ])
    await rejects(
      () => AnyMAL.fromPretrained(path("saved"), { kinds: [wave], encoders: { wave: other } }),
      "E_CHECKPOINT",
      /encoder of wave that it was trained on, got one with the key "halves/,
    );
  using loaded = await AnyMAL.fromPretrained(path("saved"), { kinds: [mediaKind(bare)], encoders: { wave: encoder }, device: here });
  assert.equal(loaded.modalities, ["wave"]);
});

test("features are the encoder's, and kept under its key", async () => {
  using model = await AnyMAL.assemble(options());
  const [one] = await model.features([wave(path("2.wave"), { gain: 2 })]);
  assert.equal(one?.shape, [2, 3]);
  assert.equal(Array.from(one!.data), Array.from(halves({ values: Float32Array.of(4, 6, 4, 6, 4, 6, 4, 6) })));
  const cache = new FeatureCache({ folder: path("cache") });
  for await (const _ of align(model, { modality: "wave", data: path("waves.jsonl"), ...TRAINING, cache }));
  asked.length = 0;
  for await (const _ of align(model, {
    modality: "wave",
    data: path("waves.jsonl"),
    ...TRAINING,
    cache: new FeatureCache({ folder: path("cache") }),
  }));
  assert.equal(asked, [], "all came from the cache");
  using other = await AnyMAL.assemble(options({ modalities: { wave: { encoder: { ...encoder, key: "halves 3" } } } }));
  for await (const _ of align(other, {
    modality: "wave",
    data: path("waves.jsonl"),
    ...TRAINING,
    cache: new FeatureCache({ folder: path("cache") }),
  }));
  assert.is(
    asked.reduce((a, b) => a + b, 0),
    4,
    "of another key they are made anew",
  );
  const keys = await Promise.all([undefined, 2].map((gain) => featureKey(wave(path("1.wave"), gain ? { gain } : {}), "x")));
  assert.is(new Set(keys).size, 2);
});

test("rows hold it as they hold pictures", async () => {
  writeFileSync(
    path("talk.jsonl"),
    [
      {
        wave: ["0.wave", "1.wave"],
        conversations: [
          { from: "human", value: "<wave> or <wave>?" },
          { from: "gpt", value: "two" },
        ],
      },
      {
        messages: [
          { role: "user", content: [{ type: "wave", path: "2.wave", gain: 3 }, "which?"] },
          { role: "assistant", content: "red" },
        ],
      },
    ]
      .map((row) => JSON.stringify(row))
      .join("\n"),
  );
  writeFileSync(path("waves.csv"), "wave,caption\n3.wave,blue\n");
  const kinds = [wave];
  const [first, second] = (await readConversations(path("talk.jsonl"), { kinds })) as [Row, Row];
  assert.equal(
    mediaOf(first).map(({ source }) => source),
    [path("0.wave"), path("1.wave")],
  );
  assert.equal(
    first.turns[0]?.content.filter((part) => typeof part === "string"),
    [" or ", "?"],
  );
  assert.equal(mediaOf(second)[0]?.options, { gain: 3 });
  const [only] = await readCaptions(path("waves.csv"), { kinds });
  assert.ok(wave.is(mediaOf(only!)[0]));
  assert.ok(
    ["Describe the wave.", "What does the wave show?", "Give a caption of the wave."].includes(only!.turns[0]!.content[0] as string),
  );
  assert.is((await checkFile(path("talk.jsonl"), { kinds })).media.wave, 3);
  // Without the kind, its mark is text and its column is unknown.
  await rejects(() => readCaptions(path("waves.csv")), "E_DATA", /a column image, video, audio or imu/);
  await rejects(() => readCaptions(path("waves.csv"), { modality: "wave" }), "E_DATA", /kinds: \[kind\]/);
  writeFileSync(path("loud.jsonl"), JSON.stringify({ wave: { path: "0.wave", gain: "much" }, caption: "one" }));
  await rejects(() => readCaptions(path("loud.jsonl"), { kinds }), "E_ROW", /wave\.gain to be a number/);
});

test("stage 2 trains it beside pictures, and a recipe names it", async () => {
  using model = await AnyMAL.assemble(
    options({ modalities: { wave: {}, image: { encoder: world.clip, projector: { type: "linear", mode: "pooled", tokens: 1 } } } }),
  );
  assert.equal(model.modalities, ["image", "wave"]);
  const rows: Row[] = ["one", "two"].map((said, i) => ({
    where: `row ${i}`,
    turns: [
      { role: "user", content: [square("red"), wave(path(`${i}.wave`)), "which?"] },
      { role: "assistant", content: [said] },
    ],
  }));
  for await (const _ of instruct(model, { data: rows, ...TRAINING, batch: 2, modalities: ["wave"] }));
  const { align: all } = recipe({ align: { wave: { steps: 5 } }, media: { wave: { gain: 2 } }, instruct: { modalities: ["wave"] } }, [
    wave,
  ]);
  assert.is(all.wave?.steps, 5);
  assert.throws(() => recipe({ align: { wave: { steps: 5 } } }), /E_RECIPE|align.wave/);
  assert.throws(() => recipe({ instruct: { modalities: ["wave"] } }), /instruct.modalities\[0\]/);
});

test("its blank is its own, and media are exchanged as others are", async () => {
  const parts = [0, 1, 2].map((i) => wave(path(`${i}.wave`), { gain: 2 }));
  const none = await blank(parts[1] as MediaPart);
  assert.equal([none.modality, none.options], ["wave", { gain: 2 }]);
  assert.equal(await wave.load(none as (typeof parts)[0]), { values: new Float32Array(8) });
  assert.is(new Set(derange(3).map((i) => parts[i])).size, 3);
});

test("a file that cannot be read is its row's fault", async () => {
  writeFileSync(path("bad.wave"), "1\nloud\n");
  const rows = ["0.wave", "bad.wave", "1.wave"].map((name) => JSON.stringify({ wave: name, caption: "one" }));
  writeFileSync(path("some.jsonl"), rows.join("\n"));
  using model = await AnyMAL.assemble(options());
  const problems: string[] = [];
  const training = {
    modality: "wave",
    data: path("some.jsonl"),
    ...TRAINING,
    batch: 3,
    onBadRow: "skip",
    onProblem: (p: Error) => problems.push(p.message),
  } as const;
  for await (const { skippedRows } of align(model, training)) assert.is(skippedRows, 1);
  assert.is(problems.length, 1);
  assert.match(problems[0]!, /some\.jsonl:2: .*bad\.wave holds a word/);
  await rejects(() => model.features([wave(path("no.wave"))]), "E_MEDIA_SOURCE", /no such file/);
  await rejects(() => model.features([wave(path("0.wave"), { maxBytes: 3 })]), "E_MEDIA_LIMIT", /3 bytes/);
});

test("features of another shape than the encoder says are refused", async () => {
  const cases: [(n: number) => unknown, RegExp][] = [
    [(n) => new Array(n).fill(new Float32Array(5)), /a Float32Array of 2 × 3 numbers for .*0\.wave, got Float32Array of 5/],
    [(n) => new Array(n).fill([1, 2, 3, 4, 5, 6]), /a Float32Array of 2 × 3 numbers .* got an array of 6/],
    [() => [], /an array for each of 1 media, got an array of 0/],
    [() => undefined, /an array for each of 1 media, got undefined/],
    [(n) => new Array(n).fill(Float32Array.of(1, 2, Number.NaN, 4, 5, 6)), /finite numbers for .*, got NaN at 2/],
  ];
  for (const [encode, message] of cases) {
    using model = await AnyMAL.assemble(
      options({
        modalities: { wave: { encoder: { ...encoder, encode: (waves: readonly Wave[]) => encode(waves.length) as Float32Array[] } } },
      }),
    );
    await rejects(() => model.features([wave(path("0.wave"))]), "E_SHAPE", message);
  }
});

test("what cannot be a kind or an encoder says why", async () => {
  const kind = (more: object) => () => mediaKind({ name: "eeg", load: () => 1, blank: () => 0, ...more } as MediaKindOptions<number>);
  const wrong: [() => unknown, RegExp][] = [
    [kind({ name: "EEG" }), /a name of small letters/],
    [kind({ name: "../eeg" }), /a name of small letters/],
    [kind({ name: "caption" }), /no other column/],
    [kind({ load: undefined }), /load as a function/],
    [kind({ blank: 3 }), /blank as a function/],
    [kind({ encoder: { key: "", shape: [1, 2], encode() {} } }), /with a key/],
    [kind({ encoder: { key: "x", shape: [1], encode() {} } }), /\[rows, width\]/],
    [kind({ encoder: { key: "x", shape: [1, 2] } }), /a function encode/],
    [() => kindsWith([mediaKind({ name: "image", load: () => 1, blank: () => 0 })]), /each name once, got a second "image"/],
    [() => kindsWith([wave, wave]), /a second "wave"/],
    [() => kindsWith([{ name: "eeg" } as unknown as typeof wave]), /what mediaKind\(\) has made/],
  ];
  for (const [make, message] of wrong) await rejects(make, "E_MODALITY", message);
  await rejects(() => AnyMAL.assemble(options({ kinds: [] })), "E_VALUE", /"wave"/);
  await rejects(() => AnyMAL.assemble(options({ modalities: { wave: { layer: -2 } } })), "E_MODALITY", /layer/);
  const padded = { image: { encoder: { ...encoder, shape: [1, 3] as const }, pad: true } };
  await rejects(() => AnyMAL.assemble(options({ modalities: padded })), "E_MODALITY", /image\.pad: expected none/);
  await rejects(
    () => AnyMAL.assemble(options({ modalities: { image: {} } })),
    "E_MODALITY",
    /modalities\.image\.encoder: expected an encoder, got none/,
  );
  await rejects(
    () => AnyMAL.assemble(options({ modalities: { wave: { encoder: world.clip } } })),
    "E_MODALITY",
    /an encoder of wave, got one of image/,
  );
  await rejects(() => blank({ modality: "eeg", source: "x", options: {} } as unknown as MediaPart), "E_MODALITY", /got eeg/);
});

test("pictures may have an encoder of one's own too", async () => {
  const grey = {
    key: "mean colour",
    shape: [1, 3] as const,
    encode: (pictures: readonly { data: Uint8Array }[]) =>
      pictures.map(({ data }) =>
        Float32Array.from([0, 1, 2], (c) => data.filter((_, i) => i % 3 === c).reduce((a, b) => a + b, 0) / data.length),
      ),
  };
  using model = await AnyMAL.assemble(
    options({ kinds: [], modalities: { image: { encoder: grey, projector: { type: "linear", mode: "pooled", tokens: 2 } } } }),
  );
  const [one] = await model.features([square("red")]);
  assert.equal(one?.shape, [3]);
  assert.ok(one!.data[0]! > one!.data[1]!);
  assert.is((await model.generateAll([[image(join(world.folder, "missing.png")), "?"]]).catch((error) => error)).code, "E_MEDIA_SOURCE");
});

test.run();
