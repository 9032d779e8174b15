// C++ errors as JavaScript errors with a `code`.
#pragma once
#include <napi.h>

#include <cstdlib>
#include <exception>
#include <string>

#include "shapes.h"

namespace anymal::node {

inline Napi::Value make_error(Napi::Env env, const std::string& code, const std::string& message) {
  Napi::Error error = code == "E_SHAPE" || code == "E_DTYPE" || code == "E_VALUE" || code == "E_ARGUMENT"
                          ? static_cast<Napi::Error>(Napi::TypeError::New(env, message))
                          : Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error.Value();
}

[[noreturn]] inline void throw_error(Napi::Env env, const std::string& code, const std::string& message) {
  throw Napi::Error(env, make_error(env, code, message));
}

// Runs f and turns what it throws into a JavaScript exception: no C++ exception crosses into V8.
template <class F>
Napi::Value guarded(Napi::Env env, const F& f) {
  try {
    return f();
  } catch (const Error& e) {
    throw_error(env, e.code, e.what());
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw_error(env, "E_OUT_OF_MEMORY", "out of host memory");
  } catch (const std::exception& e) {
    throw_error(env, "E_INTERNAL", e.what());
  }
}

// V8 ends the process when an ArrayBuffer cannot be had: what would not fit is asked of the system first. `what` is said of a refused one.
inline Napi::ArrayBuffer array_buffer(Napi::Env env, size_t bytes, const std::string& what, const char* next = "take it in parts") {
  constexpr size_t kMost = size_t{4} << 30, kSmall = size_t{64} << 20;
  void* probe = bytes > kSmall && bytes <= kMost ? std::malloc(bytes) : nullptr;
  if (bytes > kSmall && !probe) throw Error("E_OUT_OF_MEMORY", what + ", " + std::to_string(bytes >> 20) + " MiB; " + next + ", of 4096 MiB at most");
  std::free(probe);
  return Napi::ArrayBuffer::New(env, bytes);
}

}  // namespace anymal::node
