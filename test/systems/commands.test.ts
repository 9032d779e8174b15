// What a system adds to a decoded token, in commands of the recorded step: docs/systems.md says it in words.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { AssembleOptions } from "../../lib/anymal/options.js";
import { blink, square, type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { recordedCommands } from "../recorded.js";

const test = suite("commands of a token");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

async function commandsOf(system: string, medium: "image" | "video", more: Partial<AssembleOptions> = {}): Promise<[number, number]> {
  const modalities = {
    [medium]: { encoder: world.clip, ...(medium === "video" && { frames: 2, projector: { type: "clip-pool", temporal: 3 } as const }) },
  };
  using model = await AnyMAL.assemble({
    llm: world.llm,
    device: here,
    system,
    quantization: "none",
    prompt: { system: "" },
    modalities,
    ...more,
  });
  const prompt = ["see ", medium === "video" ? blink("red", "blue") : square("red")];
  // A token that is kept out makes all of them choose in one way: Flamingo keeps out its own.
  const recorded = await recordedCommands(here, () =>
    model.generateAll([prompt], { maxNewTokens: 3, eosTokenId: [], suppressTokens: [0] }),
  );
  assert.is(recorded.length, 1, "one step is recorded for all tokens");
  return [recorded[0] as number, model.llm.config.layers];
}

test("rows between the text's cost a token nothing", async () => {
  const [plain] = await commandsOf("llava", "image");
  assert.is((await commandsOf("video-chatgpt", "video"))[0], plain);
});

test("Pink: two linear layers with their biases and a sum in each layer", async () => {
  const [plain] = await commandsOf("llava", "image");
  for (const hidden of [2, 8]) {
    const [own, layers] = await commandsOf("pink", "image", { adapters: { pink: { hidden } } });
    assert.is(own - plain, 3 * layers, `${hidden}`);
  }
});

test("Otter: as many as Flamingo, five for attention and four for the feed-forward of each gated layer", async () => {
  const [plain] = await commandsOf("llava", "image");
  for (const every of [1, 2]) {
    const adapters = { "gated-cross-attention": { every, heads: 2, dimHead: 4 } };
    const [own, layers] = await commandsOf("otter", "image", { adapters });
    assert.is(own - plain, 9 * Math.floor(layers / every));
    assert.is((await commandsOf("flamingo", "image", { adapters }))[0], own);
  }
});

test.run();
