// What is planned is what a device counts when the same stage runs on it: systems, stages and switches of the toy world.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { openDevice } from "../../lib/core/device.js";
import type { Row } from "../../lib/data/row.js";
import { CARDS } from "../../lib/plan/machines.js";
import { plan } from "../../lib/plan/plan.js";
import type { PlannedBytes, PlanReport } from "../../lib/plan/report.js";
import { heaviestTogether, madeUpRows } from "../../lib/plan/rows.js";
import { align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import { recipe as recipeOf } from "../../lib/train/recipe.js";
import { captions, type Toy, toy } from "../anymal/toy.js";
import { COMMIT, Place } from "../io/hub/place.js";
import { rejection } from "../train/stages.js";

const test = suite("plan");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

/** The numbers do not matter where only bytes are looked at, and measuring a CPU takes seconds. */
const MACHINE = { ...(CARDS.h100 as (typeof CARDS)[string]), kind: "cpu" as const };
const ROW = { tokens: 60, media: 1, seconds: 3 };

type Raw = Record<string, object | string>;
const model = (more: object, ...kinds: string[]): Raw => {
  const { llm, modalities } = world.options();
  return { model: { llm, modalities: Object.fromEntries(kinds.map((kind) => [kind, modalities[kind] as object])), ...more } };
};

async function measured(raw: Raw): Promise<{ peak: number; loading: number }> {
  const recipe = recipeOf(raw);
  const device = await openDevice("cpu", { threads: 1 });
  const opened = await AnyMAL.assemble({ ...(recipe.model as object), device } as Parameters<typeof AnyMAL.assemble>[0]);
  try {
    await device.synchronize();
    const loading = device.memory().bytesPeak;
    device.resetPeak();
    const [modality, own] = Object.entries(recipe.align)[0] ?? [];
    const stage = own ?? recipe.instruct;
    const rows = madeUpRows(opened, stage?.batch ?? 1, { ...ROW, modalities: modality ? [modality] : opened.modalities });
    const held = stage?.validation && Array.from({ length: stage.validation.rows ?? 0 }, (_, i) => rows[i % rows.length] as Row);
    const more = { data: rows, ...(held && { validation: { ...stage?.validation, data: held } }) };
    const steps = modality ? align(opened, { ...own, ...more, modality }) : instruct(opened, { ...recipe.instruct, ...more });
    for await (const _ of steps);
    return { peak: device.memory().bytesPeak, loading };
  } finally {
    opened.dispose();
    await device.close();
  }
}

const ALIGN = { steps: 2, batch: 6 };
const WORLDS: Readonly<Record<string, () => Raw>> = {
  "a projection beside a dense model": () => ({ ...model({ quantization: "none" }, "image"), align: { image: ALIGN } }),
  "micro-batches over NF4 in bf16": () => ({ ...model({ dtype: "bf16" }, "image"), align: { image: { ...ALIGN, microBatch: 2 } } }),
  "motion over INT8": () => ({ ...model({ quantization: "int8", dtype: "bf16" }, "imu"), align: { imu: ALIGN } }),
  "clips, layers run again": () => ({ ...model({}, "video"), align: { video: { ...ALIGN, gradientCheckpointing: true } } }),
  "LoRA over all media": () => ({ ...model({ dtype: "bf16" }, "image", "imu"), instruct: { ...ALIGN, lora: { r: 8, dropout: 0.1 } } }),
  "LoRA over double quantisation, moments in 8 bit": () => ({
    ...model({ dtype: "bf16", quantization: { format: "nf4", doubleQuant: true } }, "image"),
    instruct: { ...ALIGN, optimizer: "adamw8bit", gradientCheckpointing: true, lora: { r: 32 } },
  }),
  "the whole language model in bf16": () => ({
    ...model({ dtype: "bf16", quantization: "none" }, "image"),
    instruct: { ...ALIGN, lora: false, opens: ["llm.*", "projectors.*"] },
  }),
  "Flamingo, whose media stand beside": () => ({
    system: "flamingo",
    ...model(
      {
        ...{ quantization: "none", adapters: { "gated-cross-attention": { every: 1, heads: 2, dimHead: 4 } } },
        modalities: { image: { encoder: world.clip } },
      },
      "image",
    ),
    align: { image: ALIGN },
  }),
  "MiniGPT-4": () => ({ system: "minigpt4", ...model({ modalities: { image: { encoder: world.clip } } }), align: { image: ALIGN } }),
  "rows that are held out, whose keys and values are more than a step": () => ({
    ...model({ quantization: "none" }, "image"),
    align: { image: { steps: 2, batch: 1, validation: { data: "not-here-yet.jsonl", rows: 24, maxNewTokens: 60 } } },
  }),
  "rows that are held out, fewer than a step takes": () => ({
    ...model({ dtype: "bf16" }, "image"),
    instruct: { ...ALIGN, lora: { r: 8 }, validation: { data: "not-here-yet.jsonl", rows: 2, maxNewTokens: 2 } },
  }),
  "an adapter on the encoder": () => ({
    ...model({ adapters: { "prefix-tuning": { tokens: 3 } } }, "image"),
    instruct: { ...ALIGN, lora: false, opens: ["projectors.*", "adapters.prefix-tuning.*"] },
  }),
};

const PARTS = ["languageModel", "encoders", "projections", "added", "gradients", "moments", "cache", "activations", "scratch"] as const;
const sum = (bytes: PlannedBytes) => PARTS.reduce((n, part) => n + bytes[part], 0);

for (const [name, raw] of Object.entries(WORLDS)) {
  test(`${name}: within a tenth of what the device counts`, async () => {
    const [planned, real] = [await plan(raw(), { machine: MACHINE, threads: 1, ...ROW }), await measured(raw())];
    const [{ bytes, parameters }] = planned.stages as [(typeof planned.stages)[number]];
    assert.ok(Math.abs(bytes.peak / real.peak - 1) < 0.1, `${bytes.peak} planned, ${real.peak} counted`);
    assert.ok(Math.abs(bytes.loading / real.loading - 1) < 0.1, `while loading ${bytes.loading} planned, ${real.loading} counted`);
    assert.is(sum(bytes), bytes.peak);
    assert.ok(parameters.trained > 0 && parameters.trained <= parameters.all);
  });
}

/** What does not depend on how it is read. */
const about = ({ stages }: PlanReport) => stages.map(({ bytes: { loading: _, ...bytes }, parameters }) => ({ bytes, parameters }));

test("a model of which nothing but its configuration is there is planned as if it were whole", async () => {
  const raw = {
    model: { llm: world.llm, dtype: "bf16", modalities: { image: { encoder: world.clip }, imu: { encoder: world.imu } } },
    instruct: ALIGN,
  };
  const bare = async (folder: string): Promise<string> => {
    const to = `${folder}-bare`;
    mkdirSync(to, { recursive: true });
    for (const file of readdirSync(folder))
      if (/\.(json|jinja|model)$/.test(file) && !/index/.test(file)) await copyFile(join(folder, file), join(to, file));
    return to;
  };
  const modalities = await Promise.all(
    Object.entries(raw.model.modalities).map(async ([kind, own]) => [kind, { ...own, encoder: await bare(own.encoder) }] as const),
  );
  const without = { ...raw, model: { ...raw.model, llm: await bare(raw.model.llm), modalities: Object.fromEntries(modalities) } };
  const [whole, config] = [
    await plan(raw, { machine: MACHINE, threads: 1, ...ROW }),
    await plan(without, { machine: MACHINE, threads: 1, ...ROW }),
  ];
  assert.equal(about(config), about(whole));
});

test("of models that are named by their ids no weight is fetched, nor of that which lends its tokenizer to the question", async () => {
  const files = (folder: string) => ({
    commit: COMMIT,
    files: Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))])),
  });
  const { vocab_size: vocabulary } = JSON.parse(readFileSync(join(world.llm, "config.json"), "utf8"));
  const own = { type: "q-former", queries: 2, layers: 1, width: 16, heads: 2, hidden: 16, vocabulary };
  const of = (llm: string, encoder: string, question: string) => ({
    model: { system: "instructblip", llm, modalities: { image: { encoder, projector: own, question } } },
    instruct: ALIGN,
  });
  const given = { machine: MACHINE, threads: 1, ...ROW };
  const folders = await plan(of(world.llm, world.clip, world.llm), given);
  await using place = await Place.make({ "org/llm": files(world.llm), "org/clip": files(world.clip), "org/words": files(world.llm) });
  assert.equal(about(await plan(of("org/llm", "org/clip", "org/words"), given)), about(folders));
  const asked = place.hub.log.filter((line) => line.includes("/resolve/"));
  for (const id of ["llm", "clip", "words"])
    assert.ok(
      asked.some((line) => line.includes(`/org/${id}/`)),
      id,
    );
  assert.not.ok(asked.some((line) => /safetensors/.test(line)));
});

