// The tiny world in words: a caption, other ways to say the same, and what can be asked. A question has one short answer, and every question
// of a kind has many possible answers, so that guessing does not help.
import type { Draw } from "../draw.js";
import { type AudioScene, COUNTS, type ImageScene, type ImuScene, PLACES, type Scene, type Thing, type VideoScene } from "./scenes.js";

export interface Question {
  /** What is asked for, e.g. "color" or "note". */
  kind: string;
  question: string;
  answer: string;
}

/** Ways to ask for the caption. */
export const WORLD_PROMPTS: Readonly<Record<Scene["modality"], readonly string[]>> = {
  image: ["describe the image.", "what is in the image?", "what do you see?"],
  video: ["describe the video.", "what happens in the video?", "what do you see moving?"],
  audio: ["describe the sound.", "what do you hear?", "what is played?"],
  imu: ["describe the motion.", "what does the person do?", "how does the person move?"],
};

const named = ({ color, shape }: Thing): string => `a ${color} ${shape}`;
const listed = (parts: readonly string[]): string => parts.join(" and ");
const joined = (...words: (string | false)[]): string => words.filter(Boolean).join(" ");

/**
 * One sentence, always in the same order of words; things in reading order. With `only`, a sentence that tells no more than the attributes
 * named there ("a person turning left.").
 */
export function caption(scene: Scene, only?: ReadonlySet<string>): string {
  const told = (attribute: string) => !only || only.has(attribute);
  const tell = (attribute: string, words: string) => told(attribute) && words;
  switch (scene.modality) {
    case "image":
      return `${listed(
        inReadingOrder(scene).map(({ color, shape, place }) =>
          joined("a", tell("color", color), told("shape") ? shape : "thing", tell("place", `at the ${place}`)),
        ),
      )}.`;
    case "video": {
      const { color, shape, direction, pace } = scene;
      const thing = joined("a", tell("color", color), told("shape") ? shape : "thing");
      return `${joined(thing, "moving", tell("direction", direction), tell("pace", pace))}.`;
    }
    case "audio": {
      const { instrument, note, count, melody } = scene;
      const notes = joined(tell("count", count), tell("melody", melody), "notes", tell("note", `from ${note}`));
      return `a ${told("instrument") ? instrument : "sound"} playing ${notes}.`;
    }
    case "imu": {
      const { activity, turn, speed, times } = scene;
      const motion = joined("a person", told("activity") ? activity : "moving", tell("speed", speed));
      return `${[motion, tell("turn", `turning ${turn}`), tell("times", times)].filter(Boolean).join(", ")}.`;
    }
  }
}

const inReadingOrder = ({ things }: ImageScene) => [...things].sort((a, b) => PLACES.indexOf(a.place) - PLACES.indexOf(b.place));

/** The scene in one of several forms: what stands in a text where a medium stands later. `plain`: the share of captions. */
export function description(scene: Scene, draw: Draw, plain = 0.5): string {
  if (draw.chance(plain)) return caption(scene);
  const forms = FORMS[scene.modality] as readonly ((scene: Scene, draw: Draw) => string)[];
  return draw.pick(forms)(scene, draw);
}

const facts = (draw: Draw, sentences: readonly string[]): string => draw.shuffled(sentences).join(" ");
type Form<S> = (scene: S, draw: Draw) => string;
const IMAGE_FORMS: readonly Form<ImageScene>[] = [
  (scene) =>
    `${inReadingOrder(scene)
      .map(({ color, shape, place }) => `${place}: ${color} ${shape}`)
      .join("; ")}.`,
  (scene) =>
    inReadingOrder(scene)
      .map((thing) => `${named(thing)} is at the ${thing.place}.`)
      .join(" "),
];
const VIDEO_FORMS: readonly Form<VideoScene>[] = [
  ({ color, shape, direction, pace }, draw) =>
    facts(draw, [`the ${shape} is ${color}.`, `the ${shape} moves ${direction}.`, `the ${shape} moves ${pace}.`]),
  ({ color, shape, direction, pace }) => `moving ${pace} ${direction}: a ${color} ${shape}.`,
];
const AUDIO_FORMS: readonly Form<AudioScene>[] = [
  ({ instrument, note, count, melody }, draw) =>
    facts(draw, [`a ${instrument} plays.`, `the first note is ${note}.`, `there are ${count} notes.`, `the notes are ${melody}.`]),
  ({ instrument, note, count, melody }) => `${count} notes, ${melody}, from ${note}, ${instrument}.`,
];
const IMU_FORMS: readonly Form<ImuScene>[] = [
  ({ activity, turn, speed, times }, draw) =>
    facts(draw, [`the person is ${activity}.`, `the person is turning ${turn}.`, `it goes ${speed}.`, `it happens ${times}.`]),
  ({ activity, turn, speed, times }) => `${times}, ${speed}, turning ${turn}: ${activity}.`,
];
const FORMS = { image: IMAGE_FORMS, video: VIDEO_FORMS, audio: AUDIO_FORMS, imu: IMU_FORMS } as const;

export interface QuestionOptions {
  /** Of an image that is held out: only questions about its first thing, which is the held-out pair. */
  heldOnly?: boolean;
}

