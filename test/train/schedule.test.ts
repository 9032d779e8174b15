import { test } from "uvu";
import * as assert from "uvu/assert";
import { constant, cosine, linear, polynomial, type Schedule } from "../../lib/train/schedule.js";
import { Case, caseNames } from "../case.js";

interface Recorded {
  name: string;
  lr: number;
  warmup: number;
  total: number;
  kwargs: { num_cycles?: number; lr_end?: number; power?: number; min_lr?: number; min_lr_rate?: number };
  lr_at_step: number[];
}

function scheduleOf({ name, lr, warmup: warmupSteps, total: totalSteps, kwargs }: Recorded): Schedule {
  switch (name) {
    case "constant_with_warmup":
      return constant({ warmupSteps });
    case "linear":
      return linear({ warmupSteps, totalSteps });
    case "cosine":
      return cosine({ warmupSteps, totalSteps, cycles: kwargs.num_cycles ?? 0.5 });
    case "cosine_with_min_lr":
      return cosine({ warmupSteps, totalSteps, cycles: kwargs.num_cycles ?? 0.5, floor: kwargs.min_lr_rate ?? kwargs.min_lr! / lr });
    case "polynomial":
      return polynomial({ warmupSteps, totalSteps, power: kwargs.power ?? 1, end: (kwargs.lr_end ?? 1e-7) / lr });
    default:
      throw new Error(`no schedule for ${name}`);
  }
}

for (const name of caseNames(/^optim_schedules/)) {
  for (const recorded of new Case(name).info.subcases as Recorded[]) {
    test(`${name}: ${recorded.name}, warm-up ${recorded.warmup}, ${JSON.stringify(recorded.kwargs)}`, () => {
      const schedule = scheduleOf(recorded);
      for (const [step, want] of recorded.lr_at_step.entries()) {
        const got = recorded.lr * schedule(step);
        assert.ok(Math.abs(got - want) <= 1e-12 * Math.abs(want) + 1e-18, `step ${step}: got ${got}, want ${want}`);
      }
    });
  }
}

test("the rate after the end stays at the floor", () => {
  const schedule = polynomial({ totalSteps: 10, end: 0.1 });
  assert.is(schedule(11), 0.1);
  assert.is(linear({ totalSteps: 10 })(12), 0);
});

test.run();
