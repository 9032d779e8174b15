// Runs one of the emulator's tests the way the backend is run: opens a library and calls what it exports, here its main.
//   emulator_test MODULE
#include <dlfcn.h>

#include <cstdio>

int main(int argc, char** argv) {
  void* module = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : nullptr;
  const auto entry = module ? reinterpret_cast<int (*)(int, char**)>(dlsym(module, "main")) : nullptr;
  if (!entry) {
    std::printf("usage: emulator_test MODULE: %s\n", argc > 1 ? dlerror() : "no module given");
    return 2;
  }
  return entry(argc - 1, argv + 1);
}
