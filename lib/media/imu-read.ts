// Files of one recording, read and put together: which of them has the accelerometer, which the gyroscope, which the time.
import { inTurns, Turns } from "../core/turns.js";
import { readCsv, type Table, type Wanted } from "./csv.js";
import { MediaError } from "./error.js";
import type { ImuOptions, ImuPart } from "./imu.js";
import { readAxes } from "./imu-axes.js";
import {
  type Channel,
  type Choice,
  chooseColumns,
  type ImuColumns,
  listed,
  looksLikeNames,
  missingChannels,
  missingColumns,
} from "./imu-columns.js";
import { besides, type ImuFile, imuFiles } from "./imu-files.js";
import { lacking, rateOfStream, summed } from "./imu-gravity.js";
import { readImuJson } from "./imu-json.js";
import { namesOfRow } from "./imu-layouts.js";
import { IMU_LIMITS, textOf } from "./imu-limits.js";
import { isUnitCell, type Kind, type SensorOf } from "./imu-names.js";
import { type Say, sayOf } from "./imu-notice.js";
import { type Stream, type Streams, streamsOf, wantedOf } from "./imu-streams.js";
import { matrixChannels, type Track, trackOf } from "./imu-track.js";
import { gravityOf, isGravity, unitsOf } from "./imu-units.js";
import { isNpy, type Matrix, readNpy } from "./npy.js";
import { bytesOf, type Loading, type MediaSource, pathOf } from "./source.js";

/** What a file turned out to be. */
type Content = ({ matrix: Matrix } | { stamps: Float64Array } | { tables: Sheet[] }) & Pick<Sheet, "what" | "rate">;
interface Sheet {
  what: string;
  sensor: SensorOf | undefined;
  /** Samples a second, where that is given. */
  rate?: number | undefined;
  read(choose: (names: readonly string[]) => Choice & Wanted): Promise<{ table: Table; choice: Choice }>;
}

export async function readFiles(part: ImuPart, source: MediaSource | readonly MediaSource[], loading: Loading): Promise<Track> {
  const { options } = part;
  const say = sayOf(part);
  const turns = new Turns(); // each step goes once over all samples, of which there may be a million
  const files = await imuFiles(source);
  if ("axes" in files) {
    const matrix = await readAxes(files.axes, options, loading);
    return matrixTrack(matrix, undefined, { what: files.axes[0]!, rate: options.sampleRate }, { ...options, orientation: "columns" }, say);
  }
  const contents = await contentsOf(oneOfEach(files, options.place), options, loading);
  const { what } = contents[0]!;
  const path = files.length === 1 ? pathOf(files[0]!.source) : undefined;
  const matrix = contents.find((content) => "matrix" in content);
  if (matrix) {
    const beside = path !== undefined && options.sampleRate === undefined ? await besides(path) : [];
    contents.push(...(await contentsOf(beside, options, loading)));
    const times = contents.find((content) => "stamps" in content);
    return matrixTrack(matrix.matrix, times?.stamps, matrix, options, say);
  }
  const sheets = sheetsOf(contents);
  const [list] = contents.flatMap((content) => ("stamps" in content ? [content.stamps] : []));
  if (!sheets.length)
    throw new MediaError(
      "E_MEDIA_FORMAT",
      what,
      "a shape of two sizes, (N, 6) or (6, N)",
      `(${list?.length})`,
      "reshape it, or name the file of the samples",
    );
  const streams = await readSheets(oneOfEach(sheets, options.place), {}, options, say);
  if (path !== undefined && !(streams.acceleration && streams.gyroscope)) await joinBeside(streams, path, options, say, loading);
  await turns.next();
  return tracked(streams, what, options, say);
}

const JOIN = "where the other sensor has a file of its own, name the folder of both files, or a list of the two";
const contentsOf = async (files: readonly ImuFile[], options: ImuOptions, loading: Loading): Promise<Content[]> => {
  const contents: Content[] = [];
  for (const file of files) contents.push(await contentOf(file, options, loading));
  return contents;
};
const sheetsOf = (contents: readonly Content[]): Sheet[] => contents.flatMap((content) => ("tables" in content ? content.tables : []));

