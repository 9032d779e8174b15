// `--media-option imu.sampleRate=50`: every option of media on the command line.
import { type Command, InvalidArgumentError } from "commander";
import type { Check } from "../core/checks.js";
import { type MediaOptions, mergedOptions, optionProblem } from "../media/media-options.js";
import { MEDIA_FLAG } from "./in-flags.js";
import { kinds } from "./kinds.js";

export function mediaFlags(command: Command): Command {
  return command.option(
    `${MEDIA_FLAG} <kind.name=value>`,
    "how media are read, e.g. imu.sampleRate=50, imu.columns.ax=AccX or video.start=2; may come several times",
    mediaOption,
  );
}

/** Of what rows name. Without either, data that was fetched from a hub is confined. */
export function confineFlags(command: Command): Command {
  return command
    .option("--confine", "read media in the folder of their data file alone (default for data from a hub's cache)")
    .option("--no-confine", "read media wherever rows say");
}

/** "imu.columns.ax=AccX" among what was given before. */
export function mediaOption(text: string, before: MediaOptions = {}): MediaOptions {
  const [, modality = "", name = "", inner, value = ""] = /^(\w+)\.(\w+)(?:\.(\w+))?=([\s\S]*)$/.exec(text) ?? [];
  const kind = kinds().get(modality);
  if (!kind || value === "")
    throw new InvalidArgumentError(
      `Expected KIND.OPTION=VALUE, with KIND one of ${[...kinds().keys()].join(", ")}, as in imu.sampleRate=50`,
    );
  const { options: schema } = kind;
  const check = Object.hasOwn(schema, name) ? schema[name] : undefined;
  const options = { [name]: inner === undefined ? readValue(value, check) : { [inner]: readValue(unquoted(value), undefined) } };
  const problem = optionProblem(kind, options);
  if (problem) throw new InvalidArgumentError(`Expected ${problem.at} to be ${problem.expected}, got ${problem.got}; ${problem.remedy}`);
  return mergedOptions(before, { [modality]: options });
}

/** A number, true or false, a mapping or a list as recipes write them in one line; x,-z,y too; else the text itself. What fits the option is taken. */
function readValue(text: string, check: Check | undefined): unknown {
  const number = text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined;
  if (!check) return String(number) === text ? number : text; // a column may be called 01
  const flag = text === "true" ? true : text === "false" ? false : undefined;
  const list = piecesOf(text.replace(/^\s*\[(.*)\]\s*$/s, "$1")).map(unquoted);
  return [number, flag, mapping(text), text, list].find((value) => value !== undefined && check.fits(value)) ?? mapping(text) ?? text;
}

/** { ax: "AccX", ay: 3 } */
function mapping(text: string): Record<string, unknown> | undefined {
  const inside = /^\s*\{(.*)\}\s*$/s.exec(text)?.[1];
  if (inside === undefined) return undefined;
  const entries = piecesOf(inside).map((piece) => /^\s*"?(\w+)"?\s*:\s*([\s\S]*?)\s*$/.exec(piece));
  if (entries.some((entry) => !entry)) return undefined;
  return Object.fromEntries(entries.map((entry) => [entry![1]!, readValue(unquoted(entry![2]!), undefined)]));
}

/** Between commas that no quotes hold. */
const piecesOf = (text: string): string[] => (text.match(/(?:"[^"]*"|'[^']*'|[^,"'])+/g) ?? []).map((piece) => piece.trim());
const unquoted = (text: string): string => /^(["'])(.*)\1$/s.exec(text)?.[2] ?? text;
