// What this machine can do with nothing in the way: the benchmarks' 100 %.
#pragma once
#include "backend.h"

namespace anymal::cpu {
double measure_peak(Stream& s, Peak what);
}
