// Motion recordings: the golden resampling, every format, unit and axis order, and what a bad file says.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ImuOptions, type ImuRecording, type ImuSource, imu, loadImu, loadImuAt } from "../../lib/media/imu.js";
import { ImuProcessor } from "../../lib/media/imu-processor.js";
import { Case, caseNames, near } from "../case.js";
import { perTurn } from "../turns.js";
import { rejects, temporaryFolder } from "./media-case.js";

for (const name of caseNames(/^imu2clip/)) {
  const c = new Case(name);
  const file = join(c.folder, c.info.csv.file);

  test(`${name}: the recording at the encoder's rate`, async () => {
    const { samples } = await loadImuAt(imu(file), c.json().sampling_rate as number);
    near(samples, c.values("ref.resampled_200hz"), c.info.csv.tolerance, "resampled");
  });

  test(`${name}: the recording as it is`, async () => {
    // At the given rate the time stamps do not matter: every row is one sample, also where the stamps are uneven.
    const { samples, sampleRate } = await loadImu(imu(file, { sampleRate: c.info.csv.source_rate }));
    assert.is(sampleRate, c.info.csv.source_rate);
    assert.is(samples.length, 6 * c.info.csv.rows);
    const rows = readFileSync(file, "utf8").trim().split("\n").slice(1).map((line) => line.split(",").map(Number)); // biome-ignore format: one chain
    const names: string[] = c.info.csv.columns;
    for (const [channel, key] of (c.info.csv.channel_order as string[]).entries())
      for (const [i, row] of rows.entries())
        assert.ok(Math.abs(samples[channel * rows.length + i]! - row[1 + names.indexOf(key)]!) < 1e-5, `${key} of row ${i}`);
  });

  test(`${name}: one window for the encoder`, async () => {
    const processor = ImuProcessor.fromPretrained(c.folder);
    const { data, shape } = await processor.process([imu(file), imu(file, { seconds: 1 })]);
    const length = processor.windowSamples;
    assert.equal(shape, [2, 6, length]);
    const [, all] = c.shape("ref.resampled_200hz") as [number, number];
    const want = c.values("ref.resampled_200hz");
    const second = Math.min(processor.samplingRate, length, all);
    for (let ch = 0; ch < 6; ++ch) {
      const whole = want.subarray(ch * all, ch * all + Math.min(all, length));
      near(data.subarray(ch * length, ch * length + whole.length), whole, c.info.csv.tolerance, `channel ${ch}`);
      const short = data.subarray((6 + ch) * length, (7 + ch) * length);
      near(short.subarray(0, second), want.subarray(ch * all, ch * all + second), c.info.csv.tolerance, `one second of channel ${ch}`);
      assert.ok(short.subarray(second).every((v) => v === 0), "zeros after the end"); // biome-ignore format: short
    }
  });
}

/** Row i, channel c: different everywhere, exact in f32. */
const value = (i: number, c: number): number => (c + 1) * 16 + i / 4;
const rowsOf = (n: number): number[][] => Array.from({ length: n }, (_, i) => Array.from({ length: 6 }, (_, c) => value(i, c)));
const expectedSamples = (n: number): number[] => Array.from({ length: 6 * n }, (_, k) => value(k % n, Math.floor(k / n)));
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const load = (source: ImuSource | { text: string }, options: ImuOptions = {}): Promise<ImuRecording> =>
  loadImu(imu(typeof source === "object" && "text" in source ? bytes(source.text) : (source as ImuSource), options));

const HEADERS = [
  "time,ax,ay,az,gx,gy,gz",
  "timestamp,acc_x,acc_y,acc_z,gyr_x,gyr_y,gyr_z",
  "t,accel_x,accel_y,accel_z,gyro_x,gyro_y,gyro_z",
  "Timestamp,accelerometer_x,accelerometer_y,accelerometer_z,gyroscope_x,gyroscope_y,gyroscope_z",
  "time_s,accelX,accelY,accelZ,gyroX,gyroY,gyroZ",
  "Time (s),Acc X [m/s^2],Acc Y [m/s^2],Acc Z [m/s^2],Gyro X [rad/s],Gyro Y [rad/s],Gyro Z [rad/s]",
  "seconds_elapsed,linear_acceleration.x,linear_acceleration.y,linear_acceleration.z,angular_velocity.x,angular_velocity.y,angular_velocity.z",
  "t (s),x_acc,y_acc,z_acc,wx,wy,wz",
];
for (const header of HEADERS)
  test(`columns ${header}`, async () => {
    const text = [header, ...rowsOf(5).map((row, i) => [i / 50, ...row].join(","))].join("\n");
    const { samples, sampleRate } = await load({ text });
    assert.is(sampleRate, 50);
    assert.equal([...samples], expectedSamples(5));
  });

