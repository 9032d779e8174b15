// A run's folder and a model belong to one training at a time; what was killed leaves no rubbish; what the disk refuses is told, and loses nothing.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { AnymalError } from "../../lib/core/errors.js";
import { FolderLock } from "../../lib/io/folder-lock.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";
import { align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import { captions, square, type Toy, toy } from "../anymal/toy.js";
import { Case, here } from "../case.js";
import { spread } from "../faults.js";
import { withRefusal } from "../file-faults.js";
import { all, RUN_FILES } from "./stages.js";

const test = suite("run folder");
let world: Toy;
let model: AnyMAL;
test.before(async () => {
  world = await toy();
  const modalities = { image: { encoder: world.clip, projector: { type: "linear" } } } as const;
  model = await AnyMAL.assemble(world.options({ modalities }));
});
test.after(() => {
  model.dispose();
  world.remove();
});

const ALIGN = { modality: "image", batch: 2, learningRate: 1e-3, data: captions() } as const;
async function rejection(run: () => Promise<unknown>): Promise<AnymalError> {
  const error = await run().then(
    () => undefined,
    (problem) => problem,
  );
  assert.ok(error instanceof AnymalError, `no error of this library: ${error}`);
  return error as AnymalError;
}
/** The number of a process that is gone. */
const gone = (): number => spawnSync(process.execPath, ["-e", ""]).pid;
const lockOf = (folder: string) => join(folder, ".run.lock");
const holder = (more: object) =>
  JSON.stringify({ pid: process.ppid, host: hostname(), since: "then", what: "align audio", mark: "x", ...more });
const temporaries = (folder: string) => readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.includes(".tmp"));

test("a model is trained by one at a time, and answers meanwhile", async () => {
  const first = align(model, { ...ALIGN, steps: 3 });
  await first.next();
  for (const second of [align(model, { ...ALIGN, steps: 1 }), instruct(model, { data: captions(), lora: false, steps: 1, batch: 1 })]) {
    const error = await rejection(() => all(second));
    assert.is(error.code, "E_BUSY");
    assert.match(error.message, /align image, since \d{4}-.* on the same model; wait/);
  }
  assert.is((await model.generateAll([["see ", square("red")]], { maxNewTokens: 2 })).length, 1);
  assert.is((await all(first)).at(-1)?.step, 3);
  const left = align(model, { ...ALIGN, steps: 3 });
  await left.next();
  await left.return(undefined);
  assert.is((await all(align(model, { ...ALIGN, steps: 1 }))).length, 1);
});

test("a folder takes one run at a time: the other is told whose it is", async () => {
  const output = world.path("shared");
  const other = await AnyMAL.fromPretrained(await saved("shared-model"), { device: here });
  const first = align(model, { ...ALIGN, steps: 2, output });
  await first.next();
  const held = JSON.parse(readFileSync(lockOf(output), "utf8"));
  assert.equal([held.pid, held.host, held.what], [process.pid, hostname(), "align image"]);
  const error = await rejection(() => all(align(other, { ...ALIGN, steps: 2, output, resume: true })));
  other.dispose();
  assert.is(error.code, "E_BUSY");
  assert.ok(error.message.includes(`align image of process ${process.pid} on ${hostname()}, since ${held.since}`), error.message);
  await all(first);
  assert.equal(readdirSync(output).sort(), RUN_FILES);
  assert.is(readFileSync(join(output, "log.jsonl"), "utf8").trim().split("\n").length, 2);
});

async function saved(name: string): Promise<string> {
  await model.save(world.path(name));
  return world.path(name);
}

