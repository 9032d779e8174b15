// Recordings of motion as data sets and apps write them: one known signal through each of them.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { imu, loadImu } from "../../lib/media/imu.js";
import { AXES, at, DEGREES, G, heard, isMotion, linear, motion, PLAIN, RATE, Recordings, ROWS, table } from "./imu-signal.js";
import { rejects } from "./media-case.js";

const recordings = new Recordings();
test.after(() => recordings[Symbol.dispose]());

const sides = (i: number) => [at(i).slice(0, 3), at(i).slice(3)] as const;
const bad = (path: Parameters<typeof imu>[0], code: string, ...words: RegExp[]) => rejects(heard(path), code, ...words);

// Ego4D's processed CSV: some 200 Hz, two clocks in ms, packets in any order, empty cells.
const EGO4D = "component_idx,component_timestamp_ms,canonical_timestamp_ms,gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z";
const ego4d = (rows: number[], edit: (i: number, cells: unknown[]) => unknown[] = (_, cells) => cells) =>
  [
    EGO4D,
    ...rows.map((i) => {
      const [t, m] = [(i * 1000) / 201, motion(i / 201)];
      return edit(i, [0, t, t, ...m.slice(3), ...m.slice(0, 3)]).join(",");
    }),
  ].join("\n");
const all = Array.from({ length: 604 }, (_, i) => i);

test("Ego4D: the canonical clock, packets put into its order", async () => {
  await isMotion(recordings.file(ego4d(all)), {}, [], 0, 2e-3);
  const swapped = [...all.slice(0, 200), ...all.slice(240, 280), ...all.slice(200, 240), ...all.slice(280)];
  await isMotion(recordings.file(ego4d(swapped)), {}, [/order of "canonical_timestamp_ms"/], 0, 2e-3);
  // The other clock begins again with each component.
  const restarted = ego4d(all, (i, [, , ...rest]) => [i < 300 ? 0 : 1, ((i % 300) * 1000) / 201, ...rest]);
  await isMotion(recordings.file(restarted), {}, [], 0, 2e-3);
});

test("Ego4D: what has no time or no acceleration is refused with its line, and left out when asked", async () => {
  const timeless = recordings.file(ego4d(all, (i, [a, b, c, ...rest]) => [a, b, i >= 600 ? "" : c, ...rest]));
  await bad(timeless, "E_MEDIA_FORMAT", /:602:/, /"canonical_timestamp_ms"/, /the option missing: "drop"/);
  await isMotion(timeless, { missing: "drop" }, [/4 of 604 rows have no "canonical_timestamp_ms"/], 0, 2e-3);
  const lost = recordings.file(ego4d(all, (i, cells) => (i === 300 ? [...cells.slice(0, 6), "NULL", "", "nan"] : cells)));
  await bad(lost, "E_MEDIA_FORMAT", /:302:/, /"accl_x"/);
  await isMotion(lost, { missing: "drop" }, [/1 of 604 rows have no acceleration/], 0, 2e-2);
});

const pamap2 = (row: (i: number, place: number) => unknown[]) =>
  table("", (i) => [8.38 + i / RATE, 1, i % 10 ? "NaN" : 104, ...[0, 1, 2].flatMap((place) => row(i, place))], " ");
const sensor17 = (i: number, scale: number) => {
  const [a, g] = sides(i);
  return [30.1, ...a.map((v) => v * scale), ...a.map((v) => v * scale * 1.01), ...g, 1, 2, 3, 1, 0, 0, 0];
};

