// What a recording does not say: clocks that are asked for, units that gravity shows, holes that are told.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { imu, loadImu, loadImuAt } from "../../lib/media/imu.js";
import { ImuProcessor } from "../../lib/media/imu-processor.js";
import { at, DEGREES, G, heard, isMotion, linear, PLAIN, RATE, Recordings, ROWS, table } from "./imu-signal.js";
import { rejects } from "./media-case.js";

const recordings = new Recordings();
test.after(() => recordings[Symbol.dispose]());
const clock = (name: string, stamp: (i: number) => unknown, written = {}) =>
  recordings.file(table(`${name},${PLAIN}`, (i) => [stamp(i), ...at(i, written)]));

test("a clock whose unit cannot be known is asked for", async () => {
  const unknown: [string, (i: number) => number][] = [
    ["timestamp", (i) => i],
    ["time", (i) => i],
    ["t", (i) => 5000 + i],
    ["timestamp", (i) => Math.round(i * 327.68)], // ticks of a watch crystal
    ["time", (i) => i * 1000],
    ["time", (i) => i * 0.9],
    ["time", (i) => 1e6 + i * 150_000],
  ];
  for (const [name, stamp] of unknown) {
    const path = clock(name, stamp);
    await rejects(heard(path), "E_MEDIA_OPTION", new RegExp(`unit of the clock "${name}"`), /the option time/, /the option sampleRate/);
    await isMotion(path, { sampleRate: RATE });
  }
  const known: [string, (i: number) => unknown][] = [
    ["time", (i) => i / 100],
    ["time", (i) => i * 10],
    ["time", (i) => i * 1e4],
    ["time", (i) => i * 1e7],
    ["timestamp", (i) => 1698501144 + i / 100],
    ["timestamp", (i) => 1698501144401 + i * 10],
    ["timestamp", (i) => `${1698501144401928000n + BigInt(i) * 10_000_000n}`],
    ["uptime_ms", (i) => i * 10],
  ];
  for (const [name, stamp] of known) {
    if (name === "uptime_ms") await rejects(heard(clock(name, stamp)), "E_MEDIA_OPTION", /a time column/);
    else await isMotion(clock(name, stamp), {}, [], 0, 1e-4);
  }
});

test("a header that says another unit than the values have", async () => {
  const wrong: [string, number, string][] = [
    ["timestamp_ms", 0.01, "s"],
    ["time_us", 0.01, "s"],
    ["time_s", 10, "ms"],
    ["time [ns]", 10, "ms"],
    ["timestamp_ns", 1e4, "us"],
  ];
  for (const [name, step, unit] of wrong) {
    const path = clock(name, (i) => i * step);
    await rejects(heard(path), "E_MEDIA_OPTION", /as the name/, new RegExp(`the option time: "${unit}" if it is 100 Hz`));
    await isMotion(path, { time: unit as "s" });
  }
  const slow = await heard(recordings.file(table(`time_s,${PLAIN}`, (i) => [i, ...at(i)], ",", 60)));
  assert.match(slow.said.join("\n"), /1 samples a second by its clock/);
});

test("one sample a second, and steps that tell nothing", async () => {
  const path = recordings.file(table(`time,${PLAIN}`, (i) => [i, ...at(100 * i)], ",", 60));
  await rejects(heard(path), "E_MEDIA_OPTION", /unit of the clock/);
  const jumps = recordings.file(`time,${PLAIN}\n0,1,2,3,4,5,6\n1e-12,1,2,3,4,5,6\n1e6,1,2,3,4,5,6\n`);
  await rejects(heard(jumps), "E_MEDIA_FORMAT", /steady time stamps/);
  const seconds = clock("time_s", (i) => Math.floor(i / 100));
  await rejects(heard(seconds), "E_MEDIA_FORMAT", /a time for each row/, /the option sampleRate/);
});

test("two clocks: either where they agree, asked for where they do not", async () => {
  const two = (names: string, a: (i: number) => unknown, b: (i: number) => unknown) =>
    recordings.file(table(`${names},${PLAIN}`, (i) => [a(i), b(i), ...at(i)]));
  await isMotion(two("time,seconds_elapsed", (i) => `${1698501144401928000n + BigInt(i) * 10_000_000n}`, (i) => i / RATE)); // biome-ignore format: short
  await isMotion(two("timestamp,time_ms", (i) => i, (i) => i * 10)); // biome-ignore format: short
  await isMotion(two("epoc (ms),timestamp (+0100)", (i) => 1698501144401 + i * 10, () => "noon")); // biome-ignore format: short
  const path = two("time_s,time_ms", (i) => i / 50, (i) => i * 10); // biome-ignore format: short
  await rejects(heard(path), "E_MEDIA_FORMAT", /do not agree/, /the option columns: \{ time: "time_s" \}/);
  await isMotion(path, { columns: { time: "time_ms" } });
});

test("rows in another order are refused, or sorted when asked", async () => {
  const order = (i: number) => (i === 6 ? 7 : i === 7 ? 6 : i);
  const path = recordings.file(table(`time,${PLAIN}`, (i) => [order(i) / RATE, ...at(order(i))]));
  await rejects(heard(path), "E_MEDIA_FORMAT", /:9:/, /0\.06 after 0\.07/, /the option sort: true/);
  await isMotion(path, { sort: true }, [/put into the order of "time"/]);
});

