// What the emulator can be told to do and asked for (planted.cc), through its module; a card's module has none of it.
#pragma once
#include <dlfcn.h>

#include <cstddef>
#include <optional>
#include <type_traits>

namespace anymal {

struct Switches {
  void (*fail_allocation)(long n);  // the n-th from now and all that follow; 0: none
  void (*leave_memory)(size_t n);   // so many bytes more than are in use; 0: all of the card's
  void (*break_card)(int error);    // every call from now on; 0: none
  size_t (*allocations)();
  void (*counts)(size_t* waits, size_t* frees);

  // `module` is what dlopen gave.
  static std::optional<Switches> of(void* module) {
    Switches s{};
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(module, name));
      return function != nullptr;
    };
    const bool all = find(s.fail_allocation, "emu_fail_allocation") && find(s.leave_memory, "emu_leave_memory") && find(s.break_card, "emu_break") &&
                     find(s.allocations, "emu_allocations") && find(s.counts, "emu_counts");
    return all ? std::optional(s) : std::nullopt;
  }
};

}  // namespace anymal