test("a lock counts as long as its holder lives", async () => {
  const folder = world.path("locks");
  mkdirSync(folder);
  const taken = async (text: string, secondsAgo = 0) => {
    writeFileSync(lockOf(folder), text);
    const then = new Date(Date.now() - 1000 * secondsAgo);
    utimesSync(lockOf(folder), then, then);
    try {
      await (await FolderLock.take(folder, "test")).release();
      return false;
    } catch (error) {
      assert.is((error as AnymalError).code, "E_BUSY");
      return true;
    }
  };
  assert.is(await taken(holder({})), true, "alive");
  assert.is(await taken(holder({}), 3600), true, "alive, and standing still");
  assert.is(await taken(holder({ pid: gone() })), false, "gone");
  if (existsSync("/proc/self/stat"))
    assert.is(await taken(holder({ process: "another boot:1" })), false, "its number was given to another process");
  assert.is(await taken(holder({ host: "elsewhere" })), true, "on another machine");
  assert.is(await taken(holder({ host: "elsewhere" }), 3600), false, "on another machine, untouched for an hour");
  assert.is(await taken(holder({ pid: process.pid })), true, "another thread of this process");
  assert.is(await taken(holder({ pid: process.pid }), 3600), false, "a thread that was ended");
  assert.is(await taken("{"), false, "killed while it wrote");
  for (const odd of ["null", "[]", holder({ pid: -1 }), holder({ pid: 0.5 }), holder({ what: [[]] }), holder({ since: null })])
    assert.is(await taken(odd), false, odd);
  assert.is(await taken(`{"pid":1,"what":${"[".repeat(1e5)}${"]".repeat(1e5)}}`), false, "nested without end");
  assert.equal(readdirSync(folder), []);
});

test("of many that find a dead holder's lock, one takes it over", async () => {
  const folder = world.path("race");
  mkdirSync(folder);
  writeFileSync(lockOf(folder), holder({ pid: gone() }));
  writeFileSync(`${lockOf(folder)}.takeover`, holder({ pid: gone() }));
  const ends = await Promise.allSettled(Array.from({ length: 20 }, () => FolderLock.take(folder, "race")));
  const won = ends.flatMap((end) => (end.status === "fulfilled" ? [end.value] : []));
  assert.is(won.length, 1);
  for (const end of ends) if (end.status === "rejected") assert.is(end.reason.code, "E_BUSY", end.reason.stack);
  await won[0]!.check();
  await won[0]!.release();
  assert.equal(readdirSync(folder), []);
});

test("who was taken for dead does not write any more", async () => {
  const folder = world.path("lost");
  mkdirSync(folder);
  const lock = await FolderLock.take(folder, "first");
  writeFileSync(lockOf(folder), holder({ what: "second" }));
  const error = await rejection(() => lock.check());
  assert.is(error.code, "E_BUSY");
  assert.match(error.message, /second of process/);
  await lock.release();
  assert.ok(existsSync(lockOf(folder)), "released another's lock");
});

test("the rubbish of a killed process goes with the next run or save, that of a living one stays", async () => {
  const output = world.path("rubbish");
  const dead = gone();
  const put = (...names: string[]) => {
    for (const name of names) {
      const path = join(output, name);
      mkdirSync(dirname(path), { recursive: true });
      if (/checkpoint|model\./.test(name)) mkdirSync(join(path, "inside"), { recursive: true });
      else writeFileSync(path, "half");
    }
  };
  put(`.checkpoint.${dead}.tmp`, `.checkpoint.${dead}.abcdefg1.tmp`, `recipe.yaml.${dead}.tmp`, `log.jsonl.${dead}.tmp`);
  const stays = [`.checkpoint.${process.ppid}.tmp`, `.checkpoint.${dead}@00000000.abcdefg1.tmp`, `mine.${dead}.tmp`];
  put(...stays);
  await all(align(model, { ...ALIGN, steps: 1, output }));
  assert.equal(
    temporaries(output)
      .filter((name) => !name.includes("inside"))
      .sort(),
    [...stays].sort(),
  );
  for (const name of stays) rmSync(join(output, name), { recursive: true });

  put(`.a.safetensors.${dead}.abcdefg1.tmp`, `.b.safetensors.${dead}.abcdefg1.tmp`);
  await saveSafetensors(join(output, "a.safetensors"), []);
  assert.equal(temporaries(output), [`.b.safetensors.${dead}.abcdefg1.tmp`]);
  put(`.model.${dead}.abcdefg1.tmp`);
  rmSync(join(output, `.b.safetensors.${dead}.abcdefg1.tmp`));
  await model.save(join(output, "model"));
  put(`whole/.config.json.${dead}.abcdefg1.tmp`, `whole/..model.safetensors.${dead}.abcdefg1.tmp.${dead}.abcdefg1.tmp`);
  await saveModel(join(output, "whole"), model.llm, new Case("llama2").json());
  assert.equal(temporaries(output), []);
});