test("switches do what they promise, and time follows work", async () => {
  const of = async (more: object, options = {}) =>
    (
      await plan(
        { ...model({ dtype: "bf16" }, "image"), align: { image: { steps: 10, batch: 8, ...more } } },
        { machine: "h100", rows: 80, ...options },
      )
    ).stages[0] as NonNullable<Awaited<ReturnType<typeof plan>>["stages"][0]>;
  const [kept, again, cut, eight] = [
    await of({}),
    await of({ gradientCheckpointing: true }),
    await of({ microBatch: 2 }),
    await of({ optimizer: "adamw8bit" }),
  ];
  assert.ok(again.bytes.activations < kept.bytes.activations && again.time.flopsPerStep > kept.time.flopsPerStep);
  assert.ok(cut.bytes.peak < kept.bytes.peak);
  assert.ok(eight.bytes.moments <= kept.bytes.moments);
  assert.is(kept.time.stepsPerEpoch, 10);
  const long = await of({}, { tokens: 120 });
  assert.ok(long.length > kept.length && long.time.secondsPerStep > kept.time.secondsPerStep);
  assert.is(kept.validation, undefined);
  const [few, many] = [await of({ validation: { data: "none.jsonl", every: 4 } }), await of({ validation: { data: "none.jsonl", every: 4, maxNewTokens: 64 } })]; // biome-ignore format: one line
  assert.equal([few.validation?.looks, few.time.secondsPerStep], [4, kept.time.secondsPerStep], "before the first, after 4, 8 and 10");
  const rest = few.time.secondsInAll - kept.time.secondsInAll - 4 * few.validation!.secondsPerLook;
  assert.ok(rest >= 0 && rest < 4 * few.validation!.secondsPerLook, "media that are held out are encoded once");
  assert.ok(many.validation!.secondsPerLook > 1.5 * few.validation!.secondsPerLook && many.validation!.peak > few.validation!.peak);
});

