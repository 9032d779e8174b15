// What is asked of the tiny world has one answer, which the description gives; what is held out never comes when it must not.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Draw } from "../../lib/data/draw.js";
import { caption, description, dialogue, questions, WORLD_PROMPTS } from "../../lib/data/world/language.js";
import { drawScene, type ImageScene, isHeldOut, isHeldThing, type Scene } from "../../lib/data/world/scenes.js";

const MODALITIES = ["image", "video", "audio", "imu"] as const;
function* scenes(count: number, label: string, options = {}): Generator<Scene> {
  const draw = new Draw(3, label);
  for (let i = 0; i < count; ++i) yield drawScene(MODALITIES[i % 4]!, draw, { things: 1 + (i % 3), ...options });
}

/** An answer worked out from the caption's text alone: an independent reading of the question. */
function answersFromCaption(text: string, question: string): string[] {
  const things = [...text.matchAll(/a (\w+) (\w+) at the (\w+) (\w+)/g)].map(([, color, shape, row, column]) => ({
    color,
    shape,
    row,
    column,
  }));
  const name = (t: (typeof things)[number]) => `a ${t.color} ${t.shape}`;
  const at = question.match(/at the (\w+) (\w+)\?$/);
  const here = things.filter((t) => t.row === at?.[1] && t.column === at?.[2]);
  const named = question.match(/the (\w+)( thing)?\?/)?.[1];
  const about = things.filter((t) => t.shape === named || t.color === named);
  const relation = question.match(/^what is (left of|right of|above|below) the/)?.[1];
  if (relation) {
    const [side, from] = {
      "left of": ["left", "right"],
      "right of": ["right", "left"],
      above: ["top", "bottom"],
      below: ["bottom", "top"],
    }[relation] as [string, string];
    const stands = (t: (typeof things)[number], where: string) => t.row === where || t.column === where;
    return about.some((other) => stands(other, from)) ? things.filter((t) => stands(t, side)).map(name) : [];
  }
  if (question.startsWith("what is at")) return here.map(name);
  if (question.startsWith("what color")) return (at ? here : about).map((t) => t.color!);
  if (question.startsWith("what shape")) return (at ? here : about).map((t) => t.shape!);
  if (question.startsWith("where is")) return about.map((t) => `${t.row} ${t.column}`);
  return [["one", "two", "three"][things.length - 1]!];
}

test("every question about a picture has exactly one answer, and it is the one given", () => {
  const draw = new Draw(8, "questions");
  for (const scene of scenes(2000, "pictures")) {
    if (scene.modality !== "image") continue;
    for (const { question, answer } of questions(scene, draw))
      assert.equal(answersFromCaption(caption(scene), question), [answer], question);
  }
});

test("every form of description names every value, so a reader can answer", () => {
  const draw = new Draw(9, "forms");
  for (const scene of scenes(1200, "forms")) {
    const text = description(scene, draw, 0);
    const values =
      scene.modality === "image" ? scene.things.flatMap((t) => Object.values(t)) : Object.values(scene).filter((v) => v !== scene.modality);
    for (const value of values) assert.ok(text.includes(value), `${value} in "${text}"`);
  }
});

test("held-out combinations come only when asked for", () => {
  for (const scene of scenes(2000, "never", { held: "never" })) assert.not.ok(isHeldOut(scene), caption(scene));
  for (const scene of scenes(2000, "only", { held: "only" })) {
    assert.ok(isHeldOut(scene));
    if (scene.modality === "image") assert.equal(scene.things.map(isHeldThing), [true, ...scene.things.slice(1).map(() => false)]);
  }
});

test("each value takes part in held-out and in other combinations", () => {
  const seen = { only: new Set<string>(), never: new Set<string>() };
  for (const held of ["only", "never"] as const)
    for (const scene of scenes(6000, held, { held, things: 1 })) {
      const values = scene.modality === "image" ? Object.values(scene.things[0]!) : Object.values(scene);
      for (const value of values) seen[held].add(`${scene.modality} ${value}`);
    }
  assert.equal([...seen.only].sort(), [...seen.never].sort());
});

test("questions about a held-out picture are about its held-out thing", () => {
  const draw = new Draw(5, "held");
  for (const scene of scenes(800, "about", { held: "only" })) {
    if (scene.modality !== "image") continue;
    const { color, shape, place } = (scene as ImageScene).things[0]!;
    for (const { question, answer } of questions(scene, draw, { heldOnly: true })) {
      const about = `${question} ${answer}`;
      assert.ok(
        [color, shape, place, `${color} ${shape}`].some((word) => about.includes(word)),
        about,
      );
      assert.ok([color, shape, place, `a ${color} ${shape}`].includes(answer), about);
    }
  }
});

test("a dialogue begins with its context beside the first question, and answers are what the scenes say", () => {
  const draw = new Draw(6, "dialogue");
  for (const scene of scenes(400, "dialogue")) {
    const turns = dialogue([scene], draw, { turns: 4, plain: 1 });
    assert.is(turns.length % 2, 0);
    assert.ok(turns[0]!.content.includes(caption(scene)));
    for (let i = 2; i < turns.length; i += 2) assert.not.ok(turns[i]!.content.includes(caption(scene)));
    assert.equal(
      turns.map(({ role }) => role),
      turns.map((_, i) => (i % 2 ? "assistant" : "user")),
    );
    for (const [i, { content }] of turns.entries())
      if (WORLD_PROMPTS[scene.modality].some((prompt) => turns[i - 1]?.content.startsWith(prompt))) assert.is(content, caption(scene));
  }
});

test("the same seed and label draw the same, another label something else", () => {
  const row = (label: string, seed = 1) =>
    Array.from(
      { length: 5 },
      (
        (d) => () =>
          d.uniform()
      )(new Draw(seed, label)),
    );
  assert.equal(row("a"), row("a"));
  assert.not.equal(row("a"), row("b"));
  assert.not.equal(row("a"), row("a", 2));
});

test.run();