test("a checkpoint is on the disk, its folder too, before it takes the old one's place", async () => {
  const output = world.path("flushed");
  await all(align(model, { ...ALIGN, steps: 1, output }));
  const events: { name: string; path: string }[] = [];
  const run = () => all(align(model, { ...ALIGN, steps: 2, saveEvery: 1, output: world.path("flushed-2") }));
  await withRefusal({ n: 0, code: "" }, run, (name, args) => {
    if (name === "rename") events.push({ name, path: `${args[0]} ${args[1]}` });
    if (name === "handle.sync") events.push({ name, path: fileOf(args[0] as FileHandle) });
  });
  const places = events.flatMap(({ name, path }, i) => (name === "rename" && path.endsWith("/checkpoint") ? [i] : []));
  assert.is(places.length, 2);
  for (const place of places) {
    const from = events[place]!.path.split(" ")[0] as string;
    const synced = events.slice(0, place).filter(({ name }) => name === "handle.sync");
    // Files are flushed under their temporary names, or under their own.
    for (const file of ["anymal.json", "trainer_state.json", "optimizer.safetensors", "projectors/image.safetensors"])
      assert.ok(
        synced.some(({ path }) => path.startsWith(join(from, dirname(file))) && basename(path).includes(basename(file))),
        `${file} was not flushed`,
      );
    for (const folder of [from, join(from, "projectors")])
      assert.ok(
        synced.some(({ path }) => path === folder),
        `${folder} was not flushed`,
      );
    assert.ok(
      events.slice(place).some(({ name, path }) => name === "handle.sync" && path === world.path("flushed-2")),
      "the rename was not flushed",
    );
  }
});
const fileOf = ({ fd }: FileHandle): string => (existsSync(`/proc/self/fd/${fd}`) ? readlinkSync(`/proc/self/fd/${fd}`) : "");

test("whatever call the disk refuses: E_FILE with path and remedy, and nothing that was saved is lost", async () => {
  const before = world.path("before");
  await all(align(model, { ...ALIGN, steps: 2, output: before }));
  const codes = ["ENOSPC", "EROFS", "EACCES", "EMFILE", "EIO", "ENOENT", "ENOTEMPTY"];
  const entries: [string, () => Promise<unknown>][] = [
    ["save", () => model.save(world.path("refused/model"))],
    ["saveModel", () => saveModel(world.path("refused/llm"), model.llm, new Case("llama2").json())],
    ["align", () => all(align(model, { ...ALIGN, steps: 2, saveEvery: 1, output: world.path("refused/run") }))],
    ["resume", () => all(align(model, { ...ALIGN, steps: 4, saveEvery: 1, output: world.path("refused/before"), resume: true }))],
  ];
  for (const [name, entry] of entries) {
    const fresh = () => {
      rmSync(world.path("refused"), { recursive: true, force: true });
      mkdirSync(world.path("refused"));
      if (name !== "resume") return;
      cpSync(before, world.path("refused/before"), { recursive: true });
      const recipe = join(world.path("refused/before"), "recipe.yaml");
      writeFileSync(
        recipe,
        readFileSync(recipe, "utf8")
          .replace("steps: 2", "steps: 4")
          .replace(/warmupSteps: \d+/, "warmupSteps: 0"),
      );
    };
    fresh();
    const { calls, error } = await withRefusal({ n: 0, code: "" }, entry);
    assert.is(error, undefined, `${name}: ${(error as Error)?.stack}`);
    for (const n of spread(calls, 30)) {
      const code = codes[n % codes.length] as string;
      fresh();
      const { error, name: call } = await withRefusal({ n, code }, entry);
      const where = `${name}: call ${n} of ${calls}, ${call} with ${code}`;
      if (error !== undefined) {
        const { code: own, message, cause } = error as AnymalError;
        assert.is(own, "E_FILE", `${where}: ${(error as Error).stack}`);
        assert.ok(message.includes(world.folder) && message.includes(code) && /; \S/.test(message), `${where}: ${message}`);
        assert.is((cause as { code: string }).code, code);
        assert.not.match(message, /\.tmp/, `${where}: names a file that nobody asked for`);
      }
      if (call !== "rm" && call !== "readdir") assert.equal(temporaries(world.path("refused")), [], where);
      assert.not.ok(existsSync(lockOf(world.path("refused/run"))) && call !== "rm", `${where}: the lock stayed`);
      if (name !== "resume") continue;
      const moved = { llm: world.llm, encoders: { image: world.clip } }; // the copy lies elsewhere
      (await AnyMAL.fromPretrained(world.path("refused/before"), { device: here, ...moved })).dispose();
    }
  }
});

