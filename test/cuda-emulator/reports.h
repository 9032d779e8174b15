// What the emulator says: a kernel's fault ends the process with exit code 3, as a card's fault ends the context.
#pragma once
#include <string>

#include "running.h"

namespace emu {

[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
[[noreturn]] void end_process();
std::string where(const Loc& at);     // file:line
std::string code_at(const void* pc);  // function, file and line of an address within this library, inlined callers below

// The library (or program) that this emulator and its kernels are part of.
struct Image {
  const char *begin, *end;
  uintptr_t base;
  std::string path;
};
const Image& image();

const std::string& kernel_name(const char* text);  // of __PRETTY_FUNCTION__ of a member of Launch<Kernel>; lives as long as the process
void log_launch(const char* kernel);               // for the file that EMU_STATS names

}  // namespace emu
