#include "node/promise.h"

#include "node/errors.h"

namespace anymal::node {

Completions::Completions(Napi::Env env) : env_(env) {
  channel_ = Channel::New(env, "anymal", 0, 1, this);
  channel_.Unref(env);
}

void Completions::stop() { channel_.Abort(); }

std::unique_ptr<Completions::Pending> Completions::open(Napi::Env env, Value value) {
  if (open_++ == 0) channel_.Ref(env);
  return std::unique_ptr<Pending>(new Pending{Napi::Promise::Deferred::New(env), {}, std::move(value), nullptr, false});
}

void Completions::settle(std::unique_ptr<Pending> pending) {
  Pending* raw = pending.release();
  // Refused only while the environment is torn down: its values are gone, and freeing `raw` here would touch them from a foreign thread.
  channel_.NonBlockingCall(raw);
}

void Completions::deliver(Napi::Env env, Napi::Function, Completions* self, Pending* raw) {
  std::unique_ptr<Pending> pending(raw);
  if (env == nullptr) return;
  // An environment that ends refuses even to settle a promise. Nobody is left who waits for it.
  try {
    Napi::HandleScope scope(env);
    if (--self->open_ == 0) self->channel_.Unref(env);
    const Napi::Value value = pending->value && (pending->always || !pending->failure) ? pending->value(env) : env.Undefined();
    if (pending->failure) pending->deferred.Reject(make_error(env, pending->failure->code, pending->failure->message));
    else pending->deferred.Resolve(value);
  } catch (const Napi::Error&) {
  }
}

namespace {

struct PromiseCommand final : Command {
  PromiseCommand(const char* n, Completions& c, std::unique_ptr<Completions::Pending> p, std::function<void(Device&)> w, Waits k)
      : Command(n), completions(c), pending(std::move(p)), work(std::move(w)), kind(k) {}
  void run(Device& d) override { work(d); }
  bool settle(const FailureRef& failure) override {
    pending->failure = failure;
    completions.settle(std::move(pending));
    return true;
  }
  bool recordable() const override { return false; }
  bool waits() const override { return kind != Waits::no; }
  bool fence() const override { return kind == Waits::fence || kind == Waits::last; }
  bool last() const override { return kind == Waits::last; }
  Completions& completions;
  std::unique_ptr<Completions::Pending> pending;
  std::function<void(Device&)> work;
  Waits kind;
};

}  // namespace

std::unique_ptr<Command> promise_command(const char* name, Completions& completions, std::unique_ptr<Completions::Pending> pending,
                                         std::function<void(Device&)> work, Waits waits) {
  return std::make_unique<PromiseCommand>(name, completions, std::move(pending), std::move(work), waits);
}

}  // namespace anymal::node