test("PAMAP2's .dat: three places, two accelerometers in each, no names", async () => {
  const path = recordings.file(
    pamap2((i, place) => sensor17(i, place === 1 ? 1 : 2)),
    "subject101.dat",
  );
  await bad(path, "E_MEDIA_FORMAT", /several: "hand", "chest", "ankle"/, /the option place: "hand"/);
  await isMotion(path, { place: "chest" }, [/that of 16 g is read/]);
  await rejects(heard(path, { place: "head" }), "E_MEDIA_OPTION", /"hand", "chest", "ankle"/);
  const holes = recordings.file(
    pamap2((i) => (i === 7 ? Array(17).fill("NaN") : sensor17(i, 1))),
    "subject102.dat",
  );
  await rejects(heard(holes, { place: "hand" }), "E_MEDIA_FORMAT", /:8:/, /hand_acc_16g_x/);
  await isMotion(holes, { place: "hand", missing: "drop" }, [/16 g/, /1 of 301 rows have no acceleration/, /no gyroscope/], 0, 5e-3);
});

test("of two accelerometers the wider one, wherever it stands; MHEALTH's columns at its rate", async () => {
  const names = ["acc_6g_", "acc_16g_", "gyro_"].flatMap((name) => AXES.map((axis) => name + axis)).join();
  const narrow = (i: number) => sides(i)[0].map((v) => v / 2);
  await isMotion(recordings.file(table(`time,${names}`, (i) => [i / RATE, ...narrow(i), ...at(i)])), {}, [/6 g and 16 g that of 16 g/]);
  const mhealth = (i: number) => [1, 2, 3, 0, 0, ...at(i, { gyroscope: DEGREES }), 4, 5, 6, ...at(i).reverse(), 4, 5, 6, 1];
  await isMotion(recordings.file(table("", mhealth, "\t"), "mHealth_subject1.log"), { sampleRate: RATE, place: "ankle" });
});

test("PAMAP2's names in a CSV; one place needs no choice", async () => {
  const names = (place: string) => [...AXES.map((a) => `${place}_acc_16g_${a}`), ...AXES.map((a) => `${place}_gyro_${a}`)];
  await isMotion(recordings.file(table(["timestamp", ...names("hand")].join(), (i) => [i / RATE, ...at(i)])));
  const two = table(["timestamp", ...names("hand"), ...names("left_ankle")].join(), (i) => [
    i / RATE,
    ...at(i).map((v) => 2 * v),
    ...at(i),
  ]);
  await isMotion(recordings.file(two), { place: "left ankle" });
});

test("UCI-HAR: gravity stays in, g by its size; a recording is a line of six files", async () => {
  const units = [/read in g, since gravity is \d/, /gyroscope is read in rad\/s/];
  const names = ["total_acc", "body_acc", "body_gyro"].flatMap((name) => AXES.map((axis) => `${name}_${axis}`)).join();
  const [one, inG] = [{ sampleRate: RATE }, { acceleration: 1 / G }];
  await isMotion(recordings.file(table(names, (i) => [...at(i, inG).slice(0, 3), 0.1, 0.2, 0.3, ...sides(i)[1]])), one, units);
  const line = (c: number, scale: number) =>
    ` ${Array.from({ length: ROWS }, (_, i) => (at(i)[c]! * scale).toExponential(7)).join("  ")}\n`;
  const file = (kind: string, c: number, scale: number): [string, string] => [
    `train/Inertial Signals/${kind}_${AXES[c % 3]}_train.txt`,
    line(5 - c, 3) + line(c, scale),
  ];
  const files = [0, 1, 2].flatMap((c) => [file("total_acc", c, 1 / G), file("body_acc", c, 1 / G), file("body_gyro", c + 3, 1)]);
  const train = join(recordings.folder(Object.fromEntries(files)), "train");
  await isMotion(train, { ...one, row: 1 }, units);
  await isMotion(join(train, "Inertial Signals"), { ...one, row: 1 }, units);
  await rejects(heard(train, one), "E_MEDIA_OPTION", /2 recordings/, /the option row/);
  await rejects(heard(train, { ...one, row: 2 }), "E_MEDIA_OPTION", /below 2/);
  await rejects(heard(train, { row: 1 }), "E_MEDIA_OPTION", /the option sampleRate/);
});

