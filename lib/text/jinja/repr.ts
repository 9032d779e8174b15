// Values as Python prints them.
import { spend, spendText } from "./budget.js";
import { Callable, Dict, DictView, Float, List, PartsFault, Range, Tuple, Undefined, type Value } from "./values.js";

/** type(value).__name__ */
export function typeName(value: Value): string {
  if (value === null) return "NoneType";
  if (typeof value === "string") return "str";
  if (typeof value === "boolean") return "bool";
  return typeof value === "object" ? value.type : "int";
}

/** str(value) */
export function str(value: Value): string {
  if (typeof value === "string") return value;
  if (value instanceof Undefined) return "";
  if ((value instanceof List || value instanceof Dict) && value.parts)
    throw new PartsFault("it takes a message's content as text, where it is a list of parts");
  return repr(value);
}

/** repr(value) */
export function repr(value: Value): string {
  spend(typeof value === "object" ? 4 : 1);
  if (typeof value === "string") return quoted(value);
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return digits(value);
  if (value instanceof Float) return floatText(value.value);
  if (value instanceof List) return `[${value.items.map(repr).join(", ")}]`;
  if (value instanceof Tuple) return `(${value.items.map(repr).join(", ")}${value.items.length === 1 ? "," : ""})`;
  if (value instanceof Dict) return dictText(value);
  if (value instanceof Undefined) return "Undefined";
  if (value instanceof DictView) return `${value.type}([${value.items.map(repr).join(", ")}])`;
  if (value instanceof Range) return `range(${value.start}, ${value.stop}${value.step === 1 ? "" : `, ${value.step}`})`;
  if (value instanceof Callable && value.type === "Macro") return `<Macro ${quoted(value.name)}>`;
  return `<${value.type} object>`;
}

function dictText(value: Dict): string {
  const text = `{${[...value.entries.values()].map(([key, entry]) => `${repr(key)}: ${repr(entry)}`).join(", ")}}`;
  return value.type === "dict" ? text : `<${value.type} ${text}>`;
}

function digits(value: number | bigint): string {
  const text = String(value);
  spendText(text.length);
  return text;
}

/** repr of a float: the shortest digits, with an exponent from 1e16 on and below 1e-4. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (Object.is(value, -0)) return "-0.0";
  const [mantissa, exponent] = value.toExponential().split("e") as [string, string];
  const power = Number(exponent);
  if (value !== 0 && (power < -4 || power >= 16)) return `${mantissa}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  if (power < 0) return plainDigits(mantissa, power);
  const text = String(value);
  return text.includes(".") ? text : `${text}.0`;
}

/** 1.5e-3 as 0.0015: JavaScript writes out down to 1e-6 by itself. */
function plainDigits(mantissa: string, power: number): string {
  const sign = mantissa.startsWith("-") ? "-" : "";
  return `${sign}0.${"0".repeat(-power - 1)}${mantissa.replace(/[-.]/g, "")}`;
}

const NOT_PRINTABLE = /[\p{C}\p{Z}\\]|['"]/gu;
const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };

function quoted(text: string): string {
  spendText(text.length);
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = text.replace(NOT_PRINTABLE, (character) => {
    if (character === "'" || character === '"') return character === quote ? `\\${character}` : character;
    if (character === " ") return character;
    return SHORT[character] ?? escaped(character.codePointAt(0) as number);
  });
  return `${quote}${inner}${quote}`;
}

function escaped(code: number): string {
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}
