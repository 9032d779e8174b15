// A benchmark as a file of YAML: where its questions lie, how each is put to a model, how answers are read and by which rule they become numbers.
import { type Check, is, isObject, nearest, type Schema, shown } from "../../core/checks.js";
import { type AnymalError, expected } from "../../core/errors.js";
import { readPlain } from "../../core/plain-file.js";
import { LARGEST, parseYaml } from "../../io/yaml.js";
import { reasonOf } from "../../media/error.js";
import { BUILT_IN } from "../../media/kinds/index.js";
import { Template } from "../../text/jinja/template.js";
import { fromJs, TemplateFault } from "../../text/jinja/values.js";
import { EVAL_TASKS, evalTask } from "./index.js";
import { ROWS_SCHEMA, type RowsSpec, readRows, splitsOf } from "./rows.js";
import { RULES, type Rule } from "./rules.js";
import { type Asked, type AskedPart, type EvalTask, MEDIA } from "./task.js";

/** What such a file says. */
export interface TaskSpec {
  name: string;
  /** In a line. */
  about: string;
  /** The publication of the data. */
  source: string;
  /** Of the questions' media. */
  modality: string;
  /** Rows of a file, or `layout`: a benchmark that is here from the start, whose files are read. */
  data: RowsSpec | { layout: string };
  /** Jinja templates of what a question's doc holds; `<image>`, or what the medium is called, is where the media go. */
  prompt: { system?: string; user: string };
  /** Greedy, so many tokens at most (default 16); or options whose log-probabilities are taken in place of writing. */
  decoding?: { maxNewTokens?: number; options?: readonly string[] };
  metric: string;
  /** How an answer is read; each metric has its own ways. */
  parser?: string;
}

const OPTION: Check = { wanted: "a text", fits: (v) => typeof v === "string" && v.trim() !== "" };
const SPEC: Schema = {
  name: {
    wanted: "a name of small letters, digits, - and _ that no benchmark has that is here from the start",
    fits: (v) => typeof v === "string" && /^[a-z0-9][a-z0-9_-]{0,63}$/.test(v) && !EVAL_TASKS.has(v),
  },
  about: is.text,
  source: is.text,
  modality: is.oneOf(...BUILT_IN.keys()),
  data: is.object,
  prompt: is.object,
  decoding: is.orAbsent(is.object),
  metric: is.oneOf(...Object.keys(RULES)),
  parser: is.orAbsent(is.text),
};
const LAYOUT: Schema = { layout: is.oneOf(...EVAL_TASKS.keys()) };
const PROMPT: Schema = { system: is.orAbsent(is.text), user: is.text };
const DECODING: Schema = {
  maxNewTokens: is.orAbsent(is.upTo(65_536, 1)),
  options: is.orAbsent({ wanted: "a list of at least two texts", fits: (v) => Array.isArray(v) && v.length > 1 && v.every(OPTION.fits) }),
};
const OPTIONAL = new Set(["id", "folders", "start", "seconds", "kind"]);
const MAX_NEW_TOKENS = 16;

/** The task that answers are of: one of `tasks`, what its own file said when they were made, or one that is here from the start. */
export const taskOfAnswers = (
  { task, spec }: { task: string; spec?: object | undefined },
  where: string,
  tasks: readonly EvalTask[] = [],
): EvalTask => tasks.find(({ name }) => name === task) ?? (spec ? taskOfSpec(spec, `${where}: spec`) : evalTask(task));

type Fault = (at: string, wanted: string, got: unknown, next?: string) => AnymalError;

/** Reads a benchmark's file. Rejects with E_DATA where it is none: the message says which of its keys, what was expected and what is there. */
export async function readTaskFile(path: string): Promise<EvalTask> {
  const text = (await readPlain(path, { most: LARGEST })).toString("utf8");
  let value: unknown;
  try {
    value = parseYaml(text);
  } catch (cause) {
    throw expected("E_DATA", path, "a benchmark as YAML", `text that does not parse (${reasonOf(cause)})`);
  }
  return taskOfSpec(value, path);
}

/** The task that a file says, as it was parsed. `where` names the file. Throws E_DATA where it says none. */
export function taskOfSpec(value: unknown, where: string): EvalTask {
  const fail: Fault = (at, wanted, got, next) => expected("E_DATA", `${where}: ${at}`, wanted, got, next);
  const whole = checked(fail, "", value, SPEC);
  const rows = isObject(whole.data) && !("layout" in whole.data);
  checked(fail, "data", whole.data, rows ? ROWS_SCHEMA : LAYOUT, OPTIONAL);
  checked(fail, "prompt", whole.prompt, PROMPT);
  if (whole.decoding) checked(fail, "decoding", whole.decoding, DECODING);
  const spec = whole as unknown as TaskSpec;
  const { name, about, source, modality, prompt, decoding = {}, metric, data } = spec;
  const rule = RULES[metric] as Rule;
  const { parsers } = rule;
  const { parser = parsers[0] as string } = spec;
  if (!parsers.includes(parser)) throw fail("parser", `one of ${parsers.join(", ")} for ${metric}`, shown(parser));
  if (rule.options && !decoding.options)
    throw fail("decoding.options", `the answers whose probabilities ${metric} compares, that of yes first`, "none");
  const at = "layout" in data ? layoutOf(data.layout, spec, rule, fail) : rowsOf(data, spec, rule, fail);
  const asked = promptOf(prompt, modality, fail);
  return {
    ...{ name, about, source, modality, spec },
    ...at,
    conventions: {
      anymal: {
        source: `${source}; the prompt of its file`,
        ask: asked,
        maxNewTokens: decoding.maxNewTokens ?? MAX_NEW_TOKENS,
        ...(decoding.options && { options: decoding.options }),
        score: (answers) => rule.score(answers, parser),
      },
    },
  };
}