/** Sensor Logger: ns since 1970 and seconds, z before y before x. */
const logger = (values: (i: number) => readonly number[], from = 0) =>
  table("time,seconds_elapsed,z,y,x", (i) => [
    `${1698501144401928000n + BigInt(Math.round((i / RATE + from) * 1e9))}`,
    i / RATE + from,
    ...[...values(i)].reverse(),
  ]);
const acceleration = logger((i) => sides(i)[0]);
const gyroscope = logger((i) => sides(i)[1]);

test("a file for each sensor: a folder, a list, or one of them with the other beside it", async () => {
  const other = { "Orientation.csv": "time,seconds_elapsed,qz,qy,qx\n1,2,3,4,5", "Metadata.csv": "version,device\n3,phone" };
  const folder = recordings.folder({ "Accelerometer.csv": acceleration, "Gyroscope.csv": gyroscope, ...other });
  await isMotion(folder);
  const files = ["Gyroscope.csv", "Accelerometer.csv"].map((name) => join(folder, name));
  await isMotion(files);
  await isMotion(files[0]!, {}, [/has the gyroscope alone; the other sensor is read from .*Accelerometer\.csv/]);
  await isMotion(files[1]!, {}, [/has the accelerometer alone/]);
  // Bytes have no names: the accelerometer first.
  await isMotion([new TextEncoder().encode(acceleration), new TextEncoder().encode(gyroscope)]);
  await bad(recordings.file(acceleration, "Accelerometer.csv"), "E_MEDIA_FORMAT", /none for gx, gy, gz/, /folder of both files, or a list/);
  await bad(recordings.folder({ "a.csv": "x", "b.csv": "y" }), "E_MEDIA_FORMAT", /"a.csv", "b.csv"/);
  await bad(recordings.folder({ "a.png": "x" }), "E_MEDIA_SOURCE", /none in it/);
});

test("sensors that did not begin together are put onto one clock", async () => {
  const late = table("time,seconds_elapsed,z,y,x", (i) => {
    const t = i / RATE + 0.017;
    return [`${1698501144401928000n + BigInt(Math.round(t * 1e9))}`, t, ...motion(t).slice(3).reverse()];
  });
  const folder = recordings.folder({ "Accelerometer.csv": acceleration, "Gyroscope.csv": late });
  await isMotion(folder, {}, [], 2, 1e-3);
  const never = logger((i) => sides(i)[1], 60);
  await bad(
    recordings.folder({ "Accelerometer.csv": acceleration, "Gyroscope.csv": never }),
    "E_MEDIA_FORMAT",
    /at the same time/,
    /60 to 63 s/,
  );
});

test("several devices: the plain names, or the place that is asked for", async () => {
  const files = { "WatchAccelerometer.csv": gyroscope, "WatchGyroscope.csv": acceleration, "AccelerometerUncalibrated.csv": gyroscope };
  const folder = recordings.folder({ ...files, "Accelerometer.csv": acceleration, "Gyroscope.csv": gyroscope });
  await isMotion(folder);
  const swapped = { "WatchAccelerometer.csv": acceleration, "WatchGyroscope.csv": gyroscope };
  await isMotion(recordings.folder({ ...swapped, "Accelerometer.csv": gyroscope, "Gyroscope.csv": acceleration }), { place: "watch" });
  const two = recordings.folder({ ...swapped, "PhoneAccelerometer.csv": acceleration, "PhoneGyroscope.csv": gyroscope });
  await bad(two, "E_MEDIA_FORMAT", /"phone", "watch"/, /the option place/);
});

