// Random templates of Jinja: values of all kinds through operators, filters, tests and methods, between tags with and without trimming.
import type { Random } from "../../fuzz/random.js";
import { json, text } from "./conversations.js";

// biome-ignore format: a table
const LITERALS = ["1", "0", "-3", "7", "2.5", "1.0", "1e20", "0.00001", "true", "false", "none", "''", "'ab c'", "'  xAx '", "\"it's\"", "'a,b,,c'", "'Ünï 🙂'", "[1, 2, 3]", "[]", "['b', 'A', 'c']", "{'a': 1, 'b': [none, true]}", "{}", "(1, 'x')", "x", "y", "m", "nothing", "range(4)", "'\\n l1\\r\\nl2 \\t'", "[[1, 2], [3, 4]]", "[{'k': 'B', 'n': 2}, {'k': 'a', 'n': 1}]"];
const TEXT_VALUES = LITERALS.filter((literal) => /^['"]/.test(literal)).concat("y", "(x | string)");
const NAMES = ["x", "y", "m"];
// biome-ignore format: a table
const FILTERS = ["upper", "lower", "trim", "trim('x ')", "length", "string", "list", "first", "last", "join", "join(', ')", "join('-', attribute='k')", "tojson", "tojson(indent=2)", "tojson(ensure_ascii=true)", "tojson(sort_keys=true)", "tojson(separators=(',', ':'))", "default('d')", "default('d', true)", "int", "int(5)", "float", "abs", "round", "round(1)", "round(1, 'floor')", "replace('a', 'bb')", "replace('', '.')", "replace('b', '', 1)", "sort", "sort(reverse=true)", "sort(attribute='n')", "unique | list", "reverse | list", "sum", "min", "max", "map('upper') | list", "map(attribute='k') | list", "map('int') | list", "select | list", "select('odd') | list", "reject('none') | list", "selectattr('n', 'gt', 1) | list", "rejectattr('k', 'equalto', 'a') | list", "dictsort", "items | list", "capitalize", "title", "center(9)", "indent", "indent(2, true)", "indent(first=true, blank=true)", "truncate(5)", "truncate(6, true, '~', 0)", "wordcount", "batch(2) | list", "batch(2, 'f') | list", "slice(2) | list", "groupby('k')", "groupby('k') | map('first') | list", "urlencode", "format(1, 2)", "attr('upper')", "pprint", "filesizeformat", "wordwrap(5)", "d", "count"];
// biome-ignore format: a table
const METHODS = ["strip()", "strip('x')", "lstrip()", "rstrip()", "lstrip(' xa')", "rstrip('\\n')", "split()", "split(',')", "split(',', 1)", "rsplit(',', 1)", "split(none, 1)", "splitlines()", "splitlines(true)", "upper()", "lower()", "title()", "capitalize()", "swapcase()", "startswith('a')", "startswith(('b', 'a'))", "endswith('c')", "find('b')", "rfind(',')", "index('a')", "count('a')", "count(1)", "replace('a', 'z')", "replace('a', 'z', 1)", "join(['p', 'q'])", "join(y)", "format(1, b=2)", "isdigit()", "isalpha()", "isalnum()", "isspace()", "isupper()", "islower()", "istitle()", "isnumeric()", "isidentifier()", "zfill(5)", "center(8, '*')", "ljust(6)", "rjust(6, '.')", "partition(',')", "rpartition(',')", "removeprefix('a')", "removesuffix('c')", "casefold()", "expandtabs(4)", "items() | list", "keys() | list", "values() | list", "items()", "get('a')", "get('zz', 'dflt')", "get('b')", "copy()", "append(1)", "pop()", "update({})", "index(2)", "isascii()", "isprintable()"];
// biome-ignore format: a table
const TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping", "sequence", "iterable", "callable", "odd", "even", "divisibleby 2", "divisibleby(3)", "lower", "upper", "in [1, 'ab c', none]", "in x", "eq 1", "equalto('ab c')", "ne none", "gt 1", "lt(2.5)", "ge 0", "sameas none", "sameas true", "not none", "not string", "escaped"];
const OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "and", "or", "in", "not in", "**"];
const ITEMS = ["a", "k", "'a'", "0", "-1", "1:", ":2", "::-1", "::2", "-2:", "none", "'k'", "5", "1:1", "x", "true"];
const FORMATS = [
  "'%s' % X",
  "'%d|%5.2f' % (X, Y)",
  "'%r' % X",
  "'%(a)s' % X",
  "'{} {:>5}'.format(X, Y)",
  "'{0!r:^8}'.format(X)",
  "'{:,}'.format(X)",
  "'{:05.1f}'.format(X)",
  "'%-5s|' % X",
  "'%x' % X",
  "'%%%s' % X",
  "'{a[b]}'.format(a=X)",
];

export function expression(random: Random, depth = 0): string {
  const inner = () => expression(random, depth + 1);
  const kind = depth > 2 ? 0 : random.below(12);
  if (kind < 3) return random.pick(LITERALS);
  if (kind < 5) return `${random.chance(0.6) ? random.pick(LITERALS) : atom(random, depth)} | ${random.pick(FILTERS)}`;
  if (kind === 5) return `(${inner()} ${random.pick(OPERATORS)} ${inner()})`;
  if (kind === 6) return `${random.chance(0.7) ? random.pick(TEXT_VALUES) : atom(random, depth)}.${random.pick(METHODS)}`;
  if (kind === 7) return `${atom(random, depth)} is ${random.pick(TESTS)}`;
  if (kind === 8) {
    // A slice of a constant that has none is undefined, since Jinja folds constants; of anything else it is an error.
    const item = random.pick(ITEMS);
    return `${item.includes(":") ? random.pick([...TEXT_VALUES, "x", "m"]) : atom(random, depth)}[${item}]`;
  }
  if (kind === 9) return `(${inner()} if ${inner()}${random.chance(0.8) ? ` else ${inner()}` : ""})`;
  if (kind === 10)
    return random
      .pick(FORMATS)
      .replace("X", () => atom(random, depth))
      .replace("Y", () => atom(random, depth));
  return random.pick([
    () => `[${inner()}, ${inner()}]`,
    () => `{'k': ${inner()}}`,
    () => `not ${atom(random, depth)}`,
    () => `-${atom(random, depth)}`,
  ])();
}
const atom = (random: Random, depth: number) => `(${expression(random, depth + 1)})`;

const TEXTS = ["", "", " ", "a", "\n", "\n  ", " b\n", "  ", "{", "#", "\r\n"];

function body(random: Random, depth: number): string {
  let written = random.pick(TEXTS);
  for (let n = 1 + random.below(3); n > 0; --n) written += statement(random, depth) + random.pick(TEXTS);
  return written;
}

function statement(random: Random, depth: number): string {
  const tag = (inside: string) => `{%${random.pick(["", "", "-", "+"])} ${inside} ${random.pick(["", "", "-", "+"])}%}`;
  const inner = () => (depth > 2 ? random.pick(TEXTS) : body(random, depth + 1));
  const value = () => expression(random, 2);
  const name = random.pick(NAMES);
  switch (random.below(14)) {
    case 0:
    case 1:
      return tag(`if ${value()}`) + inner() + (random.chance(0.5) ? tag("else") + inner() : "") + tag("endif");
    case 2:
    case 3: {
      const leave = random.chance(0.5)
        ? tag(`if loop.index ${random.pick(["==", ">"])} ${random.below(3)}`) + tag(random.pick(["break", "continue"])) + tag("endif")
        : "";
      const marks = random.pick([
        "{{ loop.index }}",
        "{{ loop.last }}",
        "{{ loop.length }}",
        "{{ loop.revindex0 }}",
        "{{ loop.previtem }}",
        "{{ loop.nextitem }}",
        "{{ loop.cycle('p', 'q') }}",
        "{{ loop.changed(x) }}",
        "",
      ]);
      const test = random.chance(0.2) ? ` if ${name} ${random.pick(["is defined", "!= 1", "is not none"])}` : "";
      return (
        tag(`for ${name} in ${random.pick(["range(3)", "[1, 2, 3]", "m", "'abc'", value()])}${test}`) +
        inner() +
        leave +
        marks +
        inner() +
        (random.chance(0.3) ? tag("else") + inner() : "") +
        tag("endfor")
      );
    }
    case 4:
      return tag(`set ${name} = ${value()}`);
    case 5:
      return tag(`set ${name}${random.pick(["", " | upper", " | trim"])}`) + inner() + tag("endset");
    case 6:
      return `${tag(`macro f(a, b=${value()})`)}${inner()}{{ a }}|{{ b }}${random.pick(["", "{{ varargs }}", "{{ kwargs }}"])}${tag("endmacro")}{{ f(${value()}${random.pick(["", ", 2", ", b=3", ", 2, 3", ", c=1"])}) }}`;
    case 7:
      return `${tag("set ns = namespace(v=0)")}${tag(`for i in range(3)`)}${tag("set ns.v = ns.v + i")}${tag("endfor")}{{ ns.v }}`;
    case 8:
      return tag(`with ${name} = ${value()}`) + inner() + tag("endwith");
    case 9:
      return tag(`filter ${random.pick(["upper", "trim", "indent(2)", "replace('a', 'b')"])}`) + inner() + tag("endfilter");
    case 10:
      return random.pick([
        "{# note #}",
        "{#- note -#}",
        "{#+ note\n+#}",
        "{% raw %}{{ x }}{% endraw %}",
        "{%- raw -%} {% y %} {%- endraw -%}",
      ]);
    case 11:
      return tag("generation") + inner() + tag("endgeneration");
    default:
      return `{{${random.pick(["", "-"])} ${expression(random)} ${random.pick(["", "-"])}}}`;
  }
}

export function program(random: Random): { template: string; variables: Record<string, unknown> } {
  const template = random.chance(0.5) ? `{{ ${expression(random)} }}` : body(random, 0);
  return {
    template,
    variables: { x: json(random), y: text(random), m: [json(random), text(random), { k: text(random), n: random.below(9) }] },
  };
}
