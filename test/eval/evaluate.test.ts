// How an evaluation runs: what each question is shown and told, runs that are cut and go on, answers that are scored again, files for others.
import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { answerTask } from "../../lib/eval/run/evaluate.js";
import { writeResults } from "../../lib/eval/run/results.js";
import { scorePredictions } from "../../lib/eval/run/scoring.js";
import { mediaShown } from "../../lib/eval/run/shown.js";
import { evalTask } from "../../lib/eval/tasks/index.js";
import { type Asked, type EvalTask, MEDIA } from "../../lib/eval/tasks/task.js";
import { parseYaml } from "../../lib/io/yaml.js";
import { image } from "../../lib/media/image.js";
import { type Toy, toy } from "../anymal/toy.js";
import { near } from "../case.js";
import { writeData } from "../cli/program.js";
import { lines, Rote, saying, within } from "./layouts.js";

const test = suite("evaluations");
const meme = (n: number) => ({ id: n, img: `img/${n % 4}.png`, label: n % 2, text: `text ${n}` });
const memes = (count: number) => lines(Array.from({ length: count }, (_, n) => meme(n)));
const hows = (count: number) =>
  lines(
    Array.from({ length: count }, (_, n) => ({
      question_id: n,
      image: `${n >> 1}.jpg`,
      text: `Is there a ${n} in the image?`,
      label: n % 3 ? "no" : "yes",
    })),
  );
const rejects = async (what: Promise<unknown>, message: RegExp) => {
  const error: Error = await what.then(
    () => assert.unreachable(`nothing was wrong: ${message}`),
    (reason) => reason,
  );
  assert.match(error.message, message);
};

test("a question is asked with its media where the paper and the harnesses have them", () =>
  within(async (layout) => {
    layout.media("val2014/0.jpg").write({ "coco_pope_random.json": hows(1) });
    const asked = async (options: object) => {
      const model = new Rote(() => "yes");
      await answerTask(model, "pope", { data: layout.folder, ...options });
      assert.is(
        (model.options[0] as { maxNewTokens: number }).maxNewTokens,
        evalTask("pope").conventions[(options as { prompts?: "lmms-eval" }).prompts ?? "anymal"]!.maxNewTokens,
      );
      return model.asked.map((text) => text.replaceAll(`${layout.folder}/`, "")).join();
    };
    assert.match(
      await asked({}),
      /^system: .*Here is the image: <val2014\/0\.jpg>\nuser: Is there a 0 in the image\? Please answer yes or no\.$/,
    );
    const lmms = "user: <val2014/0.jpg>Is there a 0 in the image?\nAnswer the question using a single word or phrase.";
    assert.is(await asked({ prompts: "lmms-eval" }), lmms);
    assert.is(await asked({ prompts: "vlmevalkit" }), "user: <val2014/0.jpg>Is there a 0 in the image?");
  }));

test("controls: blank media, another picture of the same kind of question, a picture with other answers", async () => {
  await within(async (layout) => {
    const world = await toy();
    await writeData(world);
    const rows = ["red", "green", "blue", "white"].flatMap((color, n) =>
      [0, 1].map((k) => ({ image: world.path(`${color}.png`), instruction: `${k}?`, response: n < 2 ? "warm" : "cold" })),
    );
    layout.write({ "test.jsonl": lines(rows.map((row) => ({ ...row, image: basename(row.image) }))) });
    for (const color of ["red", "green", "blue", "white"])
      writeFileSync(layout.path(`${color}.png`), readFileSync(world.path(`${color}.png`)));
    world.remove();
    const model = new Rote(() => "warm");
    const { lines: made } = await answerTask(model, "mm-it", { data: layout.folder, controls: ["wrong", "blank", "shuffled"], batch: 5 });
    const of = (shown: string) => made.filter((line) => line.shown === shown);
    const pictures = (shown: string) => of(shown).map(({ input_media }) => input_media.map(({ path }) => path).join());
    const own = pictures("own");
    assert.equal(pictures("blank"), own);
    assert.ok(
      model.asked.slice(8, 16).every((asked) => !asked.includes(".png")),
      "blank pictures come from no file",
    );
    assert.ok(
      pictures("shuffled").every((path, i) => path !== own[i]),
      "nobody keeps a picture",
    );
    const answerOf = new Map(rows.map(({ image, response }) => [basename(image), response]));
    assert.ok(
      pictures("wrong").every((path, i) => answerOf.get(path) !== rows[i]!.response),
      "wrong pictures have other answers",
    );
    for (const shown of ["shuffled", "wrong"])
      assert.ok(
        own.every((_, i) => i % 2 || pictures(shown)[i] === pictures(shown)[i + 1]),
        "questions about one picture stay together",
      );
    const { shown } = await scorePredictions({ head: (await answerTask(model, "mm-it", { data: layout.folder })).head, lines: made });
    assert.equal(
      shown.map(({ shown: name }) => name),
      ["own"],
    );
  });
});