for (const [unit, names, step] of [
  ["s", ["time", "time_s", "t [s]"], 0.02],
  ["ms", ["time", "timestamp_ms", "timeMs", "Time (ms)", "millis"], 20],
  ["us", ["time", "timestamp_us", "t [µs]", "time_micros"], 20_000],
  ["ns", ["time", "timestamp_ns", "timestampNanos"], 20_000_000],
] as const)
  test(`time in ${unit}`, async () => {
    for (const name of names) {
      const text = (head: string) =>
        [`${head},ax,ay,az,gx,gy,gz`, ...rowsOf(4).map((row, i) => [1.7e9 * 50 * step + i * step, ...row].join(","))].join("\n");
      assert.is((await load({ text: text(name) })).sampleRate, 50, name);
    }
    const text = `clock,ax,ay,az,gx,gy,gz\n0,1,2,3,4,5,6\n${step},1,2,3,4,5,6\n`;
    assert.is((await load({ text }, { columns: { time: "clock" }, time: unit })).sampleRate, 50);
    assert.is(
      (await load({ text }, { columns: { time: "clock" }, time: "s", maxSeconds: Infinity })).sampleRate,
      Math.round(1 / step) || 1 / step,
    );
  });

test("columns in any order, others beside them, semicolons and decimal commas, tabs, quotes, comments, CRLF and a byte order mark", async () => {
  const rows = rowsOf(3);
  const cells = (i: number) => ["walk", rows[i]![5], i / 10, rows[i]![4], rows[i]![3], rows[i]![0], rows[i]![1], rows[i]![2]];
  const names = ["label", "gz", "time", "gy", "gx", "ax", "ay", "az"];
  const table = (separator: string, map = (v: unknown) => String(v)) =>
    [names, ...[0, 1, 2].map(cells)].map((line) => line.map(map).join(separator));
  const texts = [
    table(",").join("\n"),
    `\ufeff${table(",").join("\r\n")}\r\n\r\n`,
    `# made by a watch\n${table("\t").join("\n# pause\n\n")}`,
    table(";", (v) => String(v).replace(".", ",")).join("\n"),
    table(",", (v) => `"${v}"`).join("\n"),
    table(",").map((line, i) => (i ? `${line},` : line)).join("\n"), // biome-ignore format: short
    table(",").join("\n").replaceAll("walk", '"walk, fast ""very"""'),
  ];
  for (const text of texts) {
    const { samples, sampleRate } = await load({ text });
    assert.is(sampleRate, 10, text);
    assert.equal([...samples], expectedSamples(3), text);
  }
});

test("columns by name, exactly those", async () => {
  const text = `a b,c,d,e,f,g,time\n${rowsOf(2).map((row, i) => [...row, i].join(",")).join("\n")}`; // biome-ignore format: short
  const columns = { ax: "a b", ay: "c", az: "d", gx: "e", gy: "f", gz: "g" };
  assert.equal([...(await load({ text }, { columns, time: "s" })).samples], expectedSamples(2));
  await rejects(load({ text }, { columns: { ...columns, ax: "A" } }), "E_MEDIA_OPTION", /"A" for ax/, /"a b", "c"/);
  await rejects(load({ text }, { columns: { ...columns, bx: "c" } as never }), "E_MEDIA_OPTION", /bx/);
});

test("JSON: rows, rows with names, nested names, columns, and a rate around them", async () => {
  const rows = rowsOf(3);
  const keys = ["ax", "ay", "az", "gx", "gy", "gz"];
  const named = rows.map((row, i) => Object.fromEntries([["t", i / 50], ...row.map((v, c) => [keys[c], v])]));
  const nested = rows.map(([ax, ay, az, gx, gy, gz], i) => ({ t: i / 50, acc: { x: ax, y: ay, z: az }, gyro: { x: gx, y: gy, z: gz } }));
  const columns = Object.fromEntries(keys.map((key, c) => [key, rows.map((row) => row[c])]));
  const list = Array.from({ length: 6 }, (_, c) => rows.map((row) => row[c]));
  const withRate: [unknown, ImuOptions?][] = [
    [rows, { sampleRate: 50 }],
    [list, { sampleRate: 50 }],
    [columns, { sampleRate: 50 }],
    [{ samples: rows, sampleRate: 50 }],
    [{ samples: list, sample_rate: 50 }],
    [{ data: columns, hz: 50 }],
    [{ ...columns, sampling_rate: 50 }],
    [{ samples: named.map(({ t: _, ...row }) => row), rate: 50 }],
    [named],
    [{ samples: named }],
    [nested],
    [{ ...columns, time: [0, 0.02, 0.04] }],
  ];
  for (const [value, options] of withRate) {
    const { samples, sampleRate } = await load({ text: JSON.stringify(value) }, options);
    assert.is(sampleRate, 50, JSON.stringify(value));
    assert.equal([...samples], expectedSamples(3), JSON.stringify(value));
  }
});

