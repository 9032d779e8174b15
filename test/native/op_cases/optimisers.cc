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
  add_case("grad_norm", CASE(View g[] = {t.floats({65}), t.floats({50001})}; b.grad_norm(s, _(t.out({1}, DType::f32)), InList{g, 2})), false);
  add_case("clip_scale", CASE(b.clip_scale(s, _(t.out({1}, DType::f32)), _(t.floats({1}, 0.1, 3)), 1.0)), false);
}

}  // namespace anymal::op_cases