test("media are exchanged and not questions: none keeps its own, a wrong one has other answers", () => {
  const items = Array.from({ length: 60 }, (_, n) => ({
    ...{ id: String(n), doc: {}, target: ["yes", "no", "maybe"][(n >> 1) % 3] as string, kind: n < 30 ? "first" : "second" },
    media: [{ modality: "image", path: `${n >> 1}.png` }],
  }));
  const number = (media: readonly { path: string }[]) => Number.parseInt(media[0]!.path, 10);
  for (const seed of [0, 1, 2]) {
    const [shuffled, wrong] = [mediaShown(items, "shuffled", seed).map(number), mediaShown(items, "wrong", seed).map(number)];
    for (const [n, { target }] of items.entries()) {
      assert.is.not(shuffled[n], n >> 1);
      assert.is(shuffled[n]! < 15, n < 30, "of the same kind");
      assert.is.not(["yes", "no", "maybe"][wrong[n]! % 3], target);
      for (const all of [shuffled, wrong]) assert.is(all[n], all[n ^ 1], "questions about one picture stay together");
    }
    assert.is(new Set(shuffled).size, 30);
  }
});

test("mme: a picture that lacks its other question does not count, and the report says so", () =>
  within(async (layout) => {
    for (const name of ["a", "b"])
      layout
        .media(`count/${name}.jpg`)
        .write({ [`count/${name}.txt`]: "Is it? Please answer yes or no.\tYes\nIs it not? Please answer yes or no.\tNo\n" });
    const { shown } = await scorePredictions(await answerTask(saying(["yes", "yes", "no"]), "mme", { data: layout.folder, limit: 3 }));
    const { metrics, notes = [] } = shown[0]!;
    assert.equal([metrics.count, metrics["count accuracy"], metrics["count accuracy+"]], [50, 0.5, 0]);
    assert.match(notes.join(), /1 answers do not count/);
  }));

test("a run that was cut goes on to the same bytes, another run's answers are not touched", () =>
  within(async (layout) => {
    layout.media(...[0, 1, 2, 3].map((n) => `img/${n}.png`)).write({ "dev_seen.jsonl": memes(11) });
    const data = layout.folder;
    const answer = (asked: string) => (asked.includes("7") ? "yes" : "no");
    const options = { data, batch: 3, controls: ["shuffled" as const] };
    const read = (name: string) => readFileSync(join(layout.path(name), "predictions.jsonl"), "utf8");
    const undated = (text: string) => text.replace(/"date":"[^"]*"/, "");
    await answerTask(new Rote(answer), "hateful-memes", { ...options, output: layout.path("whole") });
    const whole = read("whole");
    assert.is(whole.split("\n").length, 1 + 22 + 1);
    const stop = new AbortController();
    const cut = answerTask(new Rote(answer), "hateful-memes", {
      ...options,
      output: layout.path("cut"),
      signal: stop.signal,
      onProgress: (done) => done > 8 && stop.abort(new Error("stopped")),
    });
    await rejects(cut, /stopped/);
    assert.is(read("cut").split("\n").length, 1 + 9 + 1);
    appendFileSync(join(layout.path("cut"), "predictions.jsonl"), '{"doc_id": 9, "shown": "o'); // killed in mid-write
    const rest = new Rote(answer);
    await answerTask(rest, "hateful-memes", { ...options, batch: 4, output: layout.path("cut") });
    assert.is(rest.asked.length, 13);
    assert.is(undated(read("cut")), undated(whole));
    for (const other of [{ controls: [] }, { seed: 1 }, { limit: 10 }, { name: "another" }, { fingerprint: "x" }])
      await rejects(
        answerTask(new Rote(answer), "hateful-memes", { ...options, output: layout.path("cut"), ...other }),
        /expected answers of this run, (shown|seed|questions|model|fingerprint) .*take another --output/,
      );
    assert.is(undated(read("cut")), undated(whole));
  }));