test("a run goes on with other micro-batches only where they change nothing: dropout's numbers are counted by them", async () => {
  for (const dropout of [0, 0.2]) {
    const base = {
      data: captions(),
      lora: { r: 2, dropout },
      batch: 4,
      learningRate: 1e-3,
      warmupSteps: 0,
      output: world.path(`d${dropout}`),
    };
    const options = { ...base, microBatch: 4, steps: 4 };
    {
      using first = await AnyMAL.assemble(world.options({ modalities: { image: { encoder: world.clip, projector: { type: "linear" } } } }));
      for await (const { step } of instruct(first, options)) if (step === 1) break;
    }
    using again = await AnyMAL.assemble(world.options({ modalities: { image: { encoder: world.clip, projector: { type: "linear" } } } }));
    const resume = (microBatch: number) => all(instruct(again, { ...options, microBatch, resume: true }));
    if (!dropout) await resume(2);
    else {
      const error = await rejection(() => resume(2));
      assert.is(error.code, "E_RECIPE");
      assert.match(error.message, /microBatch to be 4/);
      await resume(4);
    }
  }
});

test("a run that is refused leaves no branches on the model", async () => {
  using fresh = await AnyMAL.assemble(world.options({ modalities: { image: { encoder: world.clip, projector: { type: "linear" } } } }));
  const { tensors } = here.memory();
  const options = { data: captions(), lora: { r: 2 }, batch: 2, steps: 1 };
  writeFileSync(world.path("a-file"), "");
  let put = 0;
  const addAdapter = fresh.addAdapter.bind(fresh);
  fresh.addAdapter = ((...args: Parameters<typeof addAdapter>) => {
    ++put;
    return addAdapter(...args);
  }) as typeof addAdapter;
  for (const output of [world.path("a-file"), world.path("damaged-too")]) {
    if (output.endsWith("too")) cpSync(world.path("d0"), output, { recursive: true });
    await rejection(() => all(instruct(fresh, { ...options, output })));
    assert.is(fresh.adapter, undefined);
    assert.is(put, 0, "the folder is looked at first");
    assert.is(here.memory().tensors, tensors);
  }
  await all(instruct(fresh, { ...options, lora: { r: 4 } })); // another rank is no matter
  assert.is(fresh.adapter?.config.r, 4);
});

