// The tiny world's pictures and clips: things where and as the scene says, told apart by form and not by area.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Draw } from "../../lib/data/draw.js";
import { renderImage } from "../../lib/data/world/render-image.js";
import { renderVideo } from "../../lib/data/world/render-video.js";
import { COLORS, DIRECTIONS, drawScene, type ImageScene, PLACES, SHAPES, type VideoScene } from "../../lib/data/world/scenes.js";
import type { Pixels } from "../../lib/media/image.js";

/** A pixel of a thing: every colour has a bright channel, the ground has none. */
const isThing = ({ data }: Pixels, at: number): boolean => Math.max(data[3 * at]!, data[3 * at + 1]!, data[3 * at + 2]!) > 110;

interface Found {
  area: number;
  x: number;
  y: number;
  rgb: number[];
  box: [number, number, number, number];
}
/** What there is of things in a part of the frame. */
function find(pixels: Pixels, left = 0, top = 0, width = pixels.width, height = pixels.height): Found {
  let [area, x, y] = [0, 0, 0];
  const rgb = [0, 0, 0];
  const box: Found["box"] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let row = top; row < top + height; ++row)
    for (let column = left; column < left + width; ++column) {
      const at = row * pixels.width + column;
      if (!isThing(pixels, at)) continue;
      ++area;
      x += column + 0.5;
      y += row + 0.5;
      for (let c = 0; c < 3; ++c) rgb[c]! += pixels.data[3 * at + c]!;
      box[0] = Math.min(box[0], column);
      box[1] = Math.min(box[1], row);
      box[2] = Math.max(box[2], column);
      box[3] = Math.max(box[3], row);
    }
  return { area, x: x / area, y: y / area, rgb: rgb.map((v) => v / area), box };
}

const imageOf = (things: ImageScene["things"], draw: Draw) => renderImage({ modality: "image", things }, draw);
const anyImage = (draw: Draw, things: number): ImageScene => drawScene("image", draw, { things }) as ImageScene;
const anyVideo = (draw: Draw): VideoScene => drawScene("video", draw) as VideoScene;

test("the same draws give the same pixels, others do not", () => {
  const render = (seed: number) => {
    const draw = new Draw(seed, "picture");
    return renderImage(anyImage(new Draw(1), 2), draw).data;
  };
  assert.equal(render(1), render(1));
  assert.not.equal(render(1), render(2));
  const clip = (seed: number) => renderVideo(anyVideo(new Draw(1)), new Draw(seed)).frames.map(({ data }) => data);
  assert.equal(clip(1), clip(1));
  assert.not.equal(clip(1), clip(2));
});

test("several things: each within its cell, nothing where nothing is", () => {
  for (let i = 0; i < 300; ++i) {
    const draw = new Draw(i, "cells");
    const scene = anyImage(draw, 2 + (i % 2));
    const pixels = renderImage(scene, draw);
    for (const [p, place] of PLACES.entries()) {
      const [left, top] = [32 * (p % 2), 32 * Math.floor(p / 2)];
      const { area, box } = find(pixels, left, top, 32, 32);
      if (!scene.things.some((thing) => thing.place === place)) assert.is(area, 0, `${i}: something at the ${place}`);
      else {
        assert.ok(area > 130 && area < 310, `${i}: an area of ${area}`);
        assert.ok(
          box[0] > left && box[1] > top && box[2] < left + 31 && box[3] < top + 31,
          `${i}: ${box} leaves the cell at ${left}, ${top}`,
        );
      }
    }
  }
});

test("one thing: its centre in its cell, all of it in the frame", () => {
  for (let i = 0; i < 300; ++i) {
    const draw = new Draw(i, "alone");
    const scene = anyImage(draw, 1);
    const { x, y, box } = find(renderImage(scene, draw));
    const { place } = scene.things[0]!;
    assert.is(`${y < 32 ? "top" : "bottom"} ${x < 32 ? "left" : "right"}`, place);
    assert.ok(Math.abs(x - 32) > 5 && Math.abs(y - 32) > 5, `${i}: the centre at ${x}, ${y}`);
    assert.ok(box[0] > 0 && box[1] > 0 && box[2] < 63 && box[3] < 63, `${i}: ${box}`);
  }
});

/** For each value a list of what `measure` says of many pictures with it. */
const sampled = <V extends string, T>(values: readonly V[], count: number, measure: (value: V, draw: Draw) => T): T[][] =>
  values.map((value) => Array.from({ length: count }, (_, i) => measure(value, new Draw(i, value))));