type Reading = Pick<EvalTask, "layout" | "splits" | "doc" | "problem" | "read">;

function rowsOf(data: RowsSpec, { modality }: TaskSpec, rule: Rule, fail: Fault): Reading {
  const missing = Object.keys(rule.needs).filter((field) => !Object.hasOwn(data.fields, field));
  if (missing.length)
    throw fail(
      "data.fields",
      `columns of ${Object.keys(rule.needs).join(" and ")}`,
      `none of ${missing.join(", ")}`,
      "the metric reads them",
    );
  const splits = splitsOf(data);
  const { files } = data;
  return {
    layout: `${typeof files === "string" ? files : Object.values(files).join(", ")}, and media by the paths in it`,
    ...(splits && { splits }),
    doc: rule.needs,
    ...(rule.problem && { problem: (doc: object) => rule.problem?.(doc as Readonly<Record<string, unknown>>) }),
    read: (folder, split) => readRows(data, { modality, rule }, folder, split),
  };
}

/** Another benchmark's files, asked and scored otherwise. */
function layoutOf(name: string, { modality, metric }: TaskSpec, rule: Rule, fail: Fault): Reading {
  const other = EVAL_TASKS.get(name) as EvalTask;
  if (modality !== other.modality) throw fail("modality", `${other.modality}, as ${name} has it`, modality);
  const missing = Object.keys(rule.needs).filter((field) => !Object.hasOwn(other.doc, field));
  if (missing.length)
    throw fail(
      "metric",
      `a rule over what ${name}'s questions hold, ${Object.keys(other.doc).join(", ")}`,
      `${metric}, which reads ${missing.join(", ")}`,
    );
  const { layout, splits, doc, problem, read } = other;
  return { layout, doc, read, ...(splits && { splits }), ...(problem && { problem }) };
}

/** Media stand where `<modality>` is written in the template itself; what a question spells is text. */
function promptOf(prompt: TaskSpec["prompt"], modality: string, fail: Fault): (doc: object) => Asked {
  const mark = `<${modality}>`;
  const marks = [prompt.system ?? "", prompt.user].reduce((sum, text) => sum + text.split(mark).length - 1, 0);
  if (marks !== 1) throw fail("prompt", `${mark} once, in system or user`, `it ${marks} times`);
  const compiled = (at: string, text: string) =>
    text.split(mark).map((piece) => {
      try {
        return new Template(piece);
      } catch (cause) {
        if (!(cause instanceof TemplateFault)) throw cause;
        throw fail(`prompt.${at}`, `Jinja templates before and behind ${mark}`, `one that does not parse (${cause.message})`);
      }
    });
  const system = prompt.system === undefined ? undefined : compiled("system", prompt.system);
  const user = compiled("user", prompt.user);
  return (doc) => {
    const variables = Object.entries(doc).map(([name, value]) => [name, fromJs(value)] as const);
    const written = (pieces: readonly Template[], at: string): AskedPart[] => {
      try {
        const parts = pieces.flatMap((piece, i): AskedPart[] => (i ? [MEDIA, piece.render(variables)] : [piece.render(variables)]));
        return parts.filter((part) => part !== "");
      } catch (cause) {
        if (!(cause instanceof TemplateFault)) throw cause;
        throw fail(`prompt.${at}`, `a template that takes ${Object.keys(doc).join(", ")}`, cause.message);
      }
    };
    return { ...(system && { system: written(system, "system") }), user: written(user, "user") };
  };
}

/** All keys known, all that are not optional there, each as its check wants it. */
function checked(
  fail: Fault,
  at: string,
  value: unknown,
  schema: Schema,
  optional?: ReadonlySet<string>,
): Readonly<Record<string, unknown>> {
  const path = (key: string) => (at ? `${at}.${key}` : key);
  if (!isObject(value)) throw fail(at || "the file", "a mapping", shown(value, 60));
  for (const key of Object.keys(value)) {
    if (Object.hasOwn(schema, key)) continue;
    const near = nearest(key, Object.keys(schema));
    throw fail(
      path(key),
      "a key that is known",
      "one that is not",
      near ? `did you mean "${near}"?` : `known are ${Object.keys(schema).join(", ")}`,
    );
  }
  for (const [key, { wanted, fits }] of Object.entries(schema)) {
    if (value[key] === undefined && optional?.has(key)) continue;
    if (!fits(value[key])) throw fail(path(key), wanted, value[key] === undefined ? "nothing" : shown(value[key], 60));
  }
  return value;
}