test("moments that cannot be read leave no branches on the model", async () => {
  const output = world.path("moments");
  const options = { data: captions(), lora: { r: 2 }, batch: 2, steps: 2, output };
  const assemble = () => AnyMAL.assemble(world.options({ modalities: { image: { encoder: world.clip, projector: { type: "linear" } } } }));
  {
    using model = await assemble();
    await all(instruct(model, { ...options, steps: 1 }));
  }
  const path = join(output, "checkpoint", "optimizer.safetensors");
  const good = readFileSync(path);
  writeFileSync(path, good.subarray(0, good.length / 2));
  using model = await assemble();
  const { tensors } = here.memory();
  const error = await rejection(() => all(instruct(model, { ...options, steps: 1, resume: true })));
  assert.match(error.message, /optimizer\.safetensors/);
  assert.is(model.adapter, undefined);
  assert.is(here.memory().tensors, tensors);
  writeFileSync(path, good);
  assert.equal(await all(instruct(model, { ...options, steps: 1, resume: true })), []);
  assert.is(model.adapter!.config.r, 2);
});

test("a damaged state or recipe is told under a code, with the file and what to do", async () => {
  const output = world.path("damaged");
  const options = { ...ALIGN, steps: 2, output };
  await all(align(model, options));
  const states = ["null", "{", "", "[]", "7", '{"step":1e9,"updates":1,"rows":4,"secondsElapsed":0}'];
  states.push('{"step":-1,"updates":0,"rows":4,"secondsElapsed":0}', '{"step":1.5,"updates":1,"rows":4,"secondsElapsed":0}');
  states.push('{"step":1,"updates":"x","rows":4,"secondsElapsed":0}', '{"step":1,"updates":1,"rows":4,"secondsElapsed":null}');
  const good = JSON.parse(readFileSync(join(output, "checkpoint", "trainer_state.json"), "utf8"));
  for (const more of [
    { batches: 1 },
    { batches: "7" },
    { batches: 1e300 },
    { fewerUpdates: 1 },
    { fewerUpdates: { x: 2 } },
    { fewerUpdates: { x: null } },
  ])
    states.push(JSON.stringify({ ...good, ...more }));
  const recipes = ["{{{", "a: &x [*x]", "align: &x {image: *x}", "", "- a", "null", "7"];
  const check = async (file: string, text: string, code: string) => {
    const path = join(output, file);
    const good = readFileSync(path);
    writeFileSync(path, text);
    const error = await rejection(() => all(align(model, { ...options, resume: true })));
    assert.is(error.code, code, `${file} ${text}: ${error.stack}`);
    assert.match(error.message, file === "recipe.yaml" ? /recipe(\.yaml)?\b.*;/s : /trainer_state\.json.*; \S/s, text);
    writeFileSync(path, good);
  };
  for (const text of states) await check("checkpoint/trainer_state.json", text, "E_CHECKPOINT");
  for (const text of recipes) await check("recipe.yaml", text, "E_RECIPE");
  assert.equal(await all(align(model, { ...options, resume: true })), []);
  assert.equal(readdirSync(output).sort(), RUN_FILES);
});

test("weights that a run did not write are refused: numbers of another type, or of another shape", async () => {
  const output = world.path("other-weights");
  const options = { ...ALIGN, steps: 2, output };
  await all(align(model, options));
  const path = join(output, "checkpoint", "projectors", "image.safetensors");
  const good = readFileSync(path);
  const changes: [string, string, RegExp][] = [
    ["F32", "I32", /as F32 \[.*\], got I32 \[/], // as many bytes, which are other numbers
    ["F32", "U32", /got U32 \[/],
    ['"shape":[', '"shape":[1,', /, got F32 \[1,/],
  ];
  for (const [from, to, message] of changes) {
    const header = Buffer.from(
      good
        .toString("latin1", 8, 8 + Number(good.readBigUInt64LE()))
        .trimEnd()
        .replaceAll(from, to),
    );
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    writeFileSync(path, Buffer.concat([length, header, good.subarray(8 + Number(good.readBigUInt64LE()))]));
    const error = await rejection(() => all(align(model, { ...options, resume: true })));
    assert.is(error.code, "E_STATE", error.stack);
    assert.match(error.message, message);
    assert.ok(error.message.includes(path), error.message);
  }
  writeFileSync(path, good);
  assert.equal(await all(align(model, { ...options, resume: true })), []);
});

test.run();
