// Pink's referential tasks (arXiv 2310.00582, section 3.3) out of annotations that exist: what is asked and answered about a picture with places as text. The
// sentences are this library's own.

import { expected } from "../../core/errors.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { type Box, type BoxOptions, boxText, pointText } from "../boxes.js";
import { Draw } from "../draw.js";
import { areaOf, centre, type MarkedObject, type MarkedPicture } from "./picture.js";

/** A question about a picture, its answer, and the true box where the answer is one. */
export interface Referential {
  task: ReferentialTask;
  question: string;
  answer: string;
  box?: Box;
}
export interface ReferentialOptions extends BoxOptions {
  /** Default: all that the annotations allow. */
  tasks?: readonly ReferentialTask[];
  /** Questions of a task for one picture at most. Default 2. */
  most?: number;
  /** Of the choice among them, and of their words. Default 0. */
  seed?: number;
}

interface Asking {
  picture: MarkedPicture;
  /** Without those that are ignored. */
  objects: readonly MarkedObject[];
  draw: Draw;
  at(box: Box): string;
  point(xy: readonly [number, number]): string;
}
/** Makes one question, or none where what it drew allows none. */
type Make = (asking: Asking) => Omit<Referential, "task"> | undefined;

const PLACES = ["top left", "top right", "bottom left", "bottom right"] as const;
/** In which quarter around the centre of `other` the centre of `box` lies; undefined on the lines between. */
export function quarterOf(box: Box, other: Box): (typeof PLACES)[number] | undefined {
  const [[x, y], [ox, oy]] = [centre(box), centre(other)];
  if (x === ox || y === oy) return undefined;
  return PLACES[(y > oy ? 2 : 0) + (x > ox ? 1 : 0)];
}

const named = ({ objects }: Asking) => objects.filter((one): one is MarkedObject & { name: string } => one.name !== undefined);
/** A name that a crowd has too can neither be counted nor fit one place alone. */
const byName = (asking: Asking): Map<string, MarkedObject[]> => {
  const all = new Map<string, MarkedObject[]>();
  for (const one of named(asking)) all.set(one.name, [...(all.get(one.name) ?? []), one]);
  for (const { ignore, name } of asking.picture.objects) if (ignore && name !== undefined) all.delete(name);
  return all;
};
/** Two that differ, at random. */
function pair<T>(all: readonly T[], draw: Draw): [T, T] | undefined {
  return all.length < 2 ? undefined : (draw.shuffled(all).slice(0, 2) as [T, T]);
}

function relation(asking: Asking): ReturnType<Make> {
  const { picture, draw, at } = asking;
  const { relations = [] } = picture;
  if (!relations.length) return undefined;
  const { subject, object, predicate } = draw.pick(relations);
  const of = (id: number) => named(asking).find((one) => one.id === id);
  const [a, b] = [of(subject), of(object)];
  if (!a || !b) return undefined;
  const kind = draw.below(4);
  // Asked for one end, the answer must be the only one.
  const alone = (end: "subject" | "object") =>
    relations.filter((one) => one.predicate === predicate && one[end] === (end === "subject" ? subject : object)).length === 1;
  if (kind === 0)
    return {
      question: draw.pick([
        `How does the object in ${at(a.box)} relate to the one in ${at(b.box)}?`,
        `What is the relation of ${at(a.box)} to ${at(b.box)}?`,
      ]),
      answer: predicate,
    };
  if (kind === 1 && alone("subject"))
    return {
      question: `The ${a.name} in ${at(a.box)} is ${predicate} something. What is it, and where?`,
      answer: `${b.name} ${at(b.box)}`,
    };
  if (kind === 2 && alone("object"))
    return {
      question: `Something is ${predicate} the ${b.name} in ${at(b.box)}. What is it, and where?`,
      answer: `${a.name} ${at(a.box)}`,
    };
  const between = (x: number, y: number, word: string) =>
    relations.some((one) => one.subject === x && one.object === y && one.predicate === word);
  const others = [...new Set(relations.map((one) => one.predicate))].filter((word) => !between(subject, object, word));
  const yes = !others.length || draw.chance(0.5);
  return {
    question: `Is the ${a.name} in ${at(a.box)} ${yes ? predicate : draw.pick(others)} the ${b.name} in ${at(b.box)}?`,
    answer: yes ? "yes" : "no",
  };
}

function spatial(asking: Asking): ReturnType<Make> {
  const { draw, at } = asking;
  const two = pair(named(asking), draw);
  if (!two) return undefined;
  const [a, b] = two;
  const place = quarterOf(a.box, b.box);
  if (!place) return undefined;
  const kind = draw.below(3);
  if (kind === 0) return { question: `Seen from the ${b.name} in ${at(b.box)}, where is the ${a.name} in ${at(a.box)}?`, answer: place };
  const there = named(asking).filter((one) => one !== b && quarterOf(one.box, b.box) === place);
  if (kind === 1 && there.length === 1)
    return { question: `Which object is at the ${place} of the ${b.name} in ${at(b.box)}?`, answer: `${a.name} ${at(a.box)}` };
  const yes = draw.chance(0.5);
  const asked = yes ? place : draw.pick(PLACES.filter((one) => one !== place));
  return { question: `Is the ${a.name} in ${at(a.box)} at the ${asked} of the ${b.name} in ${at(b.box)}?`, answer: yes ? "yes" : "no" };
}