test("gravity: put back from its own file or columns, asked for where it is nowhere", async () => {
  const [own, gravity] = [logger((i) => linear(i).slice(0, 3)), logger(() => [0, G, 0])];
  await isMotion(recordings.folder({ "Accelerometer.csv": own, "Gravity.csv": gravity, "Gyroscope.csv": gyroscope }), {}, [
    /gravity is added from/,
  ]);
  await isMotion(recordings.folder({ "Accelerometer.csv": own, "TotalAcceleration.csv": acceleration, "Gyroscope.csv": gyroscope }));
  const columns = ["userAcceleration", "gravity", "rotationRate"].flatMap((name) => AXES.map((axis) => `${name}.${axis}`)).join();
  await isMotion(recordings.file(table(`t,${columns}`, (i) => [i / RATE, ...linear(i).slice(0, 3), 0, G, 0, ...sides(i)[1]])));
  const phyphox = `Time (s),${AXES.map((a) => `Linear Acceleration ${a} (m/s^2)`).join()},${AXES.map((a) => `Gyroscope ${a} (rad/s)`).join()}`;
  const without = recordings.file(table(phyphox, (i) => [i / RATE, ...linear(i)]));
  await bad(without, "E_MEDIA_FORMAT", /feels gravity, got linear acceleration/, /the option columns/);
  const named = Object.fromEntries(AXES.map((axis) => [`a${axis}`, `Linear Acceleration ${axis} (m/s^2)`]));
  const { said } = await heard(without, { columns: named });
  if (!said.some((message) => /no gravity is in the accelerometer/.test(message))) throw new Error(said.join("\n"));
  // ROS calls so what an accelerometer measures.
  const ros = `t,${AXES.map((a) => `linear_acceleration.${a}`).join()},${AXES.map((a) => `angular_velocity.${a}`).join()}`;
  await isMotion(recordings.file(table(ros, (i) => [i / RATE, ...at(i)])));
  const bare = await heard(recordings.file(table(ros, (i) => [i / RATE, ...linear(i)])));
  assert.match(bare.said.join("\n"), /no gravity is in the accelerometer/);
});

test("JSON of apps: sensors by turns, texts for numbers, lists of three", async () => {
  const ns = (i: number) => 1698501144401000000 + i * 1e7;
  const xyz = (three: readonly number[]) => ({ z: three[2], y: three[1], x: three[0] });
  const rows = Array.from({ length: ROWS }, (_, i) => i);
  const texts = (sensor: string, side: number) =>
    rows.map((i) => ({
      sensor,
      time: `${1698501144401928000n + BigInt(i) * 10_000_000n}`,
      seconds_elapsed: `${i / RATE}`,
      ...texted(xyz(sides(i)[side]!)),
    }));
  const texted = (value: object) => Object.fromEntries(Object.entries(value).map(([key, v]) => [key, String(v)]));
  const values: unknown[] = [
    [{ sensor: "Metadata", version: "1" }, ...texts("Accelerometer", 0), ...texts("Gyroscope", 1)],
    { payload: rows.flatMap((i) => [
      { name: "accelerometer", time: ns(i), values: xyz(sides(i)[0]) },
      { name: "gyroscope", time: ns(i), values: xyz(sides(i)[1]) },
    ]) },
    { accelerometer: rows.map((i) => ({ t: i * 10, ...xyz(sides(i)[0]) })), gyroscope: rows.map((i) => ({ t: i * 10, ...xyz(sides(i)[1]) })) },
    { timestamp_ms: rows.map((i) => i * 10), acc: rows.map((i) => sides(i)[0]), gyro: rows.map((i) => sides(i)[1]) },
    rows.map((i) => ({ t_us: i * 10_000, acc: sides(i)[0], gyro: sides(i)[1] })),
    rows.map((i) => ({ timestamp: i / RATE, imu: at(i).map(String) })),
  ]; // biome-ignore format: a table
  for (const value of values) await isMotion(recordings.file(JSON.stringify(value), "recording.json"));
  const lines = rows.map((i) => JSON.stringify({ t_us: i * 10_000, acc: sides(i)[0], gyro: sides(i)[1] })).join("\n");
  await isMotion(recordings.file(lines, "recording.jsonl"));
  const wrong = [{ t: 0, ax: "1 g", ay: 1, az: 1, gx: 1, gy: 1, gz: 1 }];
  await bad(recordings.file(JSON.stringify(wrong), "a.json"), "E_MEDIA_FORMAT", /row 0/, /"ax"/, /"1 g"/);
});

