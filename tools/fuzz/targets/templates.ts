// lib/text/jinja: programs from pieces of Jinja, and templates as they are published with pieces exchanged.
import { ChatTemplate } from "../../../lib/text/chat-template.js";
import type { Random } from "../random.js";
import type { Seed, Target } from "../target.js";

const CHATML = `{%- if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}
{%- for message in loop_messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message['content'] | trim + '<|im_end|>\\n' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`;
const LLAMA = `{% set ns = namespace(n=0, system='') %}{% macro show(text, times=2) -%}{{ text|upper * times }}{%- endmacro %}
{% for m in messages if m.role != 'tool' %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles alternate') }}{% endif %}
{% set ns.n = ns.n + 1 %}{{ bos_token }}[INST] {{ show(m.content) }} {{ m|tojson(indent=2) }} [/INST]{{ loop.last }}{% endfor %}{{ "%5d" % ns.n }}`;
const TOOLS = `{% for k, v in messages[0].items() %}{{ k ~ ': ' ~ v|string|replace('a', 'b')|indent(4)|default('none') }}{% if not loop.last %}, {% endif %}
{%- endfor %}{{ range(5)|map('string')|join(', ') }}{{ strftime_now('%d %b %Y') }}{% filter upper %}x{% endfilter %}{{ [3, 1, 2]|sort|list }}`;

const NAMES = ["messages", "m", "x", "ns", "loop", "range", "dict", "namespace", "cycler", "bos_token", "none", "true", "self", "l"];
const NUMBERS = ["0", "1", "-1", "3", "1000", "100000", "1000000000", "9999999999999999999999", "1e308", "0.5", "0x7fffffff"];
const TEXTS = ['""', '"a"', '"%1000000000d"', '"{:>1000000000}"', '"a" * 100000', '"\\ud800"', "'<{[(%s)]}>'"];
const FILTERS =
  "abs attr batch capitalize center default dictsort e escape first float format groupby indent int items join last length list lower map max min pprint random reject rejectattr replace reverse round safe select selectattr slice sort string striptags sum title tojson trim truncate unique upper urlencode urlize wordcount wordwrap xmlattr filesizeformat forceescape".split(
    " ",
  );
const METHODS =
  "append split strip replace items keys values get upper format join startswith find count ljust zfill center expandtabs splitlines encode translate update pop index insert extend title partition __class__ constructor".split(
    " ",
  );
const OPERATORS = ["+", "-", "*", "**", "/", "//", "%", "~", "==", "!=", "<", ">=", "in", "not in", "is", "and", "or", "|", "if x else"];
const TESTS = "defined none string mapping iterable sequence number odd even divisibleby(0) sameas(x) in([1]) eq(1) callable".split(" ");

function expression(random: Random, depth = 0): string {
  const inner = () => expression(random, depth + 1);
  if (depth > 4) return random.pick([random.pick(NAMES), random.pick(NUMBERS)]);
  switch (random.below(11)) {
    case 0:
      return random.pick(NUMBERS);
    case 1:
      return random.pick(TEXTS);
    case 2:
      return `[${inner()}, ${inner()}]`;
    case 3:
      return `{${inner()}: ${inner()}}`;
    case 4:
      return `(${inner()} ${random.pick(OPERATORS)} ${inner()})`;
    case 5:
      return `${inner()}|${random.pick(FILTERS)}${random.chance(0.6) ? `(${inner()}${random.chance(0.3) ? `, ${inner()}` : ""})` : ""}`;
    case 6:
      return `${inner()}.${random.pick(METHODS)}(${random.chance(0.7) ? inner() : ""})`;
    case 7:
      return `${inner()}[${inner()}${random.chance(0.4) ? `:${inner()}:${inner()}` : ""}]`;
    case 8:
      return `${inner()} is ${random.pick(TESTS)}`;
    case 9:
      return `${random.pick(NAMES)}(${inner()})`;
    default:
      return random.pick(NAMES);
  }
}

function statements(random: Random, depth = 0): string {
  const inner = () => (depth > 3 ? "y" : statements(random, depth + 1));
  const value = () => expression(random);
  const one = (): string => {
    switch (random.below(9)) {
      case 0:
        return `{% for x in ${value()} %}${inner()}{% else %}-{% endfor %}`;
      case 1:
        return `{% if ${value()} %}${inner()}{% elif ${value()} %}{% endif %}`;
      case 2:
        return `{% set x = ${value()} %}`;
      case 3:
        return `{% set ns = namespace(x=${value()}) %}{% for i in range(${random.pick(NUMBERS)}) %}{% set ns.x = ${value().replaceAll("x", "ns.x")} %}{% endfor %}`;
      case 4:
        return `{% macro m(a, b=${value()}) %}${inner()}{{ a }}{% endmacro %}{{ m(${value()}) }}`;
      case 5:
        return `{% filter ${random.pick(FILTERS)} %}${inner()}{% endfilter %}`;
      case 6:
        return `{% set x %}${inner()}{% endset %}`;
      default:
        return `{{ ${value()} }}`;
    }
  };
  return Array.from({ length: 1 + random.below(3) }, one).join(random.pick(["", " ", "\n"]));
}

const PUBLISHED = [CHATML, LLAMA, TOOLS];

/** A published one, some of its words exchanged for others. */
function changed(random: Random): string {
  const words = random.pick(PUBLISHED).split(/(\b)/);
  for (let n = 1 + random.below(4); n > 0; --n) {
    const at = random.below(words.length);
    words[at] = random.pick([expression(random), random.pick(FILTERS), random.pick(NUMBERS), random.pick(words), "{% endif %}", "-%}", ""]);
  }
  return words.join("");
}

const seed = (text: string): Seed => ({ bytes: Buffer.from(text), fields: [] });

export const templates: Target = {
  name: "templates",
  seeds: PUBLISHED.map(seed),
  build: (random) => Buffer.from(random.chance(0.6) ? statements(random) : changed(random)),
  run(bytes) {
    const template = new ChatTemplate(Buffer.from(bytes).toString(), { bos_token: "<s>" });
    template.render([{ role: "user", content: "a cat" }, { role: "assistant", content: "yes" }], { addGenerationPrompt: true }); // biome-ignore format: short
  },
};