/** As numpy.save writes it. */
function npy(descr: string, shape: number[], values: number[], fortran = false): Uint8Array {
  const dict = `{'descr': '${descr}', 'fortran_order': ${fortran ? "True" : "False"}, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), }`;
  const header = dict.padEnd(64 * Math.ceil((dict.length + 11) / 64) - 11) + "\n";
  const size = Number(descr.slice(2));
  const body = Buffer.alloc(values.length * size);
  const little = descr[0] !== ">";
  for (const [i, v] of values.entries()) {
    if (descr[1] === "f") size === 4 ? (little ? body.writeFloatLE(v, 4 * i) : body.writeFloatBE(v, 4 * i)) : body.writeDoubleLE(v, 8 * i);
    else size === 2 ? body.writeInt16LE(v, 2 * i) : body.writeInt32LE(v, 4 * i);
  }
  const length = Buffer.alloc(2);
  length.writeUInt16LE(header.length);
  return Buffer.concat([Buffer.from("\x93NUMPY\x01\x00", "latin1"), length, Buffer.from(header, "latin1"), body]);
}

test("npy: every type, order and orientation", async () => {
  const n = 4;
  const whole = rowsOf(n).map((row) => row.map((v) => v * 4)); // whole numbers, for the integers
  const byRow = whole.flat();
  const byChannel = Array.from({ length: 6 }, (_, c) => whole.map((row) => row[c]!)).flat();
  for (const descr of ["<f4", "<f8", "<i2", "<i4", ">f4"])
    for (const file of [
      npy(descr, [n, 6], byRow),
      npy(descr, [6, n], byChannel),
      npy(descr, [n, 6], byChannel, true),
      npy(descr, [6, n], byRow, true),
    ])
      assert.equal([...(await load(file, { sampleRate: 100 })).samples], byChannel, descr);
  const square = Array.from({ length: 36 }, (_, i) => i);
  await rejects(load(npy("<f4", [6, 6], square), { sampleRate: 1 }), "E_MEDIA_OPTION", /orientation/);
  assert.equal([...(await load(npy("<f4", [6, 6], square), { sampleRate: 1, orientation: "columns" })).samples], square);
  assert.is((await load(npy("<f4", [6, 6], square), { sampleRate: 1, orientation: "rows" })).samples[1], 6);
});

test("bad npy files say what is wrong", async () => {
  const file = npy("<f4", [4, 6], rowsOf(4).flat());
  const rate = { sampleRate: 100 };
  await rejects(load(file), "E_MEDIA_OPTION", /sampleRate/);
  await rejects(load(file.subarray(0, -1), rate), "E_MEDIA_FORMAT", /96 bytes/, /got 95/);
  await rejects(load(file.subarray(0, 9), rate), "E_MEDIA_FORMAT", /header/);
  await rejects(load(npy("<f4", [4, 5], Array(20).fill(0)), rate), "E_MEDIA_FORMAT", /\(4, 5\)/);
  await rejects(load(npy("<f4", [24], Array(24).fill(0)), rate), "E_MEDIA_FORMAT", /\(24\)/);
  await rejects(load(npy("<f4", [0, 6], []), rate), "E_MEDIA_FORMAT", /\(0, 6\)/);
  await rejects(load(npy("<c8", [4, 6], []), rate), "E_MEDIA_FORMAT", /c8/);
  await rejects(load(npy("<f4", [1, 6], [0, 1, Number.NaN, 0, 0, 0]), rate), "E_MEDIA_FORMAT", /NaN in sample 0/);
  await rejects(load(npy("<f4", [100_000_000, 6], [1]), rate), "E_MEDIA_FORMAT", /2400000000 bytes/);
});

