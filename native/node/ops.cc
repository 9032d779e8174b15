// One function per op of native/ops.def, made by bind.h from the entry's type and its shape rule.
#include "node/addon.h"
#include "node/bind.h"
#include "shapes/rules.h"

namespace anymal::node {

void init_ops(Napi::Env env, Napi::Object exports) {
#define OP(name)                          \
  exports.Set(#name, Napi::Function::New( \
                         env, [](const Napi::CallbackInfo& info) { return call_op(info, #name, &Backend::name, &shapes::name); }, #name));
#include "ops.def"
}

}  // namespace anymal::node
