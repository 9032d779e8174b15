// What does not fit a CLAP audio tower: configurations and inputs, each refused by what is wrong with it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { ClapAudioModel } from "../../lib/models/clap-audio.js";
import { clapAudioJson, parseClapAudioConfig } from "../../lib/models/clap-config.js";
import { ConfigError } from "../../lib/models/config.js";
import { drawn, TINY, throws, tiny } from "./tiny-clap.js";

test("a configuration that does not fit says which number", () => {
  const wrong: [object, string][] = [
    [{ model_type: "clip" }, "model_type"],
    [{ model_type: "clap" }, "audio_config"],
    [{ spec_size: 20 }, "spec_size"],
    [{ num_attention_heads: [2] }, "num_attention_heads"],
    [{ num_attention_heads: [2, 3] }, "num_attention_heads"],
    [{ hidden_size: 16 }, "hidden_size"],
    [{ window_size: 5 }, "window_size"],
    [{ depths: [2, 1, 1, 1], num_attention_heads: [1, 1, 1, 1], hidden_size: 32 }, "window_size"],
    [{ spec_size: 24, depths: [1, 1, 1, 1], num_attention_heads: [1, 1, 1, 1], hidden_size: 32, window_size: 1 }, "spec_size"],
    [{ spec_size: 32, depths: [1, 1, 1, 1], num_attention_heads: [1, 1, 1, 1], hidden_size: 32, window_size: 2 }, "spec_size"],
    [{ patch_size: 1 }, "patch_size"],
    [{ enable_fusion: true, fusion_type: "channel_map" }, "fusion_type"],
    [{ hidden_act: "mish" }, "hidden_act"],
    [{ depths: [] }, "depths"],
    [{ qkv_bias: "yes" }, "qkv_bias"],
  ];
  for (const [changes, key] of wrong)
    assert.throws(
      () => parseClapAudioConfig({ ...TINY, ...changes }),
      (error: Error) => error instanceof ConfigError && error.key === key,
      `${JSON.stringify(changes)} is not about ${key}`,
    );
  assert.equal(parseClapAudioConfig(clapAudioJson(parseClapAudioConfig(TINY))), parseClapAudioConfig(TINY));
});

test("an input that does not fit says what would", () => {
  using plain = tiny();
  using fused = tiny({ enable_fusion: true });
  using dropping = tiny({ drop_path_rate: 0.1 });
  const shapes: [ClapAudioModel, number[], object, RegExp][] = [
    [plain, [1, 1, 33, 8], {}, /T from 1 to 32/],
    [plain, [1, 4, 20, 8], {}, /\(N,1,T,8\)/],
    [plain, [1, 1, 20, 9], {}, /\(N,1,T,8\)/],
    [fused, [2, 4, 20, 8], { isLonger: [true] }, /isLonger of 2/],
    [fused, [1, 1, 20, 8], { isLonger: [true] }, /fusion/],
  ];
  for (const [model, shape, options, words] of shapes) {
    using x = drawn(shape, 1);
    throws(() => model.forward(x, options), "E_SHAPE", words);
  }
  using x = drawn([1, 1, 20, 8], 1);
  throws(() => dropping.train().forward(x), "E_CONFIG", /drop_path_rate/);
});

test.run();
