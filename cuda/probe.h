#pragma once

namespace anymal {
struct Stream;
namespace cuda {

// Runs a first kernel on a stream that has its counters: true where it is code for Hopper's own instructions. Throws what is in the way, and what to
// do.
bool probe(Stream& s);

}  // namespace cuda
}  // namespace anymal
