// A file mapped read-only: weights reach a device from here without passing through JavaScript.
#pragma once
#include <cstdint>
#include <string>

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
  // Copies, after checking that the file has not been cut meanwhile: reading past its end through the map would kill the process.
  void read(uint64_t offset, uint64_t bytes, void* to) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
  const uint8_t* data_ = nullptr;
};

}  // namespace anymal