test("answers are scored again from their file alone: the same bits, and by another rule", () =>
  within(async (layout) => {
    layout.media(...[0, 1, 2].map((n) => `val2014/${n}.jpg`)).write({ "coco_pope_random.json": hows(6) });
    const output = layout.path("out");
    const predictions = await answerTask(saying(["Yes.", "no", "yes", "Yes, there is", "no", "maybe not"]), "pope", {
      data: layout.folder,
      output,
    });
    const first = await scorePredictions(predictions);
    for (const name of ["val2014/0.jpg", "coco_pope_random.json"]) execFileSync("rm", [layout.path(name)]);
    const again = await scorePredictions(join(output, "predictions.jsonl"));
    assert.equal(again.shown, first.shown);
    const [files, others] = [await writeResults(first, layout.path("a")), await writeResults(again, layout.path("b"))];
    for (const [a, b] of [
      [files.results, others.results],
      [files.samples[0]!, others.samples[0]!],
      [files.hub!, others.hub!],
    ] as const)
      assert.is(readFileSync(a, "utf8"), readFileSync(b, "utf8"));
    const strict = await scorePredictions(join(output, "predictions.jsonl"), { prompts: "lmms-eval" });
    near([first.shown[0]!.metrics.accuracy!, strict.shown[0]!.metrics.accuracy!], [5 / 6, 2 / 6], 1e-12, "accuracies by two rules");
    writeFileSync(
      layout.path("broken.jsonl"),
      readFileSync(join(output, "predictions.jsonl"), "utf8").replace('"label":"no"', '"label":"perhaps"'),
    );
    await rejects(scorePredictions(layout.path("broken.jsonl")), /broken\.jsonl:\d: expected label to be one of yes, no, got "perhaps"/);
    writeFileSync(layout.path("other.jsonl"), '{"image": "a.png"}\n');
    await rejects(scorePredictions(layout.path("other.jsonl")), /expected predictions, whose first line says so/);
  }));

test("results, samples and the hub's file have the fields and names that their readers look for", () =>
  within(async (layout) => {
    layout.media(...[0, 1, 2, 3].map((n) => `val2014/${n}.jpg`)).write({ "coco_pope_random.json": hows(8) });
    const predictions = await answerTask(new Rote(() => "no"), "pope", {
      data: layout.folder,
      controls: ["shuffled"],
      name: "org/model: 1",
    });
    const report = await scorePredictions({ ...predictions, head: { ...predictions.head, date: "2026-11-30T09:55:01.250Z" } });
    const { results, samples, hub } = await writeResults(report, layout.path("out"), { source: { url: "https://example.org/a: b" } });
    assert.match(results, /out\/org__model__ 1\/20261130_095501_results\.json$/);
    assert.equal(
      samples.map((path) => basename(path)),
      ["20261130_095501_samples_pope.jsonl", "20261130_095501_samples_pope-shuffled.jsonl"],
    );
    const file = JSON.parse(readFileSync(results, "utf8"));
    const { accuracy } = report.shown[0]!.metrics;
    const right = report.shown[0]!.items.accuracy!;
    const variance = right.reduce((sum, one) => sum + (one - accuracy!) ** 2, 0) / (right.length - 1);
    assert.is(file.results.pope["accuracy,none"], accuracy);
    near([file.results.pope["accuracy_stderr,none"]], [Math.sqrt(variance / right.length)], 1e-12, "standard error");
    assert.is(file.results["pope-shuffled"]["f1_stderr,none"], "N/A");
    assert.equal(file["n-samples"].pope, { original: 8, effective: 8 });
    const fields = [
      "results",
      "group_subtasks",
      "configs",
      "versions",
      "n-shot",
      "higher_is_better",
      "n-samples",
      "config",
      "date",
      "task_hashes",
    ];
    for (const key of [...fields, "model_source", "model_name", "model_name_sanitized"]) assert.ok(key in file, key);
    const [sample] = readFileSync(samples[0]!, "utf8")
      .split("\n")
      .map((line) => line && JSON.parse(line));
    assert.equal([sample.doc_id, sample.target, sample.resps, sample.filtered_resps, sample.score], [0, "yes", ["no"], "no", 0]);
    assert.match(sample.doc_hash, /^[0-9a-f]{64}$/);
    const [entry] = parseYaml(readFileSync(hub!, "utf8")) as Record<string, unknown>[];
    assert.equal(
      [entry!.value, entry!.date, entry!.source, (entry!.dataset as { task_id: string }).task_id],
      [accuracy, "2026-11-30", { url: "https://example.org/a: b" }, "pope"],
    );
  }));

