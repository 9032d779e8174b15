// What one Node environment (the main thread or a worker) owns: its handle table, its devices, its mapped files.
#pragma once
#include <napi.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "mapped_file.h"
#include "node/promise.h"
#include "queue.h"
#include "tensor.h"

namespace anymal::node {

class Addon {
 public:
  explicit Addon(Napi::Env env);
  static Addon& of(Napi::Env env) { return *env.GetInstanceData<Addon>(); }

  Device& device(int64_t id, const char* op);
  int64_t add(std::unique_ptr<Device> device);
  void close(int64_t id);   // from now on nobody finds it; its queue was told to end
  void closed(int64_t id);  // its queue has ended: only a thread is left to join
  int64_t id_of(const Device& device) const;
  void shut_down();  // at environment teardown: stops every queue

  // After an op was enqueued: runs it to completion when ANYMAL_SYNC asks for it, and tells V8 about memory now and then.
  void enqueued(Napi::Env env, Device& device);

  HandleTable tensors;
  Completions completions;
  std::unordered_map<int64_t, std::shared_ptr<MappedFile>> files;
  struct Capture {
    Device* device;
    std::shared_ptr<Recording> recording;
  };
  std::unordered_map<int64_t, Capture> captures;
  int64_t next_id = 1;
  const char* reading = nullptr;  // whose arguments are being read or used right now

 private:
  std::unordered_map<int64_t, std::unique_ptr<Device>> devices_, closing_;
  bool synchronous_;
  int64_t reported_bytes_ = 0;
  int64_t least_bytes_ = 0, enqueued_ = 0;
};

// Opens a device of that name; on any thread. Throws Error with E_DEVICE and the reason.
std::unique_ptr<Device> open_device(const std::string& name, const std::string& options);
// The options, and for what they leave open the environment variables. On JavaScript's thread, which may change those.
std::string with_defaults(const std::string& name, const std::string& options);

void init_device(Napi::Env env, Napi::Object exports);
void init_tensor(Napi::Env env, Napi::Object exports);
void init_file(Napi::Env env, Napi::Object exports);
void init_media(Napi::Env env, Napi::Object exports);
void init_ops(Napi::Env env, Napi::Object exports);

}  // namespace anymal::node