/** All that can be asked of a scene, each in one of its phrasings. */
export function questions(scene: Scene, draw: Draw, { heldOnly = false }: QuestionOptions = {}): Question[] {
  const ask = (kind: string, answer: string, ...phrasings: string[]): Question => ({ kind, question: draw.pick(phrasings), answer });
  switch (scene.modality) {
    case "image":
      return imageQuestions(scene, ask, heldOnly);
    case "video":
      return [
        ask("color", scene.color, `what color is the ${scene.shape}?`, "what color is the moving thing?"),
        ask("shape", scene.shape, `what shape is the ${scene.color} thing?`, "what shape is the moving thing?"),
        ask("direction", scene.direction, `which way does the ${scene.shape} move?`, "in which direction does it move?"),
        ask("pace", scene.pace, `how fast does the ${scene.shape} move?`, "how fast does it move?"),
      ];
    case "audio":
      return [
        ask("instrument", scene.instrument, "which instrument plays?", "what instrument is it?"),
        ask("note", scene.note, "which note comes first?", "on which note does it start?"),
        ask("count", scene.count, "how many notes are there?", "how many notes are played?"),
        ask("melody", scene.melody, "how do the notes go?", "what kind of melody is it?"),
      ];
    case "imu":
      return [
        ask("activity", scene.activity, "what is the person doing?", "which activity is it?"),
        ask("turn", scene.turn, "which way does the person turn?", "where does the person turn?"),
        ask("speed", scene.speed, "how quick is the person?", "at what speed does it happen?"),
        ask("times", scene.times, "how often does it happen?", "how many times does it happen?"),
      ];
  }
}

type Ask = (kind: string, answer: string, ...phrasings: string[]) => Question;
type Placed = ImageScene["things"][number];

const row = ({ place }: Placed) => (place.startsWith("top") ? 0 : 1);
const column = ({ place }: Placed) => (place.endsWith("left") ? 0 : 1);
/** word: is a `word` b? */
const RELATIONS: readonly [string, (a: Placed, b: Placed) => boolean][] = [
  ["left of", (a, b) => column(a) < column(b)],
  ["right of", (a, b) => column(a) > column(b)],
  ["above", (a, b) => row(a) < row(b)],
  ["below", (a, b) => row(a) > row(b)],
];

function imageQuestions({ things }: ImageScene, ask: Ask, heldOnly: boolean): Question[] {
  const subjects = heldOnly ? things.slice(0, 1) : things;
  const all = subjects.flatMap((thing) => {
    const { color, shape, place } = thing;
    // Alone in its picture a thing is asked for by any of its attributes; among others by its place, or by where it stands from another.
    const alone = things.length === 1;
    return [
      ask("color", color, `what color is the thing at the ${place}?`, ...(alone ? [`what color is the ${shape}?`] : [])),
      ask("shape", shape, `what shape is the thing at the ${place}?`, ...(alone ? [`what shape is the ${color} thing?`] : [])),
      ask("thing", named(thing), `what is at the ${place}?`),
      ...(alone ? [ask("place", place, `where is the ${shape}?`, `where is the ${color} thing?`)] : []),
      ...relationsOf(thing, things).map(([word, other]) => ask("relation", named(thing), `what is ${word} the ${other.shape}?`)),
    ];
  });
  if (heldOnly) return all;
  return [...all, ask("number", COUNT_WORDS[things.length - 1] as string, "how many things are there?")];
}
const COUNT_WORDS = ["one", "two", ...COUNTS];

/** Relations that lead from another thing to this one and to no other. */
function relationsOf(thing: Placed, things: readonly Placed[]): [string, Placed][] {
  return RELATIONS.flatMap(([word, holds]) =>
    things
      .filter((other) => other !== thing && holds(thing, other) && things.filter((t) => holds(t, other)).length === 1)
      .map((other): [string, Placed] => [word, other]),
  );
}

export interface DialogueOptions {
  /** Questions after the context. Default 5. */
  turns?: number;
  /** The share of contexts in the caption's own form. */
  plain?: number;
}
export interface Utterance {
  role: "user" | "assistant";
  content: string;
}

/** A conversation about described scenes (of different modalities): the context stands before or after the first question. */
export function dialogue(scenes: readonly Scene[], draw: Draw, { turns = 5, plain = 0.5 }: DialogueOptions = {}): Utterance[] {
  const context = scenes.map((scene) => description(scene, draw, plain)).join(" ");
  const asked = draw.shuffled(scenes.flatMap((scene) => [...questions(scene, draw), captionQuestion(scene, draw)])).slice(0, turns);
  return asked.flatMap(({ question, answer }, i): Utterance[] => [
    { role: "user", content: i > 0 ? question : draw.chance(0.6) ? `${question} ${context}` : `${context} ${question}` },
    { role: "assistant", content: answer },
  ]);
}

/** A text and the same once more: what reading begins with. */
export function repetition(scenes: readonly Scene[], draw: Draw): Utterance[] {
  const text = scenes.map((scene) => description(scene, draw, 0.4)).join(" ");
  return [
    { role: "user", content: `repeat this. ${text}` },
    { role: "assistant", content: text },
  ];
}

function captionQuestion(scene: Scene, draw: Draw): Question {
  return { kind: "caption", question: draw.pick(WORLD_PROMPTS[scene.modality]), answer: caption(scene) };
}
