// Products with quantised weights whose inputs are rounded to 8 bit (linear/eight_bit/), several weights at once.
#include "cpu/linear/eight_bit/problem.h"
#include "cpu/linear/kernels.h"
#include "cpu/ops.h"
#include "cpu/packed_weight.h"

namespace anymal::cpu::ANYMAL_LEVEL {

void linear_eight_bit(Stream& s, Out y, OutOpt y1, OutOpt y2, In x, InList codes, InList absmax, InList nested_absmax, InList nested_offset,
                      InList biases, QuantFormat format, int64_t block, int64_t out_features, int64_t out_features1, int64_t out_features2) {
  const auto part = [&](int64_t i, const View& to, int64_t O) {
    const int64_t at = i < codes.count ? i : 0;
    const PackedWeight w(codes.items[at], absmax.items[at], nested_absmax.count ? nested_absmax.items[at] : View{},
                         nested_offset.count ? nested_offset.items[at] : View{}, format, block, O, x.cols());
    return linear::EightBitPart{w, {to.data, x.dtype, O}, biases.count ? biases.items[at].data : nullptr};
  };
  const linear::EightBitPart parts[] = {part(0, y, out_features), part(1, y1, out_features1), part(2, y2, out_features2)};
  linear::eight_bit(s, {x.rows(), parts, codes.count, s.kernels->coded && format != QuantFormat::int8, x.data, x.dtype, x.cols()});
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
