// Chat templates against transformers' Jinja: the same text, character for character, and an error where it refuses.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ChatTemplate, type Message } from "../../lib/text/chat-template.js";
import { stepsTaken } from "../../lib/text/jinja/budget.js";

const FOLDER = new URL("../fixtures/chat-templates", import.meta.url).pathname;
const TOKENS = { bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>", pad_token: "<pad>" };
const refused = (what: RegExp) => (error: Error & { code?: string }) => error.code === "E_CHAT_TEMPLATE" && what.test(error.message);
const render = (template: string, variables: Record<string, unknown> = {}, messages: Message[] = []) =>
  new ChatTemplate(template, TOKENS).render(messages, variables);

interface Case {
  file?: string;
  template?: string;
  variables: { messages?: Message[]; add_generation_prompt?: boolean };
  value?: string;
  error?: string;
}

test("what transformers renders, and what it refuses", () => {
  const cases: Case[] = JSON.parse(readFileSync(join(FOLDER, "cases.json"), "utf8"));
  for (const { file, template, variables, value, error } of cases) {
    const { messages = [], add_generation_prompt: addGenerationPrompt, ...rest } = variables;
    const source = template ?? readFileSync(join(FOLDER, file as string), "utf8");
    const run = () => render(source, { ...rest, addGenerationPrompt }, messages);
    const what = `${file ?? template} ${JSON.stringify(variables)}`;
    if (error !== undefined) assert.throws(run, refused(/./), what);
    else assert.is(run(), value, what);
  }
});

test("every filter, test and method, and what is built of them: jinja2's text, or refused as it refuses", () => {
  const { variables, cases } = JSON.parse(readFileSync(join(FOLDER, "expressions.json"), "utf8"));
  for (const [template, text] of cases as [string, string | null][]) {
    const run = () => render(template, structuredClone(variables));
    if (text === null) assert.throws(run, refused(/./), template);
    else assert.is(run(), text, template);
  }
});

test("a name that a frame assigns before it reads it is undefined until then, whatever the render was given", () => {
  const { cases } = JSON.parse(readFileSync(join(FOLDER, "names.json"), "utf8"));
  for (const [template, given, text] of cases as [string, Record<string, string>, string | null][]) {
    const run = () => render(template, given);
    if (text === null) assert.throws(run, refused(/./), template);
    else assert.is(run(), text, template);
  }
});

// Each value is what jinja2 3.1.6 prints with transformers' settings.
const KNOWN: readonly (readonly [template: string, text: string])[] = [
  [
    "{% macro m(a=1, b=a, c=d, d=2) %}{{ a }}|{{ b }}|{{ c }}|{{ d }} {% endmacro %}{{ m(none) }}{{ m(b=none, d=none) }}{{ m() }}",
    "None|None||2 1|None|None|None 1|1||2 ",
  ],
  ["{% for i in [1] %}{% endfor %}{% set loop = 3 %}{{ loop }}", "3"],
  [
    "{{ 'abc'.replace('', '-') }} {{ 'abc'.replace('', '-', 2) }} {{ 'abc'.replace('', '-', 3) }} {{ 'abc'|replace('', '-', 4) }} {{ 'abc'.replace('', '-', 0) }}",
    "-a-b-c- -a-bc -a-b-c -a-b-c- abc",
  ],
  ["{{ ('ab' * 3000).replace('', '-') == '-a-b' * 3000 ~ '-' }} {{ ''.replace('', 'x') }}", "True x"],
  ["{% macro m() %}[{{ caller }}]{% endmacro %}{{ m(caller=none) }}", "[]"],
  [
    "{{ 25|round(-1) }} {{ 35|round(-1) }} {{ 26|round(-1) }} {{ (-25)|round(-1) }} {{ (-35)|round(-1) }} {{ 7|round }}",
    "20 40 30 -20 -40 7",
  ],
  [
    "{{ 25.0|round(-1) }} {{ 25.5|round(-1) }} {{ (-25.5)|round(-1) }} {{ 24.9|round(-1) }} {{ 35.0|round(-1) }}",
    "20.0 30.0 -30.0 20.0 40.0",
  ],
  [
    "{{ 2.675|round(2) }} {{ 0.125|round(2) }} {{ 0.375|round(2) }} {{ 0.03125|round(4) }} {{ (-0.5)|round }} {{ 1.5|round }}",
    "2.67 0.12 0.38 0.0312 -0.0 2.0",
  ],
  ["{{ '%.2f %.0f %.3e %g' % (-16730.625, 28760.5, 4370.5, 446846.5) }}", "-16730.62 28760 4.370e+03 446846"],
  [
    "{{ '{:.2f} {:,.1f} {:e} {:%} {:g}'.format(125425.125, -12560.25, 121228.25, 2.142578125, -115112.5) }}",
    "125425.12 -12,560.2 1.212282e+05 214.257812% -115112",
  ],
  ["{{ '{:.3} {:.3} {:.3} {:.1} {:.5}'.format(-629.3, 62.93, 0.00001, 5.0, 12345.678) }}", "-6.29e+02 62.9 1e-05 5e+00 1.2346e+04"],
  ["{{ '%d %+d %d' % (-0.35, -0.4, -1.9) }}", "0 +0 -1"],
  ["{{ -7.0 % 7 }} {{ 14.0 % -7 }} {{ -1.0 // 7 }} {{ 0.0 // -3 }} {{ 7.5 // -2 }}", "0.0 -0.0 -1.0 -0.0 -4.0"],
  [
    "{{ (-0.00002)|round(2, 'ceil') }} {{ (-138888507739504120000.0)|filesizeformat }} {{ 1250000|filesizeformat }} {{ 1350000|filesizeformat }}",
    "0.0 -138888507739504115712 Bytes 1.2 MB 1.4 MB",
  ],
  ["{{ '12'|int }} {{ ' 0x1f '|int(0, 16) }} {{ '3.9'|int }} {{ 'x'|int(5) }} {{ '1_0'|int }} {{ 2.7|int }}", "12 31 3 5 10 2"],
  ["{{ 'a,b,c'.rsplit(',', 1) }} {{ 'a,b,c'.rsplit(',', 2) }} {{ 'a,b,c'.rsplit(',', 0) }}", "['a,b', 'c'] ['a', 'b', 'c'] ['a,b,c']"],
  ["{{ '😀a'|length }} {{ '😀a'[1] }} {{ '😀a'.find('a') }}", "2 a 1"],
  // break and continue keep what the turn has written
  ["{% for x in 'abcd' %}A{{ x }}{% if true %}B{% continue %}{% endif %}C{% endfor %}", "AaBAbBAcBAdB"],
  ["{% for x in 'abcd' %}A{{ x }}{% if x == 'b' %}B{% break %}{% endif %}C{% endfor %}", "AaCAbB"],
  ["{% for x in [1, 2] %}{% with y = x %}{{ y }}{% if x %}{% continue %}{% endif %}{% endwith %}n{% else %}none{% endfor %}", "12none"],
  // characters to strip
  ["{{ '\\n  a b \\n'.lstrip('\\n') }}|", "  a b \n|"],
  ["{{ 'xxaxx'.strip('x') }} {{ 'xyaxy'.rstrip('yx') }} {{ '<<a' | trim('<') }}", "a xya a"],
  ["{{ '\\ufeff a\\u0085'.strip() == '\\ufeff a' }}", "True"],
  // values as Python prints them
  ["{{ none }} {{ true }} {{ 1.0 }} {{ 1e16 }} {{ 1e-5 }} {{ 3 / 1 }} {{ 7 // 2 }} {{ -7 % 3 }}", "None True 1.0 1e+16 1e-05 3.0 3 2"],
  ["{{ [1, none, true, 'it\\'s', \"q\"] }} {{ {'a': 1} }} {{ (1,) }}", "[1, None, True, \"it's\", 'q'] {'a': 1} (1,)"],
  ["{{ 'x' % [1, 2] }}{{ 'x' % absent }}{{ 'x' % range(3) }}{{ '%s' % [1, 2] }}{{ '%%' % [1] }}{{ 'x' % () }}", "xxx[1, 2]%x"],
  ["{{ tools is defined }} {{ tools is none }} {{ documents }}", "True True None"],
  [
    "{{ 'x' ~ none ~ 1.5 }} {{ 'ab' * 2 }} {{ nothing | upper }}{{ none | trim }} {{ {'a': [true]} | string }}",
    "xNone1.5 abab None {'a': [True]}",
  ],
  ["{{ {'ü': 1.0, 'b': [none, '<']} | tojson }} {{ [1, 2] | tojson(separators=(',', ':')) }}", '{"ü": 1.0, "b": [null, "<"]} [1,2]'],
  // names: a key of a dict against its method
  ["{{ {'items': 3}.items is callable }} {{ {'items': 3}['items'] }} {{ {'a': none}.a is none }}", "True 3 True"],
  ["{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 9 %}{% endfor %}{{ x }}", "111"],
  // white space of tags, and newlines of Windows
  ["a\r\n{% if true %}\r\nb\r\n{% endif %}\r\n{{ 'c' }}\r\n", "a\nb\nc"],
  ["  {% if true %}  \n x{%+ if true %} y{%- endif %}\n  {#- c #}\n{% endif %}", "  \n x y"],
  ["{% generation %}{% set y = 1 %}a{% endgeneration %}{{ y }}", "a"],
  ["{{ '🙂é'[0] }}{{ '🙂é' | length }}{{ '🙂é'[::-1] }}", "🙂2é🙂"],
  ["{{ strftime_now('%Y') | length }}", "4"],
];

test("constructs, one by one", () => {
  for (const [template, text] of KNOWN) assert.is(render(template), text, template);
});

test("a template that refuses says so in its own words", () => {
  assert.throws(() => render("{{ raise_exception('no system ' ~ 1) }}"), refused(/^chat template: no system 1$/));
  assert.throws(() => render("{{ nothing.at.all }}"), refused(/'nothing' is undefined/));
  assert.throws(() => render("a\n{% if %}"), refused(/does not parse \(.*line 2/));
  assert.throws(() => render("{{ -nothing }}"), refused(/'nothing' is undefined/));
  for (const empty of ["{% set = 1 %}", "{% for in [1] %}{% endfor %}"])
    assert.throws(() => render(empty), refused(/does not parse \(.*Expected an expression/), empty);
  assert.throws(() => render("{% break %}"), refused(/'break' outside loop/));
  assert.throws(() => render("{{ range(99)|list|pprint }}"), refused(/pprint breaks what is longer/));
  assert.throws(() => render("{{ '{:.3}'.format(7) }}"), refused(/Precision not allowed in integer format specifier/));
  assert.throws(() => render("{{ 'a' + 1 }}"), refused(/can only concatenate str \(not "int"\) to str/));
  assert.throws(() => render("{{ [].append(1) }}"), refused(/unsafe/));
});

test("content parts are never printed as a list, and the error says what to do", () => {
  const messages = [{ role: "user", content: [{ type: "text", text: "Hi" }] }];
  const say = "{% for m in messages %}";
  for (const body of [
    "{{ m.content }}",
    "{{ 'a' + m['content'] }}",
    "{{ m.content | trim }}",
    "{{ 'a' ~ m.content }}",
    "{{ [m.content] | join }}",
  ])
    assert.throws(
      () => render(`${say}${body}{% endfor %}`, {}, messages),
      refused(/list of parts; this template takes text alone: join/),
      body,
    );
  assert.is(render(`${say}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}`, {}, messages), "Hi");
  assert.is(render(`${say}{{ m.content | tojson }}{% endfor %}`, {}, messages), '[{"type": "text", "text": "Hi"}]');
});

test("text reaches a template that reads parts alone", () => {
  const parts = readFileSync(join(FOLDER, "parts.jinja"), "utf8");
  assert.is(render(parts, { addGenerationPrompt: true }, [{ role: "user", content: " Hi you " }]), "User:  Hi you <end>\nAssistant:");
  // A template that reads both keeps its text.
  const both =
    "{% for m in messages %}{% for p in m.content %}{% if p.type == 'image' %}!{% endif %}{% endfor %}{{ m.content }}{% endfor %}";
  assert.is(render(both, {}, [{ role: "user", content: "Hi" }]), "Hi");
});

const BOMBS = [
  "{% for i in range(1000000000) %}x{% endfor %}",
  "{% set x = range(200000000) %}a",
  "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
  "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
  "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x | length }}",
  "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = ns.x.replace('a', 'aaaaaaaaaa') %}{% endfor %}",
  "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
  "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
  "{{ 'a' * 999999999999 }}",
  "{{ [1] * 999999999 }}",
  "{{ 'a'.center(999999999) }}",
  "{{ 'a' | indent(999999999, true) }}",
  "{{ '%999999999d' % 1 }}",
  "{{ '{:999999999}'.format(1) }}",
  "{{ 9 ** 999999999 }}",
  "{% set ns = namespace(x=9) %}{% for i in range(999) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
  "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
  "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
  "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
  "{{ [1] | batch(999999999, 'x') | list }}",
  "{{ [1] | slice(999999999) | list }}",
  `{{ ${"(".repeat(50_000)}1${")".repeat(50_000)} }}`,
  `{{ ${"[".repeat(20_000)}${"]".repeat(20_000)} }}`,
  `{{ ${"1".repeat(200_000)} }}`,
  "{{ 'a'.join(['a' * 9999999, 'b' * 9999999] * 9999) }}",
];

test("a template that computes without end is an error", () => {
  for (const bomb of BOMBS)
    assert.throws(() => render(bomb), refused(/steps|characters|nests|million bits|Range too big|digits/), bomb.slice(0, 80));
});

test("a conversation of a million characters is far below the bounds", () => {
  const messages = Array.from({ length: 400 }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content: "word ".repeat(500) }));
  render(readFileSync(join(FOLDER, "thinking.jinja"), "utf8"), {}, messages);
  assert.ok(stepsTaken() < 200_000, `${stepsTaken()}`);
});

test.run();
