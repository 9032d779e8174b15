// "%s" % value and "{}".format(value), as far as templates use them.
import { spendText } from "./budget.js";
import { exponential, fixed } from "./decimals.js";
import { floatText, repr, str, typeName } from "./repr.js";
import { padded } from "./strings.js";
import { Dict, Float, type Kwargs, List, or, Range, TemplateFault, Tuple, Undefined, type Value } from "./values.js";

/** What Python takes for a mapping here, so that nothing of it need be used. */
const HAS_ITEMS = [Dict, List, Range, Undefined];

/** text % value */
export function percent(text: string, value: Value): string {
  spendText(text.length);
  const items = value instanceof Tuple ? value.items : [value];
  let next = 0;
  let named = false;
  const take = (key: string | undefined): Value => {
    if (key !== undefined) {
      named = true;
      if (!(value instanceof Dict)) throw new TemplateFault("format requires a mapping");
      return or(value.get(key), () => fail(repr(key)));
    }
    if (next >= items.length) throw new TemplateFault("not enough arguments for format string");
    return items[next++] as Value;
  };
  const written = text.replace(
    /%(?:\(([^)]*)\))?([-+ 0#]*)(\*|\d+)?(?:\.(\*|\d+))?[hlL]?(.?)/gs,
    (_, key: string | undefined, flags: string, width: string | undefined, precision: string | undefined, kind: string) => {
      if (kind === "%") return "%";
      const size = (of: string | undefined) => (of === "*" ? Number(take(undefined)) : of === undefined ? undefined : Number(of));
      const [room, places] = [size(width), size(precision)];
      return converted(take(key), kind, flags, room, places);
    },
  );
  if (next < items.length && !named && !HAS_ITEMS.some((type) => value instanceof type))
    throw new TemplateFault("not all arguments converted during string formatting");
  return written;
}

const fail = (what: string): never => {
  throw new TemplateFault(what);
};

function converted(value: Value, kind: string, flags: string, width = 0, precision: number | undefined): string {
  if (!kind) throw new TemplateFault("incomplete format");
  if ("sra".includes(kind)) {
    const text = kind === "s" ? str(value) : repr(value);
    return padded(precision === undefined ? text : text.slice(0, precision), width, flags.includes("-") ? "ljust" : "rjust");
  }
  if (kind === "c") return padded(typeof value === "string" ? value : String.fromCodePoint(Number(value)), width, "rjust");
  if (!"diuoxXeEfFgG".includes(kind))
    throw new TemplateFault(`unsupported format character '${kind}' (0x${kind.charCodeAt(0).toString(16)})`);
  const spec = { fill: " ", align: ">", sign: flags.includes("+") ? "+" : flags.includes(" ") ? " " : "-", width, precision, comma: "" };
  if (flags.includes("-")) spec.align = "<";
  else if (flags.includes("0")) [spec.fill, spec.align] = ["0", "="];
  return numeric(value, kind === "i" || kind === "u" ? "d" : kind, spec, flags.includes("#"));
}

interface Spec {
  fill: string;
  align: string;
  sign: string;
  width: number;
  precision: number | undefined;
  comma: string;
}

function numeric(value: Value, kind: string, spec: Spec, alternate: boolean): string {
  const isFloat = value instanceof Float;
  if (!isFloat && typeof value !== "number" && typeof value !== "bigint" && typeof value !== "boolean")
    throw new TemplateFault(`%${kind} format: a real number is required, not ${typeName(value)}`);
  const real = isFloat ? value.value : value;
  let negative = Number(real) < 0 || Object.is(real, -0);
  let text: string;
  if (kind && "oxXb".includes(kind) && isFloat) throw new TemplateFault(`%${kind} format: an integer is required, not float`);
  if (kind && "doxXb".includes(kind)) {
    const whole = BigInt(isFloat ? Math.trunc(value.value) : (real as number | bigint | boolean));
    negative = whole < 0n;
    const radix = { d: 10, o: 8, x: 16, X: 16, b: 2 }[kind] as number;
    text = (whole < 0n ? -whole : whole).toString(radix);
    if (alternate && radix !== 10) text = `0${kind.toLowerCase()}${text}`;
    if (kind === "X") text = text.toUpperCase();
  } else text = floating(Math.abs(Number(real)), kind, spec.precision);
  if (spec.comma) text = text.replace(/^\d+/, (digits) => digits.replace(/\B(?=(\d{3})+$)/g, spec.comma));
  const sign = negative ? "-" : spec.sign === "-" ? "" : spec.sign;
  return aligned(sign, text, spec);
}

function floating(value: number, kind: string, precision = 6): string {
  if (precision > 100) throw new TemplateFault("precision too big");
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : "inf";
  let text: string;
  if (kind === "f" || kind === "F" || kind === "%") {
    text = fixed(value, precision);
  } else if (kind.toLowerCase() === "e") text = exponential(value, precision);
  else {
    const places = precision || 1;
    const short = exponential(value, places - 1);
    const power = value === 0 ? 0 : Number(short.split("e")[1]);
    // Without a letter one digit stands behind the point, which counts.
    if (power < -4 || power >= (kind === "" ? places - 1 : places)) text = short.replace(/\.0+e/, "e").replace(/(\.\d*[1-9])0+e/, "$1e");
    else {
      text = fixed(value, Math.max(0, places - 1 - power));
      if (text.includes(".")) text = text.replace(/\.?0+$/, "");
    }
  }
  return kind === "E" || kind === "G" ? text.toUpperCase() : text;
}

function aligned(sign: string, text: string, { fill, align, width }: Spec): string {
  if (align === "=") return sign + padded(text, width - sign.length, "rjust", fill);
  return padded(sign + text, width, align === "<" ? "ljust" : align === "^" ? "center" : "rjust", fill);
}

/** Python's format(value, spec). */
export function formatted(value: Value, spec: string): string {
  if (spec === "") return str(value);
  const match = /^(?:(.)?([<>=^]))?([-+ ])?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([a-zA-Z%])?$/su.exec(spec);
  if (!match) throw new TemplateFault(`Invalid format specifier '${spec}'`);
  const [, fill, align, sign = "-", alternate, zero, width, comma = "", precision, kind] = match;
  const room = Number(width ?? 0);
  if (typeof value === "string" || (typeof value === "object" && !(value instanceof Float))) {
    if (comma && typeof value === "string") throw new TemplateFault(`Cannot specify '${comma}' with 's'.`);
    if ((kind && kind !== "s") || align === "=")
      throw new TemplateFault(`Unknown format code '${kind}' for object of type '${typeName(value)}'`);
    const text = typeof value === "string" ? value : fail(`unsupported format string passed to ${typeName(value)}.__format__`);
    return aligned("", precision === undefined ? text : text.slice(0, Number(precision)), {
      fill: fill ?? (zero ? "0" : " "),
      align: align ?? "<",
      sign,
      width: room,
      precision: undefined,
      comma: "",
    });
  }
  const given = {
    fill: fill ?? (zero ? "0" : " "),
    align: align ?? (zero ? "=" : ">"),
    sign,
    width: room,
    precision: precision === undefined ? undefined : Number(precision),
    comma,
  };
  if (kind === "%") {
    const share = (value instanceof Float ? value.value : Number(value)) * 100;
    return aligned(share < 0 ? "-" : sign === "-" ? "" : sign, `${floating(Math.abs(share), "f", given.precision)}%`, given);
  }
  if (!(value instanceof Float) && precision !== undefined && "doxXb".includes(kind ?? "d"))
    throw new TemplateFault("Precision not allowed in integer format specifier");
  if (kind) return numeric(value, kind, given, alternate !== undefined);
  if (!(value instanceof Float)) return numeric(value, "d", given, false);
  if (precision !== undefined) {
    const text = numeric(value, "", { ...given, width: 0 }, false);
    return aligned("", /[.e]|inf|nan/.test(text) ? text : `${text}.0`, given);
  }
  const text = floatText(Math.abs(value.value));
  return aligned(value.value < 0 ? "-" : sign === "-" ? "" : sign, text, given);
}

/** text.format(*args, **kwargs); `member` reads attributes and items of a field. */
export function format(
  text: string,
  args: readonly Value[],
  kwargs: Kwargs,
  member: (of: Value, name: string, item: boolean) => Value,
): string {
  spendText(text.length);
  let next = 0;
  const field = (name: string): Value => {
    const [, first = "", rest = ""] = /^([^.[]*)(.*)$/s.exec(name) as RegExpExecArray;
    const key = first === "" ? String(next++) : first;
    let value = /^\d+$/.test(key) ? args[Number(key)] : kwargs.get(key);
    if (value === undefined)
      throw new TemplateFault(/^\d+$/.test(key) ? `Replacement index ${key} out of range for positional args tuple` : repr(key));
    for (const [, attribute, item] of rest.matchAll(/\.([^.[]+)|\[([^\]]+)\]/g))
      value = member(value, (attribute ?? item) as string, attribute === undefined);
    return value;
  };
  const expand = (spec: string): string => spec.replace(/\{([^{}]*)\}/g, (_, name: string) => str(field(name)));
  return text.replace(/\{\{|\}\}|\{([^{}!:]*)(?:!([rsa]))?(?::((?:[^{}]|\{[^{}]*\})*))?\}|[{}]/g, (whole, name, conversion, spec = "") => {
    if (whole === "{{" || whole === "}}") return whole[0] as string;
    if (name === undefined) throw new TemplateFault(`Single '${whole}' encountered in format string`);
    const value = field(name);
    return formatted(conversion === "s" ? str(value) : conversion ? repr(value) : value, expand(spec));
  });
}