/** The point is the object's own: no smaller one lies there. */
function pointQa(asking: Asking): ReturnType<Make> {
  const { draw, point } = asking;
  const all = named(asking);
  if (!all.length) return undefined;
  const one = draw.pick(all);
  const [x1, y1, x2, y2] = one.box;
  const [x, y] = [draw.between(x1, x2), draw.between(y1, y2)];
  const over = asking.objects.filter(({ box }) => box[0] <= x && x <= box[2] && box[1] <= y && y <= box[3]);
  if (over.some((other) => other !== one && areaOf(other.box) <= areaOf(one.box))) return undefined;
  return { question: draw.pick([`What is at ${point([x, y])}?`, `Which object covers the point ${point([x, y])}?`]), answer: one.name };
}

function counting(asking: Asking): ReturnType<Make> {
  const all = [...byName(asking)];
  if (!all.length) return undefined;
  const [name, { length }] = asking.draw.pick(all);
  const question = asking.draw.pick([`How many objects of the kind "${name}" are there?`, `Count what is called "${name}".`]);
  return { question, answer: String(length) };
}

/** From left to right, so that the same picture has the same answer. */
function detection(asking: Asking): ReturnType<Make> {
  const { draw, at } = asking;
  const all = [...byName(asking)];
  if (!all.length) return undefined;
  const [name, found] = draw.pick(all);
  const boxes = found.map(({ box }) => box).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const question = draw.pick([`Find every object of the kind "${name}".`, `Where are all objects called "${name}"?`]);
  return { question, answer: boxes.map(at).join(" "), ...(boxes.length === 1 && { box: boxes[0] as Box }) };
}

/** Words that fit one place alone: of regions, and of objects whose name nobody else in the picture has. */
function* places(asking: Asking): Generator<{ text: string; box: Box }> {
  yield* asking.picture.regions ?? [];
  for (const [text, [first, ...more]] of byName(asking)) if (first && !more.length) yield { text, box: first.box };
}
const anyPlace = (asking: Asking) => {
  const all = [...places(asking)];
  return all.length ? asking.draw.pick(all) : undefined;
};

/** The question of visual grounding: bootstrapping asks it too. */
export const groundingQuestion = (text: string): string => `Where is ${text}? Answer with its box.`;
/** That of a grounding caption. */
export const captionQuestion = (box: string): string => `Describe the object in ${box}.`;

function grounding(asking: Asking): ReturnType<Make> {
  const one = anyPlace(asking);
  return one && { question: groundingQuestion(one.text), answer: asking.at(one.box), box: one.box };
}
function groundingCaption(asking: Asking): ReturnType<Make> {
  const one = anyPlace(asking);
  return one && { question: captionQuestion(asking.at(one.box)), answer: one.text };
}

const TASKS = {
  relation,
  spatial,
  "point-qa": pointQa,
  counting,
  detection,
  grounding,
  "grounding-caption": groundingCaption,
} as const satisfies Readonly<Record<string, Make>>;
export type ReferentialTask = keyof typeof TASKS;
/** Visual relations, coarse places (quarters around another object), PointQA, counting, detection, visual grounding, grounding caption. */
export const REFERENTIAL_TASKS = Object.keys(TASKS) as readonly ReferentialTask[];

const OPTIONS = optionNames<ReferentialOptions>({ tasks: true, most: true, seed: true, square: true });

/**
 * Questions and answers about a picture, the same for the same picture and options; none where the annotations allow none. Throws E_VALUE on options that
 * are unknown or out of range.
 */
export function referential(picture: MarkedPicture, options: ReferentialOptions = {}): Referential[] {
  checkOptions("referential", options, OPTIONS);
  const { tasks = REFERENTIAL_TASKS, most = 2, seed = 0, square } = options;
  for (const task of tasks)
    if (!Object.hasOwn(TASKS, task)) throw expected("E_VALUE", "referential: tasks", REFERENTIAL_TASKS.join(", "), JSON.stringify(task));
  if (!(Number.isInteger(most) && most >= 1)) throw expected("E_VALUE", "referential: most", "an integer of at least 1", most);
  const objects = picture.objects.filter(({ ignore, box }) => !ignore && areaOf(box) > 0);
  return tasks.flatMap((task) => {
    const draw = new Draw(seed, `${picture.image}/${task}`);
    const at = (box: Box) => boxText(box, picture, { square });
    const point = (xy: readonly [number, number]) => pointText(xy, picture, { square });
    const made = new Map<string, Referential>();
    // A draw that allows no question is another's turn; the same question comes once.
    for (let tries = 0; tries < 4 * most && made.size < most; ++tries) {
      const one = TASKS[task]({ picture, objects, draw, at, point });
      if (one) made.set(one.question, { task, ...one });
    }
    return [...made.values()];
  });
}