test("names of many tools", async () => {
  const units = { acceleration: 1 / G, gyroscope: DEGREES };
  const sets: [string[], object?][] = [
    [["canonical_timestamp_ms", "accl_x", "accl_y", "accl_z", "gyro_x", "gyro_y", "gyro_z"]],
    [["timestamp [ms]", ...AXES.map((a) => `acceleration ${a} [g]`), ...AXES.map((a) => `gyro ${a} [deg/s]`)], units],
    [["Time (ms)", ...AXES.map((a) => `Accelerometer (${a}) [m/s2]`), ...AXES.map((a) => `Gyroscope (${a}) [rad/s]`)]],
    [["t_ms", ...AXES.map((a) => `Acc_${a.toUpperCase()} [mg]`), ...AXES.map((a) => `Gyr_${a.toUpperCase()} [mdps]`)], { acceleration: 1000 / G, gyroscope: 1000 * DEGREES }],
    [["accelerometerTimestamp_sinceReboot(ms)", ...AXES.map((a) => `accelerometerAcceleration${a.toUpperCase()}(G)`), ...AXES.map((a) => `gyroRotation${a.toUpperCase()}(rad/s)`)], { acceleration: 1 / G }],
    [["Shimmer_AA01_Timestamp_ms", ...AXES.map((a) => `Shimmer_AA01_Accel_LN_${a.toUpperCase()}_CAL`), ...AXES.map((a) => `Shimmer_AA01_Gyro_${a.toUpperCase()}_CAL`)]],
    [["Zeit (ms)", ...AXES.map((a) => `Beschleunigung ${a} (m/s^2)`), ...AXES.map((a) => `Gyroskop ${a} (rad/s)`)]],
    [["ts_ms", ...AXES.map((a) => `${a}_accel`), ...AXES.map((a) => `omega_${a}`)]],
  ]; // biome-ignore format: a table
  const [beside, more] = ["mag_x,mag_y,mag_z,acc_x_std,quaternion_x,roll,label", [40, 50, 60, 7, 8, 9, "walk"]];
  for (const [names, written = {}] of sets)
    await isMotion(recordings.file(table(`${names.join()},${beside}`, (i) => [i * 10, ...at(i, written), ...more])));
});

