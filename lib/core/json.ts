// JSON as Python's json module reads and writes it by default: with NaN, Infinity and -Infinity, which JSON does not have. Published checkpoints hold
// them, mostly under keys that nobody reads.

/** A character that is escaped, the beginning or the end of a string, which is left as it is whatever it spells, or one of Python's numbers. */
const QUOTE_OR_NUMBER = /\\.|"|(?:-?\bInfinity\b|\bNaN\b)(?!\s*:)/gs;
// Numbers of JSON that overflow a double give ±Infinity by themselves; NaN needs a mark that no file holds.
const MARK = "\u0000NaN\u0000";
const AS_JSON: Readonly<Record<string, string>> = { Infinity: "1e999", "-Infinity": "-1e999", NaN: JSON.stringify(MARK) };

/** No file that is read here nests deeper than ten levels. What is nested deeper than the stack breaks whoever walks it: JSON.stringify, String, a schema. */
export const DEEPEST = 200;

/** As JSON.parse, of a stranger's text: throws SyntaxError where it nests deeper than any file that is meant does. */
export function parseShallow(text: string): unknown {
  const value: unknown = JSON.parse(text);
  if (isDeep(text)) throw new SyntaxError(`it nests deeper than ${DEEPEST} levels`);
  return value;
}

/** Of valid JSON, where looking at strings and brackets is enough. */
function isDeep(text: string): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; ++at) {
    const code = text.charCodeAt(at);
    if (code === 34) at = endOfString(text, at);
    else if (code === 91 || code === 123) {
      if (++depth > DEEPEST) return true;
    } else if (code === 93 || code === 125) --depth;
  }
  return false;
}

/** Where the string that begins at `at` ends: at a quote behind an even number of backslashes. */
function endOfString(text: string, at: number): number {
  for (let end = text.indexOf('"', at + 1); ; end = text.indexOf('"', end + 1)) {
    let before = end;
    while (text.charCodeAt(before - 1) === 92) --before;
    if ((end - before) % 2 === 0) return end;
  }
}

/**
 * A description: JSON or Python's. Throws SyntaxError where it is neither, or where an object cannot be made a text or a number. A byte order mark, which
 * editors of Windows write, is no part of it.
 */
export function parseJson(given: string): unknown {
  const value = parseEither(given.startsWith("\ufeff") ? given.slice(1) : given);
  checkConversions(value);
  return value;
}

/** What JavaScript calls to make an object a text or a number. Where JSON holds something else under that name, String(), `${}` and Number() throw. */
const CONVERSIONS = ["toString", "valueOf"];
function checkConversions(value: unknown): void {
  if (typeof value !== "object" || value === null) return;
  for (const name of CONVERSIONS) if (Object.hasOwn(value, name)) throw new SyntaxError(`it has a key "${name}", which no description has`);
  for (const one of Object.values(value)) checkConversions(one);
}

function parseEither(text: string): unknown {
  try {
    return parseShallow(text);
  } catch (error) {
    let inString = false;
    const read = text.replace(QUOTE_OR_NUMBER, (part) => {
      if (part === '"') inString = !inString;
      return inString ? part : (AS_JSON[part] ?? part);
    });
    if (read === text) throw error;
    parseShallow(read);
    return JSON.parse(read, (_, value) => (value === MARK ? Number.NaN : value));
  }
}

/**
 * As Python's json.dumps writes it with an indent of 2, so that what parseJson() read is not lost as null. A whole number is written as 4.0 where
 * `isFloat` says so: to Python, 4 is of another type.
 */
export function formatJson(value: unknown, isFloat: (key: string, holder: object) => boolean = () => false): string {
  const marks = new Map<string, string>();
  const marked = (written: string): string => {
    const mark = `\u0000${written}\u0000`;
    marks.set(JSON.stringify(mark), written);
    return mark;
  };
  const text = JSON.stringify(
    value,
    function (this: object, key, v) {
      if (typeof v !== "number") return v;
      if (!Number.isFinite(v)) return marked(String(v));
      return Number.isSafeInteger(v) && isFloat(key, this) ? marked(`${v}.0`) : v;
    },
    2,
  );
  let written = text;
  for (const [mark, number] of marks) written = written.replaceAll(mark, number);
  return written;
}
