// Binds a Backend entry to JavaScript from its type alone. For `void rms_norm(Stream&, Out y, Out rstd, In x, In w, double eps)` and the
// rule `SpecList rms_norm(const Spec& x, const Spec& w, double eps)` it makes the function (x, w, eps) => [y, rstd]:
// read the arguments, ask the rule, make the outputs, enqueue. Nothing heavy runs on the caller's thread.
#pragma once
#include <napi.h>

#include <cmath>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "node/addon.h"
#include "node/errors.h"
#include "shapes.h"

namespace anymal::node {

// Reads the arguments of one call in order, and names op and position when one is off. An array may be a proxy or have getters, which run any code
// while it is read: that code cannot call the addon, where it could dispose what was read before.
class Arguments {
 public:
  Arguments(const Napi::CallbackInfo& info, const char* op) : info_(info), op_(op), addon_(Addon::of(info.Env())) {
    if (addon_.reading)
      throw Error("E_ARGUMENT", std::string(op) + ": expected arrays without getters as arguments of " + addon_.reading +
                                    ", got one that calls back while it is read; pass a plain copy of it: [...array]");
    addon_.reading = op;
  }
  ~Arguments() { addon_.reading = nullptr; }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;

  const char* op() const { return op_; }
  Addon& addon() { return addon_; }
  Napi::Env env() const { return info_.Env(); }

  Tensor& tensor() { return tensor_of(next(), "a tensor"); }
  Tensor* tensor_or_null() {
    const Napi::Value v = next();
    return v.IsUndefined() || v.IsNull() ? nullptr : &tensor_of(v, "a tensor or undefined");
  }
  std::vector<Tensor*> tensors() {
    const Napi::Value v = next();
    if (!v.IsArray()) bad("an array of tensors", v);
    const auto array = v.As<Napi::Array>();
    std::vector<Tensor*> all(array.Length());
    for (uint32_t i = 0; i < all.size(); ++i) all[i] = &tensor_of(array.Get(i), "an array of tensors");
    return all;
  }
  double number() {
    const Napi::Value v = next();
    if (!v.IsNumber()) bad("a number", v);
    return v.As<Napi::Number>().DoubleValue();
  }
  NumberList numbers() {
    const Napi::Value v = next();
    if (!v.IsArray()) bad("an array of numbers", v);
    const auto array = v.As<Napi::Array>();
    NumberList all(array.Length());
    for (uint32_t i = 0; i < all.size(); ++i) {
      const Napi::Value n = array.Get(i);
      if (!n.IsNumber()) bad("an array of numbers", n);
      all[i] = n.As<Napi::Number>().DoubleValue();
    }
    return all;
  }
  int64_t integer() {
    const Napi::Value v = next();
    const double d = v.IsNumber() ? v.As<Napi::Number>().DoubleValue() : NAN;
    if (!(d == std::floor(d) && std::abs(d) <= 9007199254740991.0)) bad("an integer", v);
    return static_cast<int64_t>(d);
  }
  bool boolean() {
    const Napi::Value v = next();
    if (!v.IsBoolean()) bad("true or false", v);
    return v.As<Napi::Boolean>().Value();
  }
  std::string string() {
    const Napi::Value v = next();
    if (!v.IsString()) bad("a string", v);
    return v.As<Napi::String>().Utf8Value();
  }
  Napi::Value value() { return next(); }
  Shape shape() {
    const Napi::Value v = next();
    if (!v.IsArray()) bad("a shape (an array of integers)", v);
    const auto array = v.As<Napi::Array>();
    Shape sizes(array.Length());
    for (uint32_t i = 0; i < sizes.size(); ++i) {
      const Napi::Value n = array.Get(i);
      const double d = n.IsNumber() ? n.As<Napi::Number>().DoubleValue() : NAN;
      if (!(d == std::floor(d) && d >= 0 && d <= 9007199254740991.0)) bad("a shape (an array of integers >= 0)", n);
      sizes[i] = static_cast<int64_t>(d);
    }
    return sizes;
  }
  DType dtype() {
    const int64_t t = integer();
    if (t < 0 || t > 3) throw Error("E_DTYPE", std::string(op_) + ": expected dtype 0 (f32), 1 (bf16), 2 (i32) or 3 (u8), got " + std::to_string(t));
    return static_cast<DType>(t);
  }
  [[noreturn]] void bad(const char* expected, Napi::Value got) {
    throw Error("E_ARGUMENT", std::string(op_) + ": argument " + std::to_string(at_) + ": expected " + expected + ", got " +
                                  (got.IsUndefined() ? "undefined"
                                   : got.IsSymbol()  ? "a symbol"
                                   : got.IsObject()  ? "an object"
                                                     : got.ToString().Utf8Value()));
  }

