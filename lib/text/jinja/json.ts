// json.dumps as transformers' tojson calls it: Python's separators, ASCII only when asked.
import { spend, spendText } from "./budget.js";
import { isInt, isNumber, truth } from "./operators.js";
import { floatText, typeName } from "./repr.js";
import { Dict, Float, List, TemplateFault, Tuple, Undefined, type Value } from "./values.js";

export interface JsonOptions {
  ascii: boolean;
  indent: string | undefined;
  separators: readonly [item: string, key: string];
  sortKeys: boolean;
}

export function dumps(value: Value, options: JsonOptions, newline = "\n"): string {
  spend();
  if (typeof value === "string") return quoted(value, options.ascii);
  if (value === null) return "null";
  if (typeof value === "boolean") return String(value);
  if (typeof value !== "object") return String(value);
  if (value instanceof Float) return floatText(value.value).replace("inf", "Infinity").replace("nan", "NaN");
  const inner = options.indent === undefined ? "" : newline + options.indent;
  const around = (open: string, parts: readonly string[], close: string) => {
    if (!parts.length) return open + close;
    spendText(parts.reduce((sum, part) => sum + part.length + inner.length + 2, 0));
    const [comma] = options.separators;
    return `${open}${inner}${parts.join(comma + inner)}${inner && newline}${close}`;
  };
  if (value instanceof List || value instanceof Tuple)
    return around(
      "[",
      value.items.map((item) => dumps(item, options, inner || newline)),
      "]",
    );
  if (value instanceof Dict) {
    const entries = [...value.entries.values()];
    if (options.sortKeys) entries.sort(([a], [b]) => (keyText(a) < keyText(b) ? -1 : 1));
    const parts = entries.map(
      ([key, entry]) => quoted(keyText(key), options.ascii) + options.separators[1] + dumps(entry, options, inner || newline),
    );
    return around("{", parts, "}");
  }
  throw new TemplateFault(`Object of type ${typeName(value)} is not JSON serializable`);
}

function keyText(key: Value): string {
  if (typeof key === "string") return key;
  if (key === null) return "null";
  if (typeof key === "boolean") return String(key);
  if (isNumber(key)) return key instanceof Float ? floatText(key.value) : String(key);
  throw new TemplateFault(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

const SHORT: Readonly<Record<string, string>> = {
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  '"': '\\"',
  "\\": "\\\\",
};

function quoted(text: string, ascii: boolean): string {
  spendText(text.length);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what JSON escapes
  const pattern = ascii ? /["\\]|[^ -~]/g : /["\\\x00-\x1f]/g;
  return `"${text.replace(pattern, (unit) => SHORT[unit] ?? `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)}"`;
}

/** The options from tojson's arguments. */
export function jsonOptions(ascii: Value = false, indent: Value = null, separators: Value = null, sortKeys: Value = false): JsonOptions {
  const width = typeof indent === "string" ? indent : isInt(indent) ? " ".repeat(Math.min(Math.max(Number(indent), 0), 1000)) : undefined;
  for (const option of [ascii, indent, separators, sortKeys]) if (option instanceof Undefined) option.fail();
  const apart = separators instanceof Tuple || separators instanceof List ? separators.items : undefined;
  if (separators !== null && (apart?.length !== 2 || apart.some((part) => typeof part !== "string")))
    throw new TemplateFault("separators must be two texts");
  return {
    ascii: truth(ascii),
    indent: width,
    separators: (apart as [string, string] | undefined) ?? [width === undefined ? ", " : ",", ": "],
    sortKeys: truth(sortKeys),
  };
}