async function contentOf(file: ImuFile, options: ImuOptions, loading: Loading): Promise<Content> {
  const { what, sensor } = file;
  const bytes = await bytesOf(file.source, options.maxBytes ?? IMU_LIMITS.maxBytes, loading);
  if (isNpy(bytes)) {
    const read = readNpy(bytes, what, true);
    const [rows, columns] = read.shape;
    return (rows === 1 && columns !== 6) || (columns === 1 && rows !== 6)
      ? { stamps: Float64Array.from(read.values), what }
      : { matrix: read, what };
  }
  const text = textOf(bytes, what);
  if (/^\ufeff?\s*[[{]/.test(text)) {
    const json = readImuJson(text, what);
    const rate = options.sampleRate ?? json.sampleRate;
    if ("matrix" in json) return { matrix: json.matrix, what, rate };
    const tables = json.tables.map(({ names, sensor: own, read }): Sheet => {
      const sheet = async (choose: (names: readonly string[]) => Choice & Wanted) => {
        const choice = choose(names);
        return { table: read(choice), choice };
      };
      return { what, sensor: own ?? sensor, rate, read: sheet };
    });
    return { tables, what, rate };
  }
  const counted = Object.values(options.columns ?? {}).some((one) => /^\d+$/.test(String(one)));
  const plan = {
    isNames: (cells: readonly string[]) => looksLikeNames(cells, options.columns),
    isUnit: isUnitCell,
    nameless: (cells: readonly string[], separator: string) => namesOfRow(cells, separator, sensor?.kind, counted),
    drop: options.missing === "drop",
  };
  const read = (choose: (names: readonly string[]) => Choice & Wanted) => readCsv(text, what, { ...plan, choose }, loading);
  return { tables: [{ what, sensor, rate: options.sampleRate, read }], what };
}

/** Of files or tables that each name their sensor: the accelerometer, with gravity if that is told apart, and the gyroscope; of one place. */
function oneOfEach<T extends { what: string; sensor?: SensorOf | undefined }>(all: readonly T[], place: string | undefined): readonly T[] {
  const named = all.filter(({ sensor }) => sensor);
  if (named.length < 2) return all;
  const words = place?.toLowerCase().split(/[^a-z0-9]+/).filter(Boolean); // biome-ignore format: short
  const there = words ? named.filter(({ sensor }) => words.every((word) => sensor!.place.split(" ").includes(word))) : [];
  const here = there.length ? there : named;
  const best = (...kinds: string[]): T | undefined => {
    const some = here.filter(({ sensor }) => kinds.includes(sensor!.kind));
    const plain = some.filter(({ sensor }) => sensor!.place === "");
    const from = plain.length ? plain : some;
    const places = [...new Set(from.map(({ sensor }) => sensor!.place))];
    if (places.length > 1)
      throw new MediaError(
        "E_MEDIA_FORMAT",
        from[0]!.what,
        `one ${kinds[0] === "gyroscope" ? "gyroscope" : "accelerometer"}`,
        `several: ${listed(places)}`,
        `say which with the option place: ${JSON.stringify(places[0])}`,
      );
    return from.find(({ sensor }) => sensor!.whole) ?? from.find(({ sensor }) => sensor!.kind === kinds[0]) ?? from[0];
  };
  const [acceleration, gyroscope] = [best("total", "linear"), best("gyroscope")];
  const gravity = here.find(({ sensor }) => sensor!.kind === "gravity" && sensor!.place === (acceleration ?? gyroscope)?.sensor?.place);
  return [acceleration, gravity, gyroscope].filter((one) => one !== undefined);
}

interface Found extends Streams {
  gravity?: Stream;
  /** Of the first table, for a message. */
  names?: readonly string[];
  missing?: readonly Channel[];
}

async function readSheets(sheets: readonly Sheet[], found: Found, options: ImuOptions, say: Say): Promise<Found> {
  const turns = new Turns();
  for (const [i, sheet] of sheets.entries()) {
    // Two files that say nothing but x, y, z: the accelerometer first, as everywhere.
    const kind = sheet.sensor?.kind ?? (sheets.length === 2 ? (i === 0 ? "total" : "gyroscope") : undefined);
    const { table, choice } = await sheet.read((names) => {
      const columns = sheet.sensor || sheets.length > 1 ? columnsIn(names, kind, options.columns) : options.columns;
      const place = sheet.sensor?.place ? undefined : options.place;
      const chosen = chooseColumns(names, { columns, place, hint: kind === "gravity" ? "total" : kind }, sheet.what);
      if (sheets.length === 1 && !sheet.sensor && !(chosen.acceleration && chosen.gyroscope))
        throw missingColumns(
          sheet.what,
          missingChannels(names, chosen, columns),
          names,
          chosen.acceleration || chosen.gyroscope ? JOIN : "",
        );
      return { ...chosen, ...wantedOf(chosen, sheet.rate === undefined) };
    });
    found.names ??= table.names;
    found.missing ??= missingChannels(table.names, choice, options.columns);
    if (!choice.acceleration && !choice.gyroscope) continue;
    await turns.next();
    const { acceleration, gyroscope } = await inTurns(streamsOf(table, choice, sheet.rate, options, sheet.what, say));
    if (kind === "gravity") found.gravity ??= acceleration!;
    else if (acceleration) found.acceleration ??= acceleration;
    if (gyroscope) found.gyroscope ??= gyroscope;
  }
  const { acceleration, gravity } = found;
  if (acceleration && gravity && lacking(acceleration)) {
    found.acceleration = summed(acceleration, gravity);
    say("files", `${acceleration.what}: gravity is added from ${gravity.what}, since the accelerometer lacks it`);
  }
  return found;
}

/** Of several files each has its own columns: those of its sensor, where both sensors have columns of one name. */
function columnsIn(names: readonly string[], kind: Kind | undefined, columns: ImuColumns = {}): ImuColumns {
  const here = Object.entries(columns).filter(([, name]) => names.some((one) => one.trim() === String(name).trim()));
  const clash = new Set(here.map(([, name]) => String(name))).size < here.length;
  const own = (key: string) => key === "time" || (key[0] === "g") === (kind === "gyroscope");
  return Object.fromEntries(clash ? here.filter(([key]) => own(key)) : here);
}

/** The other sensor from the file beside it, whose name differs in that alone. */
async function joinBeside(found: Found, path: string, options: ImuOptions, say: Say, loading: Loading): Promise<void> {
  const lacks = found.acceleration ? "gyroscope" : "acceleration";
  const around = oneOfEach(await besides(path), options.place).filter(({ sensor }) => sensor);
  const wanted = around.filter(({ sensor }) => sensor!.kind === "gravity" || (sensor!.kind === "gyroscope") === (lacks === "gyroscope"));
  const sheets = sheetsOf(await contentsOf(wanted, options, loading)).filter(({ sensor }) => sensor);
  await readSheets(sheets, found, options, say);
  const joined = found[lacks];
  const has = lacks === "gyroscope" ? "accelerometer" : "gyroscope";
  if (joined) say("files", `${path}: it has the ${has} alone; the other sensor is read from ${joined.what} beside it`);
}

/** Both sensors in SI units on one clock; what the columns do not say is found, and told. */
function tracked(streams: Found, what: string, options: ImuOptions, say: Say): Track {
  const { acceleration, gyroscope, missing = [], names = [] } = streams;
  if (!acceleration || !gyroscope) throw missingColumns(what, missing, names, acceleration || gyroscope ? JOIN : "");
  const rate = rateOfStream(acceleration);
  const gravity = gravityOf(acceleration.channels, rate);
  if (acceleration.linear !== undefined && !acceleration.ros && !(gravity && (isGravity(gravity, "m/s2") || isGravity(gravity, "g"))))
    throw new MediaError(
      "E_MEDIA_FORMAT",
      acceleration.what,
      "an accelerometer, which feels gravity",
      `linear acceleration, from which gravity was taken (${JSON.stringify(acceleration.linear)})`,
      'record the accelerometer itself, or gravity beside it; the option columns: { ax: "…", ay: "…", az: "…" } takes it as it is',
    );
  const units = unitsOf(
    { asked: options, named: { acceleration: acceleration.acceleration, gyroscope: gyroscope.gyroscope } },
    gravity,
    gyroscope.channels,
  );
  for (const sentence of units.told) say("units", `${what}: ${sentence}`);
  const track = trackOf(acceleration, gyroscope, units, options.axes, what);
  if (acceleration.times && rate < 5 && options.time === undefined)
    say(
      "units",
      `${what}: ${Number(rate.toPrecision(3))} samples a second by its clock, which is little for motion; the option time or sampleRate says otherwise`,
    );
  return track;
}

async function matrixTrack(
  matrix: Matrix,
  stamps: Float64Array | undefined,
  { what, rate }: Pick<Sheet, "what" | "rate">,
  options: ImuOptions,
  say: Say,
): Promise<Track> {
  const known = options.sampleRate ?? rate;
  if (known === undefined && !stamps)
    throw new MediaError("E_MEDIA_OPTION", what, "the option sampleRate", "numbers without time", "give the option sampleRate in Hz");
  const channels = matrixChannels(matrix, options, what);
  const rows = channels[0]!.length;
  if (known === undefined && stamps!.length !== rows)
    throw new MediaError(
      "E_MEDIA_FORMAT",
      what,
      `${rows} time stamps`,
      `${stamps!.length}`,
      "make both files of one recording, or give the option sampleRate in Hz",
    );
  const names = ["ax", "ay", "az", "gx", "gy", "gz", "timestamps"];
  const table: Table = {
    names,
    rows,
    column: (at) => channels[at] ?? stamps!,
    dates: new Set(),
    unread: new Set(),
    where: (row) => `${what}, sample ${row}`,
  };
  const times = [{ at: 6, name: "timestamps", canonical: false }];
  const choice: Choice = { acceleration: { at: [0, 1, 2] }, gyroscope: { at: [3, 4, 5] }, times, decided: [] };
  return tracked(await inTurns(streamsOf(table, choice, known, options, what, say)), what, options, say);
}