 private:
  Napi::Value next() { return info_[at_++]; }
  Tensor& tensor_of(Napi::Value v, const char* expected) {
    const double d = v.IsNumber() ? v.As<Napi::Number>().DoubleValue() : NAN;
    if (!(d == std::floor(d) && std::abs(d) <= 9007199254740991.0)) bad(expected, v);
    return addon_.tensors.at(static_cast<int64_t>(d), op_);
  }
  const Napi::CallbackInfo& info_;
  const char* op_;
  Addon& addon_;
  size_t at_ = 0;
};

// A view whose pointer is filled in when the command runs.
struct BoundView {
  View view;
  Storage* storage = nullptr;
  size_t offset = 0;

  BoundView() = default;
  explicit BoundView(const Tensor& t) : storage(t.storage.get()), offset(t.offset) {
    view.dtype = t.spec.dtype;
    view.rank = t.spec.rank;
    std::copy(t.spec.shape, t.spec.shape + kMaxRank, view.shape);
  }
  void resolve() {
    if (storage) view.data = static_cast<char*>(storage->data) + offset;
  }
};

// What the binder gathers while it reads a call.
struct Call {
  explicit Call(Arguments& a) : arguments(a) {}
  Arguments& arguments;
  Device* device = nullptr;
  std::vector<StorageRef> outputs, updates, inputs;
  std::vector<int64_t> handles;  // of the outputs; 0 where one is not wanted
  SpecList specs;                // of the outputs
  size_t next_output = 0;

