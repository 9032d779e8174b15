// The 4-bit code books of bitsandbytes and the thresholds of its device code, shared by all backends. No device code here.
#pragma once
#include <cstdint>

#include "backend.h"

namespace anymal::quant {

// NormalFloat4 (QLoRA, arXiv 2305.14314, appendix E): value of each 4-bit code, ascending.
inline constexpr float kNf4[16] = {-1.0f,
                                   -0.6961928009986877f,
                                   -0.5250730514526367f,
                                   -0.39491748809814453f,
                                   -0.28444138169288635f,
                                   -0.18477343022823334f,
                                   -0.09105003625154495f,
                                   0.0f,
                                   0.07958029955625534f,
                                   0.16093020141124725f,
                                   0.24611230194568634f,
                                   0.33791524171829224f,
                                   0.44070982933044434f,
                                   0.5626170039176941f,
                                   0.7229568362236023f,
                                   1.0f};
// Code of x / absmax = number of thresholds strictly below it.
inline constexpr float kNf4Thresholds[15] = {-0.8480964004993439f,  -0.6106329262256622f,  -0.4599952697753906f,   -0.33967943489551544f,
                                             -0.23460740596055984f, -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f,
                                             0.1202552504837513f,   0.2035212516784668f,   0.2920137718319893f,    0.3893125355243683f,
                                             0.5016634166240692f,   0.6427869200706482f,   0.8614784181118011f};

// FP4: bit 3 is the sign, the low bits name a magnitude; codes are not ascending.
inline constexpr float kFp4[16] = {0.0f,  0.0625f / 12,  8.0f / 12,  1.0f,  4.0f / 12,  6.0f / 12,  2.0f / 12,  3.0f / 12,
                                   -0.0f, -0.0625f / 12, -8.0f / 12, -1.0f, -4.0f / 12, -6.0f / 12, -2.0f / 12, -3.0f / 12};
inline constexpr float kFp4Thresholds[7] = {0.00260417f, 0.0859375f, 0.20833333f, 0.29166667f, 0.4166667f, 0.583333f, 0.8333333f};
inline constexpr uint8_t kFp4Order[8] = {0, 1, 6, 7, 4, 5, 2, 3};  // codes by rising magnitude

constexpr const float* code_book(QuantFormat f) { return f == QuantFormat::fp4 ? kFp4 : kNf4; }

// Block of the nested quantisation of block maxima, and of the 8-bit optimizer states.
inline constexpr int64_t kNestedBlock = 256;

// The 256 entries of the 8-bit dynamic map (Dettmers, arXiv 2110.02861), ascending; bit for bit as the reference evaluates them.
const float* dynamic_map(bool is_signed);

// Nearest entry of a dynamic map without a search. Floats that agree in sign, exponent and eight bits more differ by one code at most.
struct DynamicCodes {
  uint32_t least[1 << 15];  // by the highest 17 bits of a float, the lower of their codes: four to a word, the first one lowest
  float first[257];         // of each code the lowest float that has it; beyond the last, NaN, which no float reaches
};
const DynamicCodes& dynamic_codes(bool is_signed);

}  // namespace anymal::quant