const gap = (seconds: number, rows = ROWS) =>
  recordings.file(table(`time_s,${PLAIN}`, (i) => [i / RATE + (i > 150 ? seconds : 0), ...at(i)], ",", rows));

test("holes are told, and refused beyond a limit", async () => {
  const short = await heard(gap(0.5));
  assert.is(short.said.length, 1);
  assert.match(short.said[0]!, /0\.51 s without samples of the sensors from 1\.5 s on .*:152.*straight lines.*the option maxGap/);
  await rejects(heard(gap(0.5), { maxGap: 0.3 }), "E_MEDIA_FORMAT", /:152:/, /no hole of more than 0\.3 s/);
  await rejects(heard(gap(5)), "E_MEDIA_FORMAT", /no hole of more than 1 s/, /the options start and seconds/, /the option maxGap: 5\.2/);
  assert.is((await heard(gap(5), { maxGap: 5.2 })).samples.length, 6 * 801);
  // What is not taken may have holes.
  assert.equal((await heard(gap(5), { seconds: 1.4 })).said, []);
  assert.equal((await heard(gap(5), { start: 6.6 })).said, []);
  const processor = new ImuProcessor({ sampling_rate: 100, window_samples: 140 });
  assert.equal((await processor.process([imu(gap(5))])).shape, [1, 6, 140]);
  await isMotion(clock("time", (i) => i / RATE));
});

test("a hole of one sensor alone", async () => {
  const cells = (i: number) => (i > 100 && i < 140 ? ["", "", ""] : at(i).slice(0, 3));
  const path = recordings.file(table(`time,${PLAIN}`, (i) => [i / RATE, ...cells(i), ...at(i).slice(3)]));
  await rejects(heard(path), "E_MEDIA_FORMAT", /:103:/, /"ax"/);
  const { said } = await heard(path, { missing: "drop" });
  assert.is(said.length, 2, said.join("\n"));
  assert.match(said[0]!, /39 of 301 rows have no acceleration/);
  assert.match(said[1]!, /0\.4 s without samples of the accelerometer from 1 s on/);
});

test("units that no name says: gravity in g, turning in degrees", async () => {
  const g = /read in g, since gravity is \d.*the option acceleration: "m\/s2"/;
  const [rad, deg] = [
    /gyroscope is read in rad\/s.*the option gyroscope: "deg\/s"/,
    /gyroscope is read in deg\/s.*the option gyroscope: "rad\/s"/,
  ];
  const seconds = (i: number) => i / RATE;
  await isMotion(clock("time", seconds));
  await isMotion(clock("time", seconds, { acceleration: 1 / G }), {}, [g, rad]);
  await isMotion(clock("time", seconds, { acceleration: 1 / G, gyroscope: DEGREES }), {}, [g, deg]);
  await isMotion(clock("time", seconds, { gyroscope: DEGREES }), {}, [deg]);
  const told = clock("time", seconds, { acceleration: 1 / G, gyroscope: DEGREES });
  await isMotion(told, { acceleration: "g", gyroscope: "deg/s" });
  const rows = Array.from({ length: ROWS }, (_, i) => at(i, { acceleration: 1 / G }));
  await isMotion(recordings.file(JSON.stringify({ samples: rows, sampleRate: RATE }), "a.json"), {}, [g, rad]);
  // In memory it is what the options say.
  const { samples } = await loadImu(imu(Float32Array.from(rows.flat()), { sampleRate: RATE, orientation: "rows" }));
  assert.ok(Math.abs(samples[ROWS]! - at(0)[1]! / G) < 1e-6);
  const counts = await heard(clock("time", seconds, { acceleration: 16384 / G }));
  assert.match(counts.said[0]!, /usual length, 16\d+, is gravity neither in m\/s² \(9\.8\) nor in g \(1\)/);
  const names = ["time", "acc_x (m/s2)", "acc_y (m/s2)", "acc_z (m/s2)", "gx", "gy", "gz"].join();
  const wrong = await heard(recordings.file(table(names, (i) => [i / RATE, ...at(i, { acceleration: 1 / G })])));
  assert.match(wrong.said[0]!, /read in m\/s2, as its name says, though gravity is/);
  const none = await heard(recordings.file(table(`time,${PLAIN}`, (i) => [i / RATE, ...linear(i)])));
  assert.match(none.said[0]!, /no gravity is in the accelerometer/);
});

test("without onNotice it is a warning with a code, said once for a sentence", async () => {
  const warnings: { code?: string; message: string }[] = [];
  const listen = (warning: Error) => void warnings.push(warning);
  process.on("warning", listen);
  const path = gap(0.5);
  await loadImuAt(imu(path), RATE);
  await loadImuAt(imu(path), RATE);
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", listen);
  assert.equal(
    warnings.map(({ code }) => code),
    ["ANYMAL_IMU_GAP"],
  );
  assert.match(warnings[0]!.message, /straight lines/);
});

test("options are checked", async () => {
  const path = clock("time", (i) => i / RATE);
  const options = [
    { missing: "skip" },
    { sort: 1 },
    { maxGap: -1 },
    { row: 1.5 },
    { place: "" },
    { columns: ["ax"] },
    { onNotice: "x" },
    { acceleration: "kg" },
  ];
  for (const one of options) await rejects(loadImu(imu(path, one as never)), "E_MEDIA_OPTION", new RegExp(Object.keys(one)[0]!));
});

test.run();
