// AdamW against torch (f32) and against the device semantics of bitsandbytes (8-bit).
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Tensor } from "../../lib/core/tensor.js";
import { AdamW, decayMatricesOnly } from "../../lib/train/optimizer.js";
import { Case, caseNames, here, largest, near } from "../case.js";

interface Subcase {
  id: string;
  shapes: number[][];
  steps: number;
  betas: [number, number];
  eps: number;
  weight_decay: number;
  no_decay_params: number[];
  lr_per_step: number[];
  max_norm: number | null;
  norm_before_clipping: number[];
}

function slice(values: ArrayLike<number>, step: number, size: number): Float32Array {
  return Float32Array.from({ length: size }, (_, i) => values[step * size + i]!);
}

for (const name of caseNames(/^optim_adamw$/)) {
  const c = new Case(name);
  for (const s of c.info.subcases as Subcase[]) {
    test(`${name}: ${s.id}`, async () => {
      const named = s.shapes.map((_, k) => [`p${k}`, c.tensor(`in.${s.id}.p${k}`, { requiresGrad: true })] as const);
      const groups = [
        { parameters: named.filter((_, k) => !s.no_decay_params.includes(k)), weightDecay: s.weight_decay },
        { parameters: named.filter((_, k) => s.no_decay_params.includes(k)), weightDecay: 0 },
      ];
      using optimizer = new AdamW(groups, { betas: s.betas, eps: s.eps, maxGradNorm: s.max_norm ?? undefined });
      for (let step = 0; step < s.steps; ++step) {
        for (const [key, p] of named)
          p.grad = Tensor.from(slice(c.values(`in.${s.id}.g${key.slice(1)}`), step, p.size), p.shape, { device: here });
        const norm = await optimizer.step(s.lr_per_step[step]!).item();
        optimizer.zeroGrad();
        const wantNorm = s.norm_before_clipping[step];
        if (wantNorm !== undefined) assert.ok(Math.abs(norm - wantNorm) <= 1e-6 * wantNorm, `norm ${norm}, want ${wantNorm}`);
        for (const [key, p] of named) {
          const want = slice(c.values(`out.${s.id}.${key}`), step, p.size);
          near(await p.data(), want, (step + 1 < s.steps ? 2e-6 : 1e-5) * largest(want), `${s.id} ${key} after step ${step}`);
        }
      }
      for (const [key, tensor] of optimizer.state()) {
        const [p, moment] = key.split(".") as [string, string];
        const want = c.values(`out.${s.id}.${moment}${p.slice(1)}`);
        near(await tensor.data(), want, 1e-5 * largest(want), `${s.id} ${key}`);
      }
    });
  }
}

interface Subcase8 {
  id: string;
  n: number;
  steps: number;
  lr: number;
  betas: [number, number];
  eps: number;
  weight_decay: number;
  gnorm_scale: number;
  param_dtype: string;
}

