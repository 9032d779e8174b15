// Rates and decay of their own for some of what trains: each parameter is in one group, the first that speaks of it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Tensor } from "../../lib/core/tensor.js";
import { checkGroups, groupsOf } from "../../lib/train/rates.js";
import { here } from "../case.js";

const NAMES = ["projectors.image.linear_1.weight", "projectors.image.linear_1.bias", "projectors.image.linear_2.weight", "base_model.model.q_proj.lora_A.weight", "llm.model.norm.weight"]; // biome-ignore format: a list
const parameters = () =>
  NAMES.map((name) => [name, Tensor.zeros(/norm|bias/.test(name) ? [2] : [2, 2], { device: here, dtype: "f32" })] as const);

test("each parameter goes by the first group that speaks of it, and by the stage's own where none does", () => {
  const all = parameters();
  const groups = [
    { names: "projectors.image.linear_1.*", learningRate: 1e-5, weightDecay: 0 },
    { names: ["projectors.*", "llm.*"], weightDecay: 0.5 },
    { names: "adapters.default.*", learningRate: 4e-4 },
  ];
  checkGroups(groups, all, "instruct");
  const made = groupsOf(groups, 2e-4)(all, 0.1);
  const of = (name: string) => {
    const own = made.filter((group) => [...group.parameters].some(([key]) => key === name));
    assert.is(own.length, 1, `${name} is in ${own.length} groups`);
    return [own[0]!.lrScale ?? 1, own[0]!.weightDecay];
  };
  const want = [[0.05, 0], [0.05, 0], [1, 0.5], [2, 0.1], [1, 0]]; // biome-ignore format: as NAMES
  for (const [i, name] of NAMES.entries())
    for (const [k, value] of of(name).entries()) assert.ok(Math.abs(value! - want[i]![k]!) < 1e-12, `${name}: ${of(name)}`);
  const shadowed = [...groups, { names: "projectors.image.linear_2.*" }];
  assert.throws(() => checkGroups(shadowed, all, "instruct"), /instruct\.groups\.3\.names/, "what another has already");
  for (const [, tensor] of all) tensor.dispose();
});

test.run();