test("what stands before, beside and after the numbers", async () => {
  const row = (i: number) => [i / RATE, ...at(i)];
  const xsens = table(
    "sep=;\nDeviceTag:;dot\nFirmware;1.0\n\nPacketCounter;Time (s);Acc_X;Acc_Y;Acc_Z;Gyr_X;Gyr_Y;Gyr_Z",
    (i) => [i, ...row(i)],
    ";",
  );
  await isMotion(recordings.file(xsens));
  const unitLine = "Timestamp,Accel_X,Accel_Y,Accel_Z,Gyro_X,Gyro_Y,Gyro_Z\nms,g,g,g,deg/s,deg/s,deg/s";
  await isMotion(recordings.file(table(unitLine, (i) => [i * 10, ...at(i, { acceleration: 1 / G, gyroscope: DEGREES })])));
  await isMotion(recordings.file(table("time  ax ay az\tgx gy gz".replace("\t", "  "), row, "  ")));
  await isMotion(recordings.file(table("# time,ax,ay,az,gx,gy,gz", row)));
  await isMotion(recordings.file(table("", row)), { columns: { time: 1, ax: 2, ay: 3, az: 4, gx: 5, gy: 6, gz: 7 } });
  await bad(recordings.file(table("", row)), "E_MEDIA_FORMAT", /:1:/, /names of the columns/, /the option columns: \{ time: 1/);
  const comma = (i: number) => row(i).map((v) => String(v).replace(".", ","));
  await isMotion(recordings.file(table(`time;${PLAIN.replaceAll(",", ";")}`, comma, ";")));
  const utf16 = Buffer.from(`\ufeff${table(`time,${PLAIN}`, row)}`, "utf16le");
  await isMotion(recordings.file(utf16));
  const dates = table(`timestamp,${PLAIN}`, (i) => [new Date(1698501144401 + i * 10).toISOString(), ...at(i)]);
  await isMotion(recordings.file(dates));
  const cut = `${table(`time,${PLAIN}`, row)}\n3.01,1.5,9.`;
  await bad(recordings.file(cut), "E_MEDIA_FORMAT", /:303:/, /7 cells/, /missing: "drop"/);
  await isMotion(recordings.file(cut), { missing: "drop" }, [/1 lines have more or fewer cells/]);
});

/** As numpy.save writes it. */
function npy(shape: number[], values: readonly number[], type: "f8" | "i8" = "f8"): Uint8Array {
  const dict = `{'descr': '<${type}', 'fortran_order': False, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), }`;
  const header = `${dict.padEnd(64 * Math.ceil((dict.length + 11) / 64) - 11)}\n`;
  const length = Buffer.alloc(2);
  length.writeUInt16LE(header.length);
  const body = type === "f8" ? new Float64Array(values) : BigInt64Array.from(values, (v) => BigInt(v));
  return Buffer.concat([Buffer.from("\x93NUMPY\x01\x00", "latin1"), length, Buffer.from(header, "latin1"), Buffer.from(body.buffer)]);
}

test("uid.npy with uid_timestamps.npy, as IMU2CLIP prepares Ego4D", async () => {
  const samples = npy([6, ROWS], [0, 1, 2, 3, 4, 5].flatMap((c) => Array.from({ length: ROWS }, (_, i) => at(i)[c]!))); // biome-ignore format: short
  const ms = Array.from({ length: ROWS }, (_, i) => i * 10);
  for (const stamps of [npy([ROWS], ms), npy([ROWS, 1], ms), npy([1, ROWS], ms), npy([ROWS], ms, "i8")]) {
    const folder = recordings.folder({ "uid.npy": samples, "uid_timestamps.npy": stamps });
    await isMotion(join(folder, "uid.npy"));
    await isMotion(folder);
    await isMotion([samples, stamps]);
  }
  await bad(recordings.file(samples, "uid.npy"), "E_MEDIA_OPTION", /the option sampleRate/);
  await bad([samples, npy([ROWS - 1], ms.slice(1))], "E_MEDIA_FORMAT", /301 time stamps, got 300/);
  await bad([npy([ROWS], ms)], "E_MEDIA_FORMAT", /\(301\)/);
});

test("a list of files is looked at before it is read", async () => {
  await rejects(loadImu(imu([])), "E_MEDIA_SOURCE", /at least one file/);
  await rejects(loadImu(imu([join(recordings.path, "none.csv")])), "E_MEDIA_SOURCE", /no such file/);
});

test("what is no place and no data is an error of the medium", async () => {
  await rejects(loadImu(imu("file://elsewhere/walk.csv")), "E_MEDIA_SOURCE", /a file: URL of this machine/);
  await rejects(loadImu(imu("file:///a%2Fb.csv")), "E_MEDIA_SOURCE", /encoded \/ characters/);
  await rejects(loadImu(imu("data:text/csv,%E0%A4%A")), "E_MEDIA_FORMAT", /URI malformed/);
});

// Without the limits this takes ten times as long as the rest of the file.
test("names that take long to be read end nevertheless", async () => {
  for (const name of [`t${"(".repeat(98)}${"1".repeat(100)}`, `(${"x".repeat(190)}`, `x${"acc".repeat(18)}q`.repeat(3)]) {
    const line = `${`${name},`.repeat(4000)}x`;
    await rejects(loadImu(imu(Buffer.from(`${line}\n`.repeat(24)))), "E_MEDIA_FORMAT", /none for ax/);
  }
  await isMotion(recordings.file(table(`${"a,".repeat(5000)}x\ntime,${PLAIN}`, (i) => [i / RATE, ...at(i)])));
});

test.run();