for (const name of caseNames(/^optim_adamw8bit$/)) {
  const c = new Case(name);
  for (const s of c.info.subcases as Subcase8[]) {
    if (s.param_dtype !== "f32") continue; // masters are f32 here; a bf16 parameter has no place in AdamW
    test(`${name}: ${s.id}, each step from the recorded state`, async () => {
      const g = c.values(`in.${s.id}.g`);
      const [P, M, V] = [c.values(`out.${s.id}.p`), c.values(`out.${s.id}.m_codes`), c.values(`out.${s.id}.v_codes`)];
      const [MA, VA] = [c.values(`out.${s.id}.m_absmax`), c.values(`out.${s.id}.v_absmax`)];
      const blocks = Math.ceil(s.n / 256);
      const bytes = (values: ArrayLike<number>, step: number) =>
        Tensor.from(
          Uint8Array.from({ length: s.n }, (_, i) => values[step * s.n + i]!),
          [s.n],
          { device: here, dtype: "u8" },
        );
      const maxima = (values: ArrayLike<number>, step: number) => Tensor.from(slice(values, step, blocks), [blocks], { device: here });
      for (let step = 0; step < s.steps; ++step) {
        const before = step ? slice(P, step - 1, s.n) : (c.values(`in.${s.id}.p`) as Float32Array);
        const p = Tensor.from(before, [s.n], { device: here, requiresGrad: true });
        using optimizer = new AdamW([{ parameters: [["p", p]] }], {
          betas: s.betas,
          eps: s.eps,
          weightDecay: s.weight_decay,
          moments: "8bit",
        });
        if (step) {
          const saved = {
            "p.exp_avg": bytes(M, step - 1),
            "p.exp_avg_sq": bytes(V, step - 1),
            "p.exp_avg.absmax": maxima(MA, step - 1),
            "p.exp_avg_sq.absmax": maxima(VA, step - 1),
          };
          optimizer.loadState(new Map(Object.entries(saved)), step);
        }
        p.grad = Tensor.from(
          slice(g, step, s.n).map((x) => Math.fround(x * s.gnorm_scale)),
          [s.n],
          { device: here },
        );
        optimizer.step(s.lr);
        const after = await p.data();
        const want = slice(P, step, s.n);
        for (let i = 0; i < s.n; ++i) {
          const allowed = 4e-4 * Math.abs(want[i]! - before[i]!) + 3e-7 * Math.abs(want[i]!);
          assert.ok(Math.abs(after[i]! - want[i]!) <= allowed, `step ${step}, element ${i}: ${after[i]}, want ${want[i]} ± ${allowed}`);
        }
        const state = optimizer.state();
        for (const [key, values, scale] of [
          ["p.exp_avg", M, MA],
          ["p.exp_avg_sq", V, VA],
        ] as const) {
          const codes = await state.get(key)!.data();
          let off = 0;
          for (let i = 0; i < s.n; ++i) {
            if (scale[step * blocks + Math.floor(i / 256)] === 0) continue;
            const d = Math.abs(codes[i]! - values[step * s.n + i]!);
            assert.ok(d <= 1, `step ${step} ${key} code ${i}: ${codes[i]}, want ${values[step * s.n + i]}`);
            off += d;
          }
          assert.ok(off <= 0.005 * s.n, `step ${step} ${key}: ${off} codes differ`);
          const got = await state.get(`${key}.absmax`)!.data();
          for (let b = 0; b < blocks; ++b)
            assert.ok(
              Math.abs(got[b]! - scale[step * blocks + b]!) <= 1e-4 * scale[step * blocks + b]!,
              `step ${step} ${key} maximum ${b}`,
            );
        }
      }
    });
  }
}

test("a run resumed from saved moments equals an unbroken one, bit for bit", async () => {
  for (const moments of ["f32", "8bit"] as const) {
    const shape = [50, 100]; // large enough for 8-bit moments
    const gradient = (step: number) =>
      Tensor.from(
        Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i * (step + 1))),
        shape,
        { device: here },
      );
    const start = () => Tensor.full(shape, 0.5, { device: here, requiresGrad: true });
    const run = async (breakAt: number) => {
      let p = start();
      let optimizer = new AdamW([{ parameters: [["p", p]] }], { moments });
      for (let step = 0; step < 6; ++step) {
        if (step === breakAt) {
          const state = new Map([...optimizer.state()].map(([name, t]) => [name, t.alias()]));
          const values = await p.data();
          optimizer.dispose();
          p = Tensor.from(values, shape, { device: here, requiresGrad: true });
          optimizer = new AdamW([{ parameters: [["p", p]] }], { moments });
          optimizer.loadState(state, step);
        }
        p.grad = gradient(step);
        optimizer.step(1e-2);
        optimizer.zeroGrad();
      }
      return p.data();
    };
    assert.equal(await run(3), await run(-1), moments);
  }
});

test("small tensors keep f32 moments under 8-bit; frozen or bf16 parameters are refused", () => {
  const small = Tensor.zeros([10], { device: here, requiresGrad: true });
  assert.equal(
    [...new AdamW([{ parameters: [["p", small]] }], { moments: "8bit" }).state().values()].map((t) => t.dtype),
    ["f32", "f32"],
  );
  assert.throws(() => new AdamW([{ parameters: [["p", Tensor.zeros([2], { device: here })]] }]), /frozen/);
  assert.throws(() => new AdamW([{ parameters: [["p", small]] }, { parameters: [["p", small]] }]), /twice/);
});

