// Optimisers.
#include "op_cases/cases.h"

namespace anymal::op_cases {

void optimisers() {
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
