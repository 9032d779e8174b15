// A file mapped read-only: weights reach a device from here without passing through JavaScript.
#pragma once
#include <cstdint>
#include <string>

#include "backend.h"

namespace anymal {

class MappedFile {
 public:
  explicit MappedFile(const std::string& path);  // throws Error E_FILE
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }
  // Throws Error E_FILE when [offset, offset + bytes) is not inside the file.
  const uint8_t* at(uint64_t offset, uint64_t bytes) const;
  // Reads without the map: pages touched there count as the process's memory until the kernel takes them back, a file of 13 GB as 13 GB; and a file
  // that is cut meanwhile gives an error here, where the map would kill the process.
  void read(uint64_t offset, uint64_t bytes, void* to) const;
  // `count` numbers in half precision, widened to f32 or rounded to bf16 on the way, without a copy of them all.
  void read_half(uint64_t offset, uint64_t count, DType dtype, void* to) const;

 private:
  void ask_for(uint64_t offset) const;

  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
  const uint8_t* data_ = nullptr;
};

}  // namespace anymal
