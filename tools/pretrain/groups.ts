// Batches of scenes that differ from a neighbour in one attribute only. With random batches an encoder tells scenes apart by what is easiest
// (colour, place) and never learns the rest: such negatives are what makes it look at each attribute in turn.
import type { Draw } from "../../lib/data/draw.js";
import { caption } from "../../lib/data/world/language.js";
import {
  ACTIVITIES,
  COLORS,
  COUNTS,
  drawScene,
  type ImageScene,
  INSTRUMENTS,
  isHeldOut,
  MELODIES,
  NOTES,
  PLACES,
  type Scene,
  SHAPES,
  SPEEDS,
  TIMES,
  TURNS,
} from "../../lib/data/world/scenes.js";

type Values = Readonly<Record<string, readonly string[]>>;
/** What can be varied in a scene. Of an image: in its first thing. */
const ATTRIBUTES: Readonly<Record<"image" | "audio" | "imu", Values>> = {
  image: { shape: SHAPES, color: COLORS, place: PLACES },
  audio: { instrument: INSTRUMENTS, note: NOTES, count: COUNTS, melody: MELODIES },
  imu: { activity: ACTIVITIES, turn: TURNS, speed: SPEEDS, times: TIMES },
};
export type Encodable = keyof typeof ATTRIBUTES;
export const attributesOf = (modality: Encodable): string[] => Object.keys(ATTRIBUTES[modality]);

/**
 * What is held out together is told together: a caption that names one of them alone would be wrong for every scene with the others, and teach that
 * they never meet.
 */
const TOGETHER: readonly (readonly string[])[] = [
  ["activity", "turn", "speed"],
  ["instrument", "note"],
];
const toldWith = (attributes: readonly string[]): Set<string> =>
  new Set(attributes.flatMap((name) => TOGETHER.find((all) => all.includes(name)) ?? name));

const valueIn = (scene: Scene, attribute: string): string =>
  String((scene.modality === "image" ? scene.things[0]! : scene)[attribute as never]);

/** The scene with each value of an attribute, itself among them; values that another thing of the picture has are left out. */
export function variants(scene: Scene, attribute: string): Scene[] {
  const values = ATTRIBUTES[scene.modality as Encodable][attribute] as readonly string[];
  if (scene.modality !== "image") return values.map((value) => ({ ...scene, [attribute]: value }) as Scene);
  const [first, ...others] = scene.things;
  const taken = new Set(others.map((thing) => thing[attribute as keyof typeof thing] as string));
  return values
    .filter((value) => !taken.has(value))
    .map((value) => ({ modality: "image", things: [{ ...first, [attribute]: value }, ...others] }) as ImageScene);
}

/** The same words, otherwise bound: colours, or places, of the first two things exchanged. */
function exchanged(scene: ImageScene): Scene[] {
  const [a, b, ...rest] = scene.things;
  if (!a || !b) return [];
  return [
    { modality: "image", things: [{ ...a, color: b.color }, { ...b, color: a.color }, ...rest] },
    { modality: "image", things: [{ ...a, place: b.place }, { ...b, place: a.place }, ...rest] },
  ];
}

/**
 * Scenes and captions. Of sounds and recordings about half of the batches tell some of the attributes only, the same for all, so that no caption
 * fits two scenes: what is learned of one attribute then does not lean on what it came with in training. Pictures of two things need it not, and
 * without places the order of their words would say something that the words do not.
 */
export function pairedScenes(
  modality: Encodable,
  size: number,
  draw: Draw,
  things?: readonly number[],
): { scenes: Scene[]; captions: string[] } {
  const attributes = draw.shuffled(attributesOf(modality));
  const told = modality === "image" || draw.chance(0.5) ? attributes.length : 1 + draw.below(attributes.length - 1);
  if (told === attributes.length) {
    const scenes = groupedScenes(modality, size, draw, things);
    return { scenes, captions: scenes.map((scene) => caption(scene)) };
  }
  const only = toldWith(attributes.slice(0, told));
  const pairs = new Map<string, Scene>();
  // The scenes of a few attributes may be fewer than `size`; enough tries find nearly all.
  for (let tries = 0; pairs.size < size && tries < 4 * size; ++tries) {
    const scene = drawScene(modality, draw, { held: "never" });
    pairs.set(caption(scene, only), scene);
  }
  return { scenes: [...pairs.values()], captions: [...pairs.keys()] };
}

/** `size` scenes with captions of their own, no held-out combination among them. */
export function groupedScenes(modality: Encodable, size: number, draw: Draw, things: readonly number[] = [1, 2, 2]): Scene[] {
  const scenes = new Map<string, Scene>();
  // What has few values makes few differences, and is learned last: it comes twice as often.
  const attributes = [...attributesOf(modality), ...({ image: ["place"], audio: ["count", "melody"], imu: [] }[modality] ?? [])];
  for (let turn = draw.below(attributes.length); scenes.size < size; ++turn) {
    const scene = drawScene(modality, draw, { held: "never", things: draw.pick(things) });
    const group = [...variants(scene, attributes[turn % attributes.length]!), ...(scene.modality === "image" ? exchanged(scene) : [])];
    for (const one of draw.shuffled(group)) if (scenes.size < size && !isHeldOut(one)) scenes.set(caption(one), one);
  }
  return [...scenes.values()];
}

/** Captions of every value of an attribute and which of them is true: a question to an encoder's two towers. */
export function choices(scene: Scene, attribute: string): { captions: string[]; right: number } {
  const list = variants(scene, attribute);
  const right = list.findIndex((one) => valueIn(one, attribute) === valueIn(scene, attribute));
  return { captions: list.map((one) => caption(one)), right };
}
