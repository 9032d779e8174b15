#include "loader.h"

#include <cstdlib>
#include <stdexcept>

#include "shapes.h"

#ifdef __unix__
#include <dlfcn.h>
#endif

namespace anymal {

const Backend* anymal_backend_cpu(const char* level_or_null);

std::string option_value(const std::string& options, const std::string& key) {
  size_t at = 0;
  while (at < options.size()) {
    size_t end = options.find(';', at);
    if (end == std::string::npos) end = options.size();
    const std::string pair = options.substr(at, end - at);
    if (pair.starts_with(key + "=")) return pair.substr(key.size() + 1);
    at = end + 1;
  }
  return "";
}

namespace {

struct Loaded {
  const Backend* backend = nullptr;
  std::string why_not;
};

#ifdef __unix__
std::string folder_of_this_binary() {
  Dl_info info;
  if (!dladdr(reinterpret_cast<void*>(&folder_of_this_binary), &info) || !info.dli_fname) return ".";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

// `environment` names a variable with another path.
Loaded open_module(const char* environment, const char* file) {
  const char* override_path = std::getenv(environment);
  const std::string path = override_path ? override_path : folder_of_this_binary() + "/" + file;
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!module) {
    const char* reason = dlerror();
    return {nullptr, "the CUDA module could not be opened (" + std::string(reason ? reason : path) + ")"};
  }
  using Entry = const Backend* (*)(uint32_t);
  const auto entry = reinterpret_cast<Entry>(dlsym(module, "anymal_backend_cuda"));
  if (!entry) return {nullptr, path + " is not an anymal CUDA module: it lacks the symbol anymal_backend_cuda"};
  const Backend* backend = entry(kBackendVersion);
  if (!backend || backend->version != kBackendVersion)
    return {nullptr, path + " speaks another version of the backend table than this build (" + std::to_string(kBackendVersion) +
                         "): install both from one release"};
  return {backend, ""};
}
#else
Loaded open_module(const char*, const char*) { return {nullptr, "the CUDA module is built for Linux only"}; }
#endif

}  // namespace

const Backend& backend_open(const std::string& name, const std::string& options) {
  if (name == "cpu") {
    const std::string level = option_value(options, "level");
    try {
      return *anymal_backend_cpu(level.empty() ? nullptr : level.c_str());
    } catch (const std::runtime_error& e) {
      throw Error("E_DEVICE", e.what());
    }
  }
  if (name == "cuda") {
    static const Loaded cuda = open_module("ANYMAL_CUDA_MODULE", "libanymal_cuda.so");
    if (cuda.backend) return *cuda.backend;
    throw Error("E_DEVICE", "device \"cuda\": " + cuda.why_not + "; use device(\"cpu\"), or device(\"auto\") to fall back by itself");
  }
  if (name == "emulated") {  // for tests: the CUDA sources, run on the CPU
    static const Loaded emulated = open_module("ANYMAL_EMULATED_MODULE", "libanymal_emulated.so");
    if (emulated.backend) return *emulated.backend;
    throw Error("E_DEVICE", "device \"emulated\": " + emulated.why_not + "; it is built by npm run test:emulated");
  }
  throw Error("E_DEVICE", "expected device \"cpu\" or \"cuda\", got \"" + name + "\"");
}

}  // namespace anymal
