// Promises settled from a queue's thread. One thread-safe function per environment, referenced only while promises are open: Node then
// neither exits with work pending nor stays alive without any.
#pragma once
#include <napi.h>

#include <functional>
#include <memory>

#include "queue.h"

namespace anymal::node {

class Completions {
 public:
  explicit Completions(Napi::Env env);
  void stop();  // at teardown: nothing is delivered any more

  using Value = std::function<Napi::Value(Napi::Env)>;  // made on JavaScript's thread
  struct Pending {
    Napi::Promise::Deferred deferred;
    Napi::ObjectReference keep;  // an ArrayBuffer that the queue's thread writes to
    Value value;
    FailureRef failure;
  };
  std::unique_ptr<Pending> open(Napi::Env env, Value value);
  void settle(std::unique_ptr<Pending> pending);  // from any thread, exactly once for each open()

 private:
  static void deliver(Napi::Env env, Napi::Function, Completions* self, Pending* pending);
  using Channel = Napi::TypedThreadSafeFunction<Completions, Pending, deliver>;
  Channel channel_;
  Napi::Env env_;
  int64_t open_ = 0;
};

// A command that ends a promise: `work` runs on the queue unless an earlier error rejects it.
std::unique_ptr<Command> promise_command(const char* name, Completions& completions, std::unique_ptr<Completions::Pending> pending,
                                         std::function<void(Device&)> work);

}  // namespace anymal::node