  Tensor& use(Tensor& t, bool written) {
    Device& d = t.storage->device;
    if (!device) device = &d;
    if (&d != device)
      throw Error("E_DEVICE", std::string(arguments.op()) + ": expected all tensors on one device, got \"" + device->description() + "\" and \"" +
                                  d.description() + "\"; copy one over first");
    (written ? updates : inputs).push_back(t.storage);
    return t;
  }
  BoundView output() {
    const Spec& spec = specs.at(next_output++);
    if (!spec.wanted()) {
      handles.push_back(0);
      return {};
    }
    Tensor t{std::make_shared<Storage>(*device, spec.bytes()), spec, 0};
    outputs.push_back(t.storage);
    BoundView v(t);
    handles.push_back(arguments.addon().tensors.add(std::move(t)));
    return v;
  }
};

template <class A>
constexpr bool is_updated = std::is_same_v<A, InOut> || std::is_same_v<A, Acc> || std::is_same_v<A, InOutList> || std::is_same_v<A, AccList>;

// How each argument type of a Backend entry is read (From), told to the shape rule (to_rule), held by the command (Held) and passed on (pass).
template <class A>
struct Slot {  // a scalar: double, int64_t, bool or an enum
  using From = A;
  using Held = A;
  static From read(Call& c) {
    if constexpr (std::is_same_v<A, double>) return c.arguments.number();
    else if constexpr (std::is_same_v<A, bool>) return c.arguments.boolean();
    else if constexpr (std::is_enum_v<A>) return static_cast<A>(c.arguments.integer());
    else return c.arguments.integer();
  }
  static std::tuple<A> to_rule(From& f) { return {f}; }
  static Held hold(Call&, From& f) { return f; }
  static void resolve(Held&) {}
  static A pass(Held& h) { return h; }
};

template <class A>
struct InputSlot {
  using From = Tensor*;
  using Held = BoundView;
  static From read(Call& c) { return &c.use(c.arguments.tensor(), is_updated<A>); }
  static std::tuple<const Spec&> to_rule(From& f) { return {f->spec}; }
  static Held hold(Call&, From& f) { return BoundView(*f); }
  static void resolve(Held& h) { h.resolve(); }
  static A pass(Held& h) { return A{h.view}; }
};
template <class A>
struct OptionalSlot : InputSlot<A> {
  static Tensor* read(Call& c) {
    Tensor* t = c.arguments.tensor_or_null();
    return t ? &c.use(*t, is_updated<A>) : nullptr;
  }
  static std::tuple<const Spec*> to_rule(Tensor*& f) { return {f ? &f->spec : nullptr}; }
  static BoundView hold(Call&, Tensor*& f) { return f ? BoundView(*f) : BoundView(); }
};
template <class A>
struct OutputSlot {
  struct From {};
  using Held = BoundView;
  static From read(Call&) { return {}; }
  static std::tuple<> to_rule(From&) { return {}; }
  static Held hold(Call& c, From&) { return c.output(); }
  static void resolve(Held& h) { h.resolve(); }
  static A pass(Held& h) { return A{h.view}; }
};
template <class A>
struct ListSlot {
  struct From {
    std::vector<Tensor*> tensors;
    SpecList specs;
  };
  struct Held {
    std::vector<BoundView> bound;
    std::vector<View> views;
  };
  static From read(Call& c) {
    From f{c.arguments.tensors(), {}};
    for (Tensor* t : f.tensors) f.specs.push_back(c.use(*t, is_updated<A>).spec);
    return f;
  }
  static std::tuple<const SpecList&> to_rule(From& f) { return {f.specs}; }
  static Held hold(Call&, From& f) {
    Held h;
    for (Tensor* t : f.tensors) h.bound.emplace_back(*t);
    h.views.resize(h.bound.size());
    return h;
  }
  static void resolve(Held& h) {
    for (size_t i = 0; i < h.bound.size(); ++i) {
      h.bound[i].resolve();
      h.views[i] = h.bound[i].view;
    }
  }
  static A pass(Held& h) { return A{h.views.data(), static_cast<int64_t>(h.views.size())}; }
};

template <>
struct Slot<In> : InputSlot<In> {};
template <>
struct Slot<InOut> : InputSlot<InOut> {};
template <>
struct Slot<InOpt> : OptionalSlot<InOpt> {};
template <>
struct Slot<Acc> : OptionalSlot<Acc> {};
template <>
struct Slot<Out> : OutputSlot<Out> {};
template <>
struct Slot<OutOpt> : OutputSlot<OutOpt> {
  using From = bool;
  static bool read(Call& c) { return c.arguments.boolean(); }
  static std::tuple<bool> to_rule(bool& f) { return {f}; }
  static BoundView hold(Call& c, bool&) { return c.output(); }
};
template <>
struct Slot<Numbers> {
  using From = NumberList;
  using Held = NumberList;
  static From read(Call& c) { return c.arguments.numbers(); }
  static std::tuple<const NumberList&> to_rule(From& f) { return {f}; }
  static Held hold(Call&, From& f) { return std::move(f); }
  static void resolve(Held&) {}
  static Numbers pass(Held& h) { return {h.data(), static_cast<int64_t>(h.size())}; }
};
template <>
struct Slot<InList> : ListSlot<InList> {};
template <>
struct Slot<InOutList> : ListSlot<InOutList> {};
template <>
struct Slot<AccList> : ListSlot<AccList> {};
template <>
struct Slot<OutList> : ListSlot<OutList> {
  using From = int64_t;
  static From read(Call& c) { return c.arguments.integer(); }
  static std::tuple<int64_t> to_rule(From& f) { return {f}; }
  static Held hold(Call& c, From& f) {
    Held h;
    for (int64_t i = 0; i < f; ++i) h.bound.push_back(c.output());
    h.views.resize(h.bound.size());
    return h;
  }
};

// Trailing parameters of a rule that the entry does not have: what the inputs leave open.
template <class T>
T read_extra(Arguments& a) {
  if constexpr (std::is_same_v<T, DType>) return a.dtype();
  else if constexpr (std::is_same_v<T, Shape>) return a.shape();
  else return a.integer();
}

inline void append_shape(std::string& text, const BoundView& b) {
  if (!b.storage) return;
  Spec spec;
  spec.dtype = b.view.dtype;
  spec.rank = b.view.rank;
  std::copy(b.view.shape, b.view.shape + kMaxRank, spec.shape);
  text += (text.empty() ? "" : ", ") + spec.text();
}
template <class T>
void append_shape(std::string&, const T&) {}  // scalars and lists

template <class... A>
struct OpCommand final : Command {
  using Entry = void (*)(Stream&, A...);
  OpCommand(const char* n, Entry e, typename Slot<A>::Held... h) : Command(n), entry(e), held(std::move(h)...) {}
  void bind() override {
    std::apply([](auto&... h) { (Slot<A>::resolve(h), ...); }, held);
  }
  void run(Device& device) override {
    std::apply([&](auto&... h) { entry(device.stream(), Slot<A>::pass(h)...); }, held);
  }
  std::string shapes() const override {
    std::string text;
    std::apply([&](const auto&... h) { (append_shape(text, h), ...); }, held);
    return text;
  }
  Entry entry;
  std::tuple<typename Slot<A>::Held...> held;
};

template <class... A, class... R, size_t... Extra>
SpecList ask_rule(SpecList (*rule)(R...), Arguments& arguments, std::tuple<typename Slot<A>::From...>& from, std::index_sequence<Extra...>) {
  auto known = std::apply([](auto&... f) { return std::tuple_cat(Slot<A>::to_rule(f)...); }, from);
  constexpr size_t n = std::tuple_size_v<decltype(known)>;
  using Parameters = std::tuple<std::decay_t<R>...>;
  // Braces order the reads from left to right.
  auto extra = std::tuple<std::tuple_element_t<n + Extra, Parameters>...>{read_extra<std::tuple_element_t<n + Extra, Parameters>>(arguments)...};
  return std::apply(rule, std::tuple_cat(std::move(known), std::move(extra)));
}

template <class... A>
constexpr size_t rule_arity = (size_t{0} + ... + std::tuple_size_v<decltype(Slot<A>::to_rule(std::declval<typename Slot<A>::From&>()))>);

template <class... A, class... R>
Napi::Value call_op(const Napi::CallbackInfo& info, const char* name, void (*Backend::*member)(Stream&, A...), SpecList (*rule)(R...)) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Arguments arguments(info, name);
    Call call(arguments);
    std::tuple<typename Slot<A>::From...> from{Slot<A>::read(call)...};
    call.specs = ask_rule<A...>(rule, arguments, from, std::make_index_sequence<sizeof...(R) - rule_arity<A...>>{});
    if (!call.device) throw Error("E_ARGUMENT", std::string(name) + ": expected at least one tensor");
    Device& device = *call.device;
    const auto entry = device.backend().*member;
    if (!entry) throw Error("E_DEVICE", std::string(name) + ": this backend (" + device.description() + ") does not have it");