const mean = (rows: readonly (readonly number[])[]): number[] =>
  rows[0]!.map((_, c) => rows.reduce((sum, row) => sum + row[c]!, 0) / rows.length);
const distance = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, v, i) => sum + (v - b[i]!) ** 2, 0);
/** How many of the second half lie nearest to the mean of their own first half. */
function nearestMean(classes: readonly (readonly number[])[][]): number {
  const half = classes[0]!.length / 2;
  const means = classes.map((rows) => mean(rows.slice(0, half)));
  const right = classes.map((rows, c) =>
    rows.slice(half).filter((row) => means.every((m, other) => other === c || distance(row, m) > distance(row, means[c]!))),
  );
  return right.flat().length / (half * classes.length);
}

test("colours lie nearest to their own", () => {
  const colors = sampled(
    COLORS,
    80,
    (color, draw) => find(imageOf([{ color, shape: draw.pick(SHAPES), place: draw.pick(PLACES) }], draw)).rgb,
  );
  assert.ok(nearestMean(colors) === 1, `${nearestMean(colors)}`);
});

test("shapes are told apart by their form and not by their area", () => {
  const drawn = sampled(SHAPES, 80, (shape, draw) => {
    const pixels = imageOf([{ color: draw.pick(COLORS), shape, place: draw.pick(PLACES) }], draw);
    const { x, y, area } = find(pixels);
    // The same size and place for all: 12 × 12 samples around the centre.
    const step = Math.sqrt(area) / 7;
    const form = Array.from({ length: 144 }, (_, i) => {
      const [column, row] = [Math.floor(x + step * ((i % 12) - 5.5)), Math.floor(y + step * (Math.floor(i / 12) - 5.5))];
      const inside = column >= 0 && row >= 0 && column < 64 && row < 64;
      return inside && isThing(pixels, 64 * row + column) ? 1 : 0;
    });
    return { form, area };
  });
  const byForm = nearestMean(drawn.map((list) => list.map(({ form }) => form)));
  const byArea = nearestMean(drawn.map((list) => list.map(({ area }) => [area])));
  assert.ok(byForm > 0.97, `by form ${byForm}`);
  assert.ok(byArea < 0.3, `by area ${byArea}`);
  const areas = drawn.map((list) => list.reduce((sum, { area }) => sum + area, 0) / list.length);
  assert.ok(Math.max(...areas) / Math.min(...areas) < 1.2, `areas ${areas.map(Math.round)}`);
});

test("a thing moves straight in its direction, as far as its pace says, and stays in the frame", () => {
  for (let i = 0; i < 120; ++i) {
    const draw = new Draw(i, "way");
    const scene = anyVideo(draw);
    const { frames, fps } = renderVideo(scene, draw);
    assert.equal([frames.length, fps], [8, 8]);
    const found = frames.map((frame) => find(frame));
    for (const { box } of found) assert.ok(box[0] >= 0 && box[1] >= 0 && box[2] < 64 && box[3] < 64 && box.every(Number.isFinite));
    const [first, last] = [found[0]!, found.at(-1)!];
    const [dx, dy] = [last.x - first.x, last.y - first.y];
    const horizontal = Math.abs(dx) > Math.abs(dy);
    assert.is(horizontal ? (dx > 0 ? "right" : "left") : dy > 0 ? "down" : "up", scene.direction);
    assert.ok(Math.abs(horizontal ? dy : dx) < 0.7, `${i}: drifts`);
    const way = Math.abs(horizontal ? dx : dy);
    assert.ok(scene.pace === "slowly" ? way > 9 && way < 15 : way > 27 && way < 35, `${i}: ${way} pixels ${scene.pace}`);
    const areas = found.map(({ area }) => area);
    assert.ok(Math.max(...areas) < 1.15 * Math.min(...areas), `${i}: areas ${areas}`);
  }
});

test("where a slow thing starts does not say where it goes", () => {
  const starts = sampled(DIRECTIONS, 80, (direction, draw) => {
    const scene: VideoScene = { modality: "video", color: draw.pick(COLORS), shape: draw.pick(SHAPES), direction, pace: "slowly" };
    const { x, y } = find(renderVideo(scene, draw).frames[0]!);
    return [x, y];
  });
  assert.ok(nearestMean(starts) < 0.6, `${nearestMean(starts)}`);
});

test.run();
