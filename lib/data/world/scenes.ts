// What can be seen, heard and felt in the tiny world. Every value has one word, which is also its name here. Some combinations of values never occur in
// training, in no medium and no stage: the held-out combinations that the demo asks about.
import type { Draw } from "../draw.js";

export const COLORS = ["red", "green", "blue", "yellow", "purple", "orange", "white", "cyan"] as const;
export const SHAPES = ["circle", "square", "triangle", "star", "cross", "ring", "heart", "moon"] as const;
export const PLACES = ["top left", "top right", "bottom left", "bottom right"] as const;
export const DIRECTIONS = ["left", "right", "up", "down"] as const;
export const PACES = ["slowly", "quickly"] as const;
export const INSTRUMENTS = ["flute", "clarinet", "trumpet", "violin", "organ", "horn", "whistle", "buzzer"] as const;
/** About a fifth apart, so that no melody hides where it began. */
export const NOTES = ["a2", "e3", "b3", "f4", "c5", "g5", "d6", "a6"] as const;
export const COUNTS = ["three", "four", "five", "six"] as const;
export const MELODIES = ["rising", "falling", "steady", "wavy"] as const;
export const ACTIVITIES = ["walking", "running", "jumping", "squatting", "nodding", "shaking", "cycling", "rowing"] as const;
export const TURNS = ["left", "right", "both ways", "nowhere"] as const;
export const SPEEDS = ["slowly", "steadily", "quickly"] as const;
export const TIMES = ["once", "twice", "thrice"] as const;

export interface Thing {
  color: (typeof COLORS)[number];
  shape: (typeof SHAPES)[number];
}
/** One or two things, more where asked for; no colour, shape or place twice, so that every question has one answer. */
export interface ImageScene {
  modality: "image";
  things: (Thing & { place: (typeof PLACES)[number] })[];
}
/** One thing that moves. */
export interface VideoScene extends Thing {
  modality: "video";
  direction: (typeof DIRECTIONS)[number];
  pace: (typeof PACES)[number];
}
/** A melody of `count` notes. */
export interface AudioScene {
  modality: "audio";
  instrument: (typeof INSTRUMENTS)[number];
  /** The first one. */
  note: (typeof NOTES)[number];
  count: (typeof COUNTS)[number];
  melody: (typeof MELODIES)[number];
}
/** Somebody with a sensor on the head does something in bouts, turning meanwhile. */
export interface ImuScene {
  modality: "imu";
  activity: (typeof ACTIVITIES)[number];
  turn: (typeof TURNS)[number];
  speed: (typeof SPEEDS)[number];
  times: (typeof TIMES)[number];
}
export type Scene = ImageScene | VideoScene | AudioScene | ImuScene;

/** One pair in eight, each value in exactly one: a Latin square. */
const held = (a: number, b: number): boolean => (3 * a + b) % 8 === 3;
export const isHeldThing = ({ color, shape }: Thing): boolean => held(SHAPES.indexOf(shape), COLORS.indexOf(color));
const isHeldSound = ({ instrument, note }: AudioScene): boolean => held(INSTRUMENTS.indexOf(instrument), NOTES.indexOf(note));
/**
 * An activity done in a way it was never met in: of the twelve ways, four turns at three speeds, each lacks one activity of eight. With turns alone an
 * activity would lack one in four, so that a turn said what is not done, and the data taught that.
 */
const isHeldMotion = ({ activity, turn, speed }: ImuScene): boolean =>
  ACTIVITIES.indexOf(activity) === (5 * (SPEEDS.length * TURNS.indexOf(turn) + SPEEDS.indexOf(speed)) + 3) % 8;

/** Does the scene hold a combination that training must not meet? */
export function isHeldOut(scene: Scene): boolean {
  if (scene.modality === "image") return scene.things.some(isHeldThing);
  if (scene.modality === "video") return isHeldThing(scene);
  return scene.modality === "audio" ? isHeldSound(scene) : isHeldMotion(scene);
}

export interface SceneOptions {
  /** Only scenes that are held out, only others, or any. */
  held?: "only" | "never" | "any";
  /** Images: how many things. */
  things?: number;
}

/** A random scene. Of a held-out image, the first thing is a held-out pair and the others are not. */
export function drawScene(modality: Scene["modality"], draw: Draw, { held = "any", things }: SceneOptions = {}): Scene {
  for (;;) {
    const scene = modality === "image" ? drawImage(draw, things ?? draw.pick([1, 2, 2]), held) : drawOther(modality, draw);
    if (held === "any" || isHeldOut(scene) === (held === "only")) return scene;
  }
}

function drawImage(draw: Draw, count: number, held: SceneOptions["held"]): ImageScene {
  const colors = draw.shuffled(COLORS);
  const shapes = draw.shuffled(SHAPES);
  const places = draw.shuffled(PLACES);
  const things = Array.from({ length: count }, (_, i) => ({ color: colors[i]!, shape: shapes[i]!, place: places[i]! }));
  const good = held === "any" || things.every((thing, i) => isHeldThing(thing) === (held === "only" && i === 0));
  return good ? { modality: "image", things } : drawImage(draw, count, held);
}

function drawOther(modality: Exclude<Scene["modality"], "image">, draw: Draw): Scene {
  switch (modality) {
    case "video":
      return { modality, color: draw.pick(COLORS), shape: draw.pick(SHAPES), direction: draw.pick(DIRECTIONS), pace: draw.pick(PACES) };
    case "audio":
      return {
        modality,
        instrument: draw.pick(INSTRUMENTS),
        note: draw.pick(NOTES),
        count: draw.pick(COUNTS),
        melody: draw.pick(MELODIES),
      };
    case "imu":
      return { modality, activity: draw.pick(ACTIVITIES), turn: draw.pick(TURNS), speed: draw.pick(SPEEDS), times: draw.pick(TIMES) };
  }
}