    auto command = std::apply(
        [&](auto&... f) {
          std::tuple<typename Slot<A>::Held...> held{Slot<A>::hold(call, f)...};
          return std::apply([&](auto&... h) { return std::make_unique<OpCommand<A...>>(name, entry, std::move(h)...); }, held);
        },
        from);
    command->outputs = call.outputs.size();
    command->refs = std::move(call.outputs);
    for (auto* more : {&call.updates, &call.inputs}) {
      command->refs.insert(command->refs.end(), std::make_move_iterator(more->begin()), std::make_move_iterator(more->end()));
      if (more == &call.updates) command->written = command->refs.size();
    }
    device.push(std::move(command));
    arguments.addon().enqueued(info.Env(), device);

    const auto handle = [&](int64_t h) -> Napi::Value {
      return h ? Napi::Number::New(info.Env(), static_cast<double>(h)).As<Napi::Value>() : info.Env().Undefined();
    };
    if (call.handles.empty()) return info.Env().Undefined();
    if (call.handles.size() == 1) return handle(call.handles[0]);
    Napi::Array all = Napi::Array::New(info.Env(), call.handles.size());
    for (uint32_t i = 0; i < call.handles.size(); ++i) all.Set(i, handle(call.handles[i]));
    return all;
  });
}

}  // namespace anymal::node