test("a group's rate is the step's times its own, in f32 and in 8 bit", async () => {
  const ramp = (size: number) => Float32Array.from({ length: size }, (_, i) => Math.sin(i + 1));
  const made = () => {
    const p = Tensor.from(ramp(5000), [5000], { requiresGrad: true, device: here });
    p.grad = Tensor.from(ramp(5000).reverse(), [5000], { device: here });
    return p;
  };
  for (const moments of ["f32", "8bit"] as const) {
    const [whole, quarter, alone] = [made(), made(), made()];
    const groups = [{ parameters: [["whole", whole] as const] }, { parameters: [["quarter", quarter] as const], lrScale: 0.25 }];
    using both = new AdamW(groups, { moments });
    using one = new AdamW([{ parameters: [["alone", alone] as const] }], { moments });
    for (const norm of [both.step(0.5), one.step(0.125)]) norm.dispose();
    assert.equal(await quarter.data(), await alone.data());
    assert.not.equal(await whole.data(), await alone.data());
    for (const p of [whole, quarter, alone]) {
      p.grad?.dispose();
      p.dispose();
    }
  }
});

test("decay groups: matrices decay, vectors do not", () => {
  const [w, b] = [Tensor.zeros([2, 2], { device: here }), Tensor.zeros([2], { device: here })];
  const groups = decayMatricesOnly(
    [
      ["w", w],
      ["b", b],
    ],
    0.1,
  );
  assert.equal(
    groups.map(({ weightDecay, parameters }) => [weightDecay, [...parameters].map(([n]) => n)]),
    [
      [0.1, ["w"]],
      [0, ["b"]],
    ],
  );
});

// torch.optim.AdamW([p0, p1], lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.01), torch 2.13; p1.grad is None in the first and third step.
const SOME: readonly (readonly [number[], number[] | undefined, number[], number[]])[] = [
  [[1, -2, 0.5], undefined, [0.3995000123977661, -0.8989999890327454, 1.8980000019073486], [1, -0.25]],
  [
    [0.3, 0.1, -0.2],
    [0.5, -1.5],
    [0.31336861848831177, -0.8347538709640503, 1.8614846467971802],
    [0.8989999890327454, -0.1497499942779541],
  ],
  [[-1, 0.5, 0.25], undefined, [0.3095184862613678, -0.801882266998291, 1.8083527088165283], [0.8989999890327454, -0.1497499942779541]],
  [
    [0.2, 0.2, 0.2],
    [2, 0.25],
    [0.2983449697494507, -0.7805516719818115, 1.748067855834961],
    [0.8098392486572266, -0.09563080966472626],
  ],
];

test("a parameter counts the updates that it had, through a checkpoint too, and a step that was not made counts for none", async () => {
  const leaf = (values: number[]) => Tensor.from(values, [values.length], { device: here, requiresGrad: true });
  const [p0, p1] = [leaf([0.5, -1, 2]), leaf([1, -0.25])];
  const parameters = [["p0", p0] as const, ["p1", p1] as const];
  const fresh = () => new AdamW([{ parameters }], { betas: [0.9, 0.99], eps: 1e-8, weightDecay: 0.01 });
  let optimizer = fresh();
  for (const [i, [g0, g1, want0, want1]] of SOME.entries()) {
    assert.throws(() => optimizer.step(0.1), /at least one gradient/);
    assert.is(optimizer.steps, i);
    p0.grad = Tensor.from(g0, [3], { device: here });
    if (g1) p1.grad = Tensor.from(g1, [2], { device: here });
    optimizer.step(0.1).dispose();
    optimizer.zeroGrad();
    near(await p0.data(), want0, 1e-6, `p0 after step ${i + 1}`);
    near(await p1.data(), want1, 1e-6, `p1 after step ${i + 1}`);
    const next = fresh();
    next.loadState(optimizer.state(), optimizer.steps, JSON.parse(JSON.stringify(optimizer.fewerUpdates)));
    optimizer.dispose();
    optimizer = next;
  }
  assert.equal(optimizer.fewerUpdates, { p1: 2 });
  optimizer.dispose();
});

test.run();
