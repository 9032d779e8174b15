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
    bool always = false;  // `value` is called for a failure too
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

// What a promise waits for beside its own work: nothing, what the stream was given before (waits), and failures that nobody was told of (fence);
// `last` is a fence that resolves when nothing of the device is left.
enum class Waits { no, stream, fence, last };

// A command that ends a promise: `work` runs on the queue unless what it reads is poisoned.
std::unique_ptr<Command> promise_command(const char* name, Completions& completions, std::unique_ptr<Completions::Pending> pending,
                                         std::function<void(Device&)> work, Waits waits);

}  // namespace anymal::node