test("wrong questions are named, or left out and counted; a folder of something else says what belongs there", () =>
  within(async (layout) => {
    layout
      .media("img/0.png", "img/1.png", "img/3.png")
      .write({ "dev_seen.jsonl": `${memes(4)}${lines([{ ...meme(5), label: 7 }, meme(0), { ...meme(9), text: "fine" }])}{\n` });
    const data = layout.folder;
    await rejects(
      answerTask(new Rote(() => "x"), "hateful-memes", { data }),
      /hateful-memes 2: expected its image as img\/2\.png, got no such file/,
    );
    const problems: string[] = [];
    const { head, lines: made } = await answerTask(new Rote(() => "x"), "hateful-memes", {
      data,
      onBadRow: "skip",
      onProblem: ({ message }) => problems.push(message),
    });
    assert.equal(
      made.map(({ id }) => id),
      ["0", "1", "3", "9"],
    );
    assert.is(head.leftOut, 4);
    for (const [i, message] of [
      /as img\/2\.png/,
      /expected label to be an integer from 0 to 1, got 7/,
      /expected each question once, got a second 0/,
      /one JSON object/,
    ].entries())
      assert.match(problems[i]!, message);
    await rejects(
      answerTask(new Rote(() => "x"), "mme", { data }),
      /the data of mme: a folder for each task .*got none of existence, count/,
    );
    await rejects(answerTask(new Rote(() => "x"), "mem", { data }), /got "mem"; did you mean "mme"\?/);
    await rejects(answerTask(new Rote(() => "x"), "hateful-memes", { data, split: "val" }), /split: expected one of dev_seen, .*got "val"/);
    await rejects(
      answerTask(new Rote(() => "x"), "hateful-memes", { data, prompts: "lmms-eval" }),
      /expected one of anymal, got "lmms-eval"/,
    );
    await rejects(answerTask(new Rote(() => "x"), "hateful-memes", { data, limit: 1, controls: ["wrong"] }), /at least two media, got 1/);
  }));

test("a real model: the probability of yes, and media that turn out not to be readable", () =>
  within(async (layout) => {
    const world: Toy = await toy();
    try {
      await writeData(world);
      for (const [n, color] of ["red", "green", "blue", "white"].entries())
        layout.write({}).media(`img/${n}.png`) && writeFileSync(layout.path(`img/${n}.png`), readFileSync(world.path(`${color}.png`)));
      layout.write({ "dev_seen.jsonl": memes(6) });
      const data = layout.folder;
      await using model = await AnyMAL.assemble(world.options());
      // A task of one's own: the context of the toy is short.
      const named = evalTask("hateful-memes");
      const ask = (doc: object): Asked => ({ user: [MEDIA, (doc as { text: string }).text] });
      const task: EvalTask = { ...named, name: "short", conventions: { anymal: { ...named.conventions.anymal, ask } } };
      const predictions = await answerTask(model, task, { data, batch: 4, controls: ["blank"] });
      const [first] = predictions.lines;
      const { shown } = await scorePredictions(predictions, { tasks: [task] });
      const share = shown[0]!.items["P(yes)"]!;
      const turns = ask(meme(0)).user.map((part) => (part === MEDIA ? image(layout.path("img/0.png")) : (part as string)));
      const [direct] = await model.scoreAnswers([turns], ["yes", "no"]);
      assert.equal(
        first!.logProbabilities,
        direct!.map(({ logProb }) => logProb),
      );
      const [yes, no] = first!.logProbabilities as [number, number];
      near([share[0]!], [Math.exp(yes) / (Math.exp(yes) + Math.exp(no))], 1e-9, "P(yes)");
      assert.is(new Set(share).size > 1, true);
      const alone = await answerTask(model, task, { data, batch: 1 });
      assert.equal(alone.lines, predictions.lines.slice(0, 6), "a row has the same bits alone and among others");
      writeFileSync(layout.path("img/1.png"), "no picture");
      await rejects(
        answerTask(model, task, { data, output: layout.path("out") }),
        /1 \(own\): expected an answer, got E_MEDIA.*see 1\.png/,
      );
      assert.is(
        readFileSync(join(layout.path("out"), "predictions.jsonl"), "utf8").split("\n").length,
        3,
        "the good answer before it is kept",
      );
      const rest = await answerTask(model, task, { data, onBadRow: "skip" });
      const scored = await scorePredictions(rest, { tasks: [task] });
      assert.equal([scored.shown[0]!.lines.length, scored.shown[0]!.unanswered], [4, 2]);
      assert.ok(existsSync(layout.path("out")));
    } finally {
      world.remove();
    }
  }));

test.run();
