// Optimisers.
#include "op_cases/cases.h"

namespace anymal::op_cases {
namespace {

// A step of tensors of these sizes in so many rates; every third has 8-bit states. All that it leaves is compared, the codes to the bit.
void whole_step(const Backend& b, Stream& s, Bench& t, const Sizes& sizes, int64_t rates, double max_norm) {
  std::vector<View> p, g, m, v, am, av;
  std::vector<double> lr, decay, step;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const int64_t n = sizes[i], own = static_cast<int64_t>(i) % rates;
    p.push_back(t.acc({n}));
    g.push_back(t.floats({n}));
    if (i % 3 == 2) {
      m.push_back(t.compared(t.bytes(n)));
      v.push_back(t.compared(t.bytes(n)));
      am.push_back(t.compared(t.floats({(n + 255) / 256}, 0.1, 0.5)));
      av.push_back(t.compared(t.floats({(n + 255) / 256}, 0.1, 0.5)));
    } else {
      m.push_back(t.acc({n}));
      v.push_back(t.compared(t.floats({n}, 0.2, 0.5)));
    }
    lr.push_back(1e-2 / static_cast<double>(1 + own));
    decay.push_back(own % 2 ? 0.1 : 0);
    step.push_back(static_cast<double>(1 + own / 2));
  }
  const int64_t count = static_cast<int64_t>(sizes.size()), coded = static_cast<int64_t>(am.size());
  b.adamw_clipped(s, _(t.out({1}, DType::f32)), InOutList{p.data(), count}, InList{g.data(), count}, InOutList{m.data(), count},
                  InOutList{v.data(), count}, InOutList{am.data(), coded}, InOutList{av.data(), coded}, Numbers{lr.data(), count},
                  Numbers{decay.data(), count}, Numbers{step.data(), count}, 0.9, 0.99, 1e-8, max_norm);
}

}  // namespace

void optimisers() {
  add_case("adamw_clipped", CASE(whole_step(b, s, t, {65, 20000, 5001}, 2, 0.5)), false);
  add_case("adamw_clipped", CASE(whole_step(b, s, t, {300, 0, 17000}, 1, INFINITY)), false);
  // More rates than a launch has, among them tensors without elements.
  add_case("adamw_clipped", CASE(Sizes sizes; for (int64_t i = 0; i < 300; ++i) sizes.push_back(i % 7 * 9); whole_step(b, s, t, sizes, 290, 1.0)),
           false);
  add_case("adamw",
           CASE(View p[] = {t.acc({65}), t.acc({30001})}; View g[] = {t.floats({65}), t.floats({30001})}; View m[] = {t.acc({65}), t.acc({30001})};
                View v[] = {t.compared(t.floats({65}, 0.2, 0.5)), t.compared(t.floats({30001}, 0.2, 0.5))};
                b.adamw(s, InOutList{p, 2}, InList{g, 2}, InOutList{m, 2}, InOutList{v, 2}, _(t.floats({1})), 1e-2, 0.9, 0.99, 1e-8, 0.1, 3)),
           false);
  add_case("adamw_8bit",
           CASE(View p[] = {t.acc({5001})}; View g[] = {t.floats({5001})}; View m[] = {t.bytes(5001)};
                View am[] = {t.compared(t.floats({20}, 0.1, 0.5))}; View v[] = {t.bytes(5001)}; View av[] = {t.compared(t.floats({20}, 0.1, 0.5))};
                b.adamw_8bit(s, InOutList{p, 1}, InList{g, 1}, InOutList{m, 1}, InOutList{am, 1}, InOutList{v, 1}, InOutList{av, 1}, none, 1e-2, 0.9,
                             0.99, 1e-8, 0.1, 3)),
           false);
  // More tensors than one launch takes; empty ones among them.
  add_case(
      "adamw",
      [](const Backend& b, Stream& s, Bench& t) {
        std::vector<View> p, g, m, v;
        for (int64_t i = 0; i < 70; ++i) {
          const int64_t n = i % 7 * 3;
          p.push_back(t.acc({n}));
          g.push_back(t.floats({n}));
          m.push_back(t.acc({n}));
          v.push_back(t.compared(t.floats({n}, 0.2, 0.5)));
        }
        b.adamw(s, InOutList{p.data(), 70}, InList{g.data(), 70}, InOutList{m.data(), 70}, InOutList{v.data(), 70}, none, 1e-3, 0.9, 0.999, 1e-8, 0,
                1);
      },
      false);
  add_case(
      "adamw_8bit",
      [](const Backend& b, Stream& s, Bench& t) {
        std::vector<View> p, g, m, am, v, av;
        for (int64_t i = 0; i < 30; ++i) {
          const int64_t n = i % 4 * 150, blocks = (n + 255) / 256;
          p.push_back(t.acc({n}));
          g.push_back(t.floats({n}));
          m.push_back(t.bytes(n));
          v.push_back(t.bytes(n));
          am.push_back(t.compared(t.floats({blocks}, 0.1, 0.5)));
          av.push_back(t.compared(t.floats({blocks}, 0.1, 0.5)));
        }
        b.adamw_8bit(s, InOutList{p.data(), 30}, InList{g.data(), 30}, InOutList{m.data(), 30}, InOutList{am.data(), 30}, InOutList{v.data(), 30},
                     InOutList{av.data(), 30}, _(t.floats({1})), 1e-3, 0.9, 0.999, 1e-8, 0, 1);
      },
      false);
  add_case(
      "grad_norm",
      [](const Backend& b, Stream& s, Bench& t) {
        std::vector<View> g;
        for (int64_t i = 0; i < 150; ++i) g.push_back(t.floats({i % 5 * 7}));
        b.grad_norm(s, _(t.out({1}, DType::f32)), InList{g.data(), 150});
      },
      false);
  add_case("grad_norm", CASE(b.grad_norm(s, _(t.out({1}, DType::f32)), InList{nullptr, 0})), false);
  add_case("grad_norm", CASE(View g[] = {t.floats({65}), t.floats({50001})}; b.grad_norm(s, _(t.out({1}, DType::f32)), InList{g, 2})), false);
  add_case("clip_scale", CASE(b.clip_scale(s, _(t.out({1}, DType::f32)), _(t.floats({1}, 0.1, 3)), 1.0)), false);
}

}  // namespace anymal::op_cases
