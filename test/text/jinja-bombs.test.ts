// Templates made to do harm: little text that asks for much work, text or memory. All end with E_CHAT_TEMPLATE, or soon.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AnymalError } from "../../lib/core/errors.js";
import { ChatTemplate } from "../../lib/text/chat-template.js";

const test = suite("template bombs");

const doubled = (how: string, start = '"x"') =>
  `{% set ns = namespace(s=${start}) %}{% for i in range(60) %}{% set ns.s = ${how} %}{% endfor %}{{ ns.s|length }}`;
const shared = (end: string) =>
  `{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}${end}`;
const often = (work: string) => `{% set s = "a" * 1000000 %}{% for i in range(1000000) %}{% set x = ${work} %}{% endfor %}`;
const macros = Array.from(
  { length: 20 },
  (_, i) => `{% macro a${i}() %}${`{{ ${i ? `a${i - 1}` : "range"}(3) }}`.repeat(10)}{% endmacro %}`,
);

/** Refused when they are read, or rendered. */
const REFUSED: Readonly<Record<string, string>> = {
  range: "{% for i in range(1000000000) %}x{% endfor %}",
  "a range that is not walked": "{{ range(200000000)|list|length }}",
  "loops in loops, silent": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
  "40 loops of two": `${"{% for i in [1,2] %}".repeat(40)}${"{% endfor %}".repeat(40)}`,
  "half of a character in an address": '{{ "\\ud800"|urlencode }}',
  "doubling by ~": doubled("ns.s ~ ns.s"),
  "doubling by +": doubled("ns.s + ns.s"),
  "doubling by replace": doubled('ns.s|replace("x", "xxxxxxxxxx")'),
  "doubling by replacing nothing": doubled('ns.s.replace("", "xxxxxxxxxx")'),
  "doubling a list": doubled("ns.s + ns.s", "[1]"),
  "doubling in a block": doubled("ns.s ~ ns.s|upper"),
  "macros that call ten": `${macros.join("")}{{ a19() }}`,
  "a macro that calls itself": "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
  "a text times 10^9": '{{ "x" * 1000000000 }}',
  "a list times 10^9": "{{ [1] * 1000000000 }}",
  "a long glue": '{{ range(100000)|join("x" * 100000) }}',
  "%1000000000d": '{{ "%1000000000d" % 1 }}',
  "%*d": '{{ "%*d" % (1000000000, 1) }}',
  "%.1000000000f": '{{ "%.1000000000f" % 1 }}',
  "a width of format": '{{ "{:>1000000000}".format("a") }}',
  "a width of ljust": '{{ "a".ljust(1000000000) }}',
  "a width of center": '{{ "a"|center(1000000000) }}',
  zfill: '{{ "a".zfill(1000000000) }}',
  indent: '{{ ("a\n" * 100000)|indent(1000000) }}',
  batch: "{{ [1]|batch(1000000000, 0)|list|length }}",
  slice: "{{ [1]|slice(1000000000)|list|length }}",
  wordwrap: '{{ ("a" * 10000000)|wordwrap(1) }}',
  "much to sort": "{% for i in range(1000) %}{% set x = range(100000)|sort %}{% endfor %}",
  "much to search": often('"ab" in s'),
  "much to count": often('s.count("ab")'),
  "much to raise": often("s|upper"),
  "much to turn": often("s[::-1]"),
  "much to compare": often('s ~ "b" == s ~ "c"'),
  "much to look up": often("{}.get(s ~ i)"),
  "a power": "{{ 10 ** 1000000000 }}",
  "squares of squares": "{% set ns = namespace(x=3) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}",
  "lists that share, printed": shared("{{ ns.x }}"),
  "… as JSON": shared("{{ ns.x|tojson }}"),
  "… compared": shared("{{ ns.x == ns.y }}"),
  "… sorted": shared("{{ [ns.x, ns.y]|sort }}"),
  "… as a key": "{% set ns = namespace(x=(1,)) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} }}",
  "a million of brackets": `{{ ${"(".repeat(5e5)}1${")".repeat(5e5)} }}`,
  "a list in a list in a list":
    "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}",
  "a text of two million": "x".repeat(2e6),
};
/** Taken, in time by their length. */
const TAKEN: Readonly<Record<string, string>> = {
  "100 000 tags on one line": "{{- 1 -}}   ".repeat(80_000),
  "50 000 branches": `{% if false %}${"{% elif false %}".repeat(50_000)}{% endif %}`,
  "20 000 macros": Array.from({ length: 20_000 }, (_, i) => `{% macro a${i}() %}{% endmacro %}`).join(""),
  "50 000 names of a call": `{{ dict(${Array.from({ length: 50_000 }, (_, i) => `a${i}=1`).join(",")})|length }}`,
  "50 000 keys of a dict": `{{ {${Array.from({ length: 50_000 }, (_, i) => `"a${i}":1`).join(",")}}|length }}`,
  "the last of a range": "{{ range(1000)|last }}{{ 5 in range(1000) }}",
};

function rendered(source: string): AnymalError | undefined {
  const [cpu, rss] = [process.cpuUsage(), process.memoryUsage.rss()];
  let error: AnymalError | undefined;
  try {
    new ChatTemplate(source).render([{ role: "user", content: "hi" }]);
  } catch (thrown) {
    error = thrown as AnymalError;
  }
  const { user, system } = process.cpuUsage(cpu);
  assert.ok(user + system < 4e6, `took ${(user + system) / 1e6} s`);
  assert.ok(process.memoryUsage.rss() - rss < 400 * 2 ** 20, `took ${(process.memoryUsage.rss() - rss) / 2 ** 20} MiB`);
  return error;
}

for (const [name, source] of Object.entries(REFUSED))
  test(name, () => {
    const error = rendered(source);
    assert.is(error?.code, "E_CHAT_TEMPLATE", `${error?.stack ?? "taken"}`);
    assert.ok((error?.message.length ?? 0) < 2000);
  });
for (const [name, source] of Object.entries(TAKEN)) test(name, () => assert.is(rendered(source)?.message, undefined));

test.run();