test("answers: the cache grows with the prompts", async () => {
  const of = async (prompts: number) =>
    (await plan(model({}, "image"), { machine: "l4", stages: ["generate"], prompts, newTokens: 8 })).stages[0];
  const [one, four] = [await of(1), await of(4)];
  const long = (await plan(model({}, "image"), { machine: "l4", stages: ["generate"], prompts: 1, newTokens: 64 })).stages[0];
  const perToken = (long?.time.secondsPerStep as number) / (one?.time.secondsPerStep as number);
  assert.ok(perToken >= 1 && perToken < 1.1, `a token of a longer answer takes hardly longer: ${perToken}`);
  assert.is(four?.bytes.cache, 4 * (one?.bytes.cache ?? 0));
  assert.ok((one?.time.flopsPerStep ?? 0) > 0);
});

async function picture(): Promise<void> {
  const raw = { width: 16, height: 16, channels: 3 as const };
  await sharp(Buffer.alloc(16 * 16 * 3), { raw })
    .png()
    .toFile(world.path("a.png"));
}

test("the longest rows of the data are taken", async () => {
  const data = world.path("captions.jsonl");
  await picture();
  const lines = [3, 30, 5].map((words) => JSON.stringify({ image: "a.png", caption: new Array(words).fill("red").join(" ") }));
  writeFileSync(data, `${lines.join("\n")}\n`);
  const { stages } = await plan({ ...model({}, "image"), align: { image: { steps: 3, batch: 2, data } } }, { machine: "a10" });
  const made = await plan(
    { ...model({}, "image"), align: { image: { steps: 3, batch: 2 } } },
    { machine: "a10", tokens: stages[0]?.textTokens ?? 0 },
  );
  assert.is(stages[0]?.length, made.stages[0]?.length);
  assert.is(stages[0]?.time.stepsPerEpoch, 1);
});