test("arrays of samples", async () => {
  const rows = Float32Array.from(rowsOf(3).flat());
  const columns = Float32Array.from(expectedSamples(3));
  for (const recording of [
    await load({ samples: columns, sampleRate: 50 }),
    await load({ samples: rows, sampleRate: 50 }, { orientation: "rows" }),
    await load(columns, { sampleRate: 50 }),
    await load(Float64Array.from(rows), { sampleRate: 50, orientation: "rows" }),
  ]) {
    assert.is(recording.sampleRate, 50);
    assert.equal(recording.samples, columns);
  }
  await rejects(load(columns), "E_MEDIA_OPTION", /sampleRate/);
  await rejects(load(columns.subarray(1), { sampleRate: 50 }), "E_MEDIA_FORMAT", /17 values/);
  await rejects(load(new Float32Array(0), { sampleRate: 50 }), "E_MEDIA_FORMAT", /0 values/);
  await rejects(load({ samples: [1, 2] as never, sampleRate: 50 }), "E_MEDIA_FORMAT");
  await rejects(load({ samples: columns, sampleRate: Number.NaN }), "E_MEDIA_OPTION", /sampleRate/);
});

test("units: by option, by the columns' names, and the option before the name", async () => {
  const make = (acc: string, gyro: string) =>
    `time,${["x", "y", "z"].map((a) => `acc_${a}${acc}`)},${["x", "y", "z"].map((a) => `gyro_${a}${gyro}`)}\n0,1,2,3,90,180,-90\n0.01,1,2,3,90,180,-90`;
  const first = async (text: string, options?: ImuOptions) =>
    [0, 1, 2, 3, 4, 5].map(async (c) => (await load({ text }, options)).samples[2 * c]!);
  const check = async (text: string, acceleration: number, gyroscope: number, options?: ImuOptions) => {
    const got = await Promise.all(await first(text, options));
    near(got, [1, 2, 3].map((v) => v * acceleration).concat([90, 180, -90].map((v) => v * gyroscope)), 1e-5, text);
  };
  const [g, degree] = [9.80665, Math.PI / 180];
  await check(make("", ""), 1, 1);
  await check(make("", ""), g, degree, { acceleration: "g", gyroscope: "deg/s" });
  for (const acc of [" (g)", "_g", " [G]"]) for (const gyro of [" (deg/s)", "_dps", " [°/s]"]) await check(make(acc, gyro), g, degree);
  for (const acc of [" (m/s^2)", "_ms2", " [m/s²]"]) for (const gyro of [" (rad/s)", "_rads"]) await check(make(acc, gyro), 1, 1);
  await check(make(" (g)", " (deg/s)"), 1, 1, { acceleration: "m/s2", gyroscope: "rad/s" });
});

test("axes turn both sensors", async () => {
  const text = "time,ax,ay,az,gx,gy,gz\n0,1,2,3,4,5,6\n1,1,2,3,4,5,6";
  const at = async (axes: string[]) => {
    const { samples } = await load({ text }, { axes, time: "s" });
    return [0, 1, 2, 3, 4, 5].map((c) => samples[2 * c]);
  };
  assert.equal(await at(["x", "y", "z"]), [1, 2, 3, 4, 5, 6]);
  assert.equal(await at(["x", "-z", "y"]), [1, -3, 2, 4, -6, 5]);
  assert.equal(await at(["-y", "+x", "z"]), [-2, 1, 3, -5, 4, 6]);
  for (const axes of [["x", "y"], ["x", "x", "z"], ["x", "y", "w"], []])
    await rejects(load({ text }, { axes, time: "s" }), "E_MEDIA_OPTION", /axes/);
});

test("a window, by seconds from the first sample", async () => {
  const text = ["time,ax,ay,az,gx,gy,gz", ...rowsOf(101).map((row, i) => [5 + i / 100, ...row].join(","))].join("\n");
  for (const options of [{}, { sampleRate: 100 }]) {
    const { samples } = await load({ text }, { ...options, start: 0.25, seconds: 0.5 });
    assert.is(samples.length, 6 * 50);
    near(
      samples.subarray(0, 50),
      Array.from({ length: 50 }, (_, k) => value(25 + k, 0)),
      1e-5,
      "window",
    );
    assert.is((await load({ text }, { ...options, start: 0.75, seconds: 9 })).samples.length, 6 * 26);
    await rejects(load({ text }, { ...options, start: 1.5 }), "E_MEDIA_OPTION", /start/, /1 s/);
    await rejects(load({ text }, { ...options, maxSeconds: 0.5 }), "E_MEDIA_LIMIT", /maxSeconds/, /1\.01 s/);
    await load({ text }, { ...options, maxSeconds: 0.5, seconds: 0.5 });
  }
  for (const options of [
    { start: -1 },
    { seconds: 0 },
    { start: Number.NaN },
    { sampleRate: 0 },
    { time: "min" },
    { acceleration: "m" },
    { orientation: "up" },
  ])
    await rejects(load({ text }, options as ImuOptions), "E_MEDIA_OPTION");
  await rejects(load({ text }, { maxBytes: 100 }), "E_MEDIA_LIMIT", /maxBytes/);
});