test("rows behind each other: the heaviest of a run's steps, not the longest row in every place of one", async () => {
  const data = world.path("packed.jsonl");
  await picture();
  const lines = Array.from({ length: 36 }, (_, i) =>
    JSON.stringify({ image: "a.png", caption: new Array(i % 6 ? 4 : 200).fill("red").join(" ") }),
  );
  writeFileSync(data, `${lines.join("\n")}\n`);
  for (const seed of [0, 1, 2]) await packedRun({ steps: 12, batch: 6, packing: true, data, seed });
});

test("the heavier of two micro-batches is so by what rows are cut to", () => {
  const rows = [600, 10, 110, 110].map((tokens) => ({ tokens }));
  for (let seed = 0; seed < 20; ++seed) {
    const heaviest = heaviestTogether(rows, { steps: 1, batch: 4, microBatch: 2, seed, maxLength: 128 });
    const weight = heaviest.reduce((sum, { tokens }) => sum + Math.min(128, tokens), 0);
    assert.ok(weight === 220 || weight === 238, `${weight} of 358`);
  }
});

test("a packed run's looks are not packed: their longest prompts count", async () => {
  const [data, held] = ["trained", "looked"].map((name) => world.path(`${name}.json`)) as [string, string];
  await picture();
  const rows = (long: number) =>
    Array.from({ length: 36 }, (_, i) => ({
      image: "a.png",
      conversations: [
        { from: "human", value: `<image>${new Array(i % 9 ? 4 : long).fill("red").join(" ")}` },
        { from: "gpt", value: "red" },
      ],
    }));
  writeFileSync(data, JSON.stringify(rows(4)));
  writeFileSync(held, JSON.stringify(rows(28)));
  const looks = async (packing: boolean) => {
    const instruct = { steps: 4, batch: 2, lora: false, packing, data, validation: { data: held, rows: 4, maxNewTokens: 8 } };
    const { stages } = await plan({ ...model({ quantization: "none" }, "image"), instruct }, { machine: MACHINE, threads: 1 });
    return stages[0]?.validation?.peak ?? 0;
  };
  const [packed, apart] = [await looks(true), await looks(false)];
  assert.ok(Math.abs(packed / apart - 1) < 0.02, `${packed} packed, ${apart} not`);
});

async function packedRun(own: { steps: number; batch: number; packing: true; data: string; seed: number }): Promise<void> {
  const raw = { ...model({ quantization: "none" }, "image"), align: { image: own } };
  const { stages } = await plan(raw, { machine: MACHINE, threads: 1 });
  const device = await openDevice("cpu", { threads: 1 });
  const opened = await AnyMAL.assemble({ ...(recipeOf(raw).model as object), device } as Parameters<typeof AnyMAL.assemble>[0]);
  await device.synchronize();
  device.resetPeak();
  for await (const _ of align(opened, { ...own, modality: "image" }));
  const { bytesPeak } = device.memory();
  opened.dispose();
  await device.close();
  const planned = stages[0]?.bytes.peak ?? 0;
  assert.ok(Math.abs(planned / bytesPeak - 1) < 0.1, `${planned} planned, ${bytesPeak} counted`);
}

test("other devices go on meanwhile, and afterwards all is as before", async () => {
  const device = await openDevice("cpu", { threads: 1 });
  await using beside = await AnyMAL.assemble(world.options({ device }));
  const rows = captions();
  const answer = () =>
    beside.generateAll(
      rows.map(({ turns }) => turns.slice(0, 1)),
      { maxNewTokens: 4 },
    );
  const before = await answer();
  const [during] = await Promise.all([answer(), plan({ ...model({}, "image"), align: { image: ALIGN } }, { machine: MACHINE })]);
  assert.equal(during, before);
  assert.equal(await answer(), before);
});

test("what cannot be planned says so", async () => {
  const raw = { ...model({}, "image"), align: { image: ALIGN } };
  assert.match((await rejection(() => plan(raw, { machine: "h2000" }))).message, /h200/);
  assert.is((await rejection(() => plan(raw, { tokens: 1 }))).code, "E_VALUE");
  assert.is((await rejection(() => plan(model({}, "image"), { machine: "h100" }))).code, "E_RECIPE");
  assert.match((await rejection(() => plan(raw, { row: 3 } as object))).message, /did you mean "rows"/);
});

test.run();