test("uneven time stamps become even by linear interpolation", async () => {
  const stamps = [0, 0.01, 0.019, 0.031, 0.04, 0.05, 0.05, 0.08, 0.09, 0.1];
  const line = (t: number, c: number) => 3 * c + 10 * t;
  const text = ["time,ax,ay,az,gx,gy,gz", ...stamps.map((t) => [t, ...[0, 1, 2, 3, 4, 5].map((c) => line(t, c))].join(","))].join("\n");
  const { samples, sampleRate } = await load({ text });
  assert.is(sampleRate, 100);
  for (const rate of [sampleRate, 250]) {
    const got = rate === sampleRate ? samples : (await loadImuAt(imu(bytes(text)), rate)).samples;
    const n = Math.round(0.1 * rate) + 1;
    near(
      got,
      Array.from({ length: 6 * n }, (_, k) => line((k % n) / rate, Math.floor(k / n))),
      1e-5,
      `${rate} Hz`,
    );
  }
});

test("rounded time stamps: the rate is that of the whole", async () => {
  const text = ["time_ms,ax,ay,az,gx,gy,gz", ...rowsOf(301).map((row, i) => [Math.round((i * 1000) / 30), ...row].join(","))].join("\n");
  assert.is((await load({ text })).sampleRate, 30);
});

test("bad tables say which line, which column, and what to do", async () => {
  const head = "time,ax,ay,az,gx,gy,gz";
  const good = "0,1,2,3,4,5,6\n0.01,1,2,3,4,5,6";
  const bad = (text: string, code: string, ...words: RegExp[]) => rejects(load({ text }), code, ...words);
  await bad("time,ax,ay,az,gx\n0,1,2,3,4\n", "E_MEDIA_FORMAT", /none for gy, gz/, /"time", "ax"/, /columns: \{ gy: "…", gz: "…" \}/);
  await bad("time,ax,ay,az,acc_x,gx,gy,gz\n0,1,2,3,4,5,6,7\n", "E_MEDIA_FORMAT", /one column for ax/, /"ax", "acc_x"/, /columns/);
  await bad("ax,ay,az,gx,gy,gz\n1,2,3,4,5,6\n", "E_MEDIA_OPTION", /sampleRate/, /time: "…"/);
  await bad(`# note\n${head}\n${good}\n\n0.02,1,2,x,4,5,6\n`, "E_MEDIA_FORMAT", /:6:/, /"az"/, /"x"/);
  for (const cell of ["", "NaN", "Infinity", "1 2", "--1"])
    await bad(`${head}\n${good}\n0.02,1,2,3,4,5,${cell}\n`, "E_MEDIA_FORMAT", /:4:/, /"gz"/);
  await bad(`${head}\n${good}\n0.005,1,2,3,4,5,6\n`, "E_MEDIA_FORMAT", /:4:/, /forward/, /0\.005 after 0\.01/);
  await bad(`${head}\n${good}\n0.02,1,2\n`, "E_MEDIA_FORMAT", /:4:/, /7 cells/, /got 3/);
  await bad(`${head}\n1,1,2,3,4,5,6\n1,1,2,3,4,5,6\n`, "E_MEDIA_FORMAT", /sampleRate/);
  await bad(`${head}\n`, "E_MEDIA_FORMAT", /row/);
  await bad("# nothing\n", "E_MEDIA_FORMAT", /no line/);
  await bad(good, "E_MEDIA_FORMAT", /:1:/, /names/);
  await bad("PNG\0\x01", "E_MEDIA_FORMAT", /binary/);
  await rejects(load(new Uint8Array()), "E_MEDIA_FORMAT", /empty/);
  await rejects(load(7 as never), "E_MEDIA_SOURCE");
  const bursts = [head, ...rowsOf(200).map((row, i) => [i * 1e-4 + Math.floor(i / 100) * 9, ...row].join(","))].join("\n");
  await bad(bursts, "E_MEDIA_FORMAT", /steady/);
});

test("JSON, one row a line", async () => {
  const lines = rowsOf(3).map(([ax, ay, az, gx, gy, gz], i) => JSON.stringify({ t: i / 50, ax, ay, az, gx, gy, gz }));
  assert.equal([...(await load({ text: `${lines.join("\n")}\n` })).samples], expectedSamples(3));
  const arrays = rowsOf(3).map((row) => JSON.stringify(row)).join("\r\n"); // biome-ignore format: short
  assert.equal([...(await load({ text: arrays }, { sampleRate: 50 })).samples], expectedSamples(3));
  await rejects(load({ text: `${lines[0]}\n\n{"t": 1,\n` }), "E_MEDIA_FORMAT", /:3:/, /row of JSON/);
});

test("bad JSON says which row", async () => {
  const bad = (value: unknown, ...words: RegExp[]) =>
    rejects(load({ text: typeof value === "string" ? value : JSON.stringify(value) }, { sampleRate: 50 }), "E_MEDIA_FORMAT", ...words);
  await bad("[1, 2", /JSON/);
  await bad([]);
  await bad({});
  await bad({ note: "x" }, /note/);
  await bad([1, 2, 3], /row 0/);
  await bad([[1, 2, 3, 4, 5, 6], [1, 2, 3]], /row 1/); // biome-ignore format: short
  await bad([[1, 2, 3, 4, 5, null]], /row 0/, /null/);
  await bad([[1, 2, 3, 4, 5]], /\(1, 5\)/);
  await bad({ ax: [1], ay: [1], az: [1], gx: [1], gy: [1] }, /none for gz/);
  await bad({ ax: [1], ay: [1], az: [1], gx: [1], gy: [1], gz: [1, 2] }, /1 values/, /2 in "gz"/);
  await bad([{ ax: 1, ay: 1, az: 1, gx: 1, gy: 1, gz: 1 }, { ax: 1, ay: 1, az: 1, gx: 1, gy: 1 }], /row 1/, /"gz"/); // biome-ignore format: short
  await bad({ samples: [[1, 2, 3, 4, 5, 6]], sampleRate: -1 }, /sampleRate/);
});

test("an abort stops loading with its reason", async () => {
  const reason = new Error("enough");
  const text = ["time,ax,ay,az,gx,gy,gz", ...rowsOf(12_000).map((row, i) => [i / 100, ...row].join(","))].join("\n");
  const late = new AbortController();
  const loading = loadImu(imu(bytes(text)), { signal: late.signal });
  setImmediate(() => late.abort(reason));
  assert.is(await loading.catch((e) => e), reason);
  assert.is(await loadImu(imu(bytes(text)), { signal: AbortSignal.abort(reason) }).catch((e) => e), reason);
});

test("a long table leaves the event loop free", async () => {
  const text = ["time,ax,ay,az,gx,gy,gz", ...rowsOf(40_000).map((row, i) => [i / 100, ...row].join(","))].join("\n");
  await load({ text });
  const { value, turns, most } = await perTurn(() => load({ text }));
  assert.is(value.samples.length, 240_000);
  assert.ok(turns > 8, `${turns} turns`);
  assert.ok(most.blocks < 1e6, `${most.blocks} blocks in one turn, of them ${most.where}`);
});

test("a processor from its configuration, and what is refused", async () => {
  using folder = temporaryFolder();
  const configuration = new ImuProcessor({ sampling_rate: 100, window_samples: 30 }).configJson();
  writeFileSync(folder.file("preprocessor_config.json"), JSON.stringify(configuration));
  const processor = ImuProcessor.fromPretrained(folder.path);
  assert.equal(processor.configJson(), configuration);
  assert.equal([processor.samplingRate, processor.windowSamples], [100, 30]);
  assert.equal((await processor.process([imu(new Float32Array(60), { sampleRate: 50 })])).shape, [1, 6, 30]);
  const refused = (f: () => unknown) => rejects((async () => f())(), "E_MEDIA_OPTION");
  await refused(() => new ImuProcessor({ sampling_rate: "fast" }));
  await refused(() => new ImuProcessor({ window_samples: 2.5 }));
  await refused(() => processor.imuValues([{ samples: new Float32Array(6), sampleRate: 50 }]));
  await rejects(processor.process([]), "E_MEDIA_OPTION");
});

test.run();
