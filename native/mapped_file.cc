#include "mapped_file.h"

#include <cerrno>
#include <cstring>

#include "shapes.h"

#ifdef __unix__
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace anymal {

#ifdef __unix__

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const auto fail = [&](const char* what) {
    const std::string reason = std::strerror(errno);
    if (descriptor_ >= 0) close(descriptor_);
    throw Error("E_FILE", path_ + ": " + what + ": " + reason);
  };
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) fail("cannot open");
  struct stat status;
  if (fstat(descriptor_, &status) != 0) fail("cannot read its size");
  if (!S_ISREG(status.st_mode)) {
    close(descriptor_);
    throw Error("E_FILE", path_ + ": expected a regular file");
  }
  size_ = static_cast<uint64_t>(status.st_size);
  if (size_ == 0) return;
  void* map = mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor_, 0);
  if (map == MAP_FAILED) fail("cannot map");
  data_ = static_cast<const uint8_t*>(map);
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<uint8_t*>(data_), size_);
  if (descriptor_ >= 0) close(descriptor_);
}

void MappedFile::read(uint64_t offset, uint64_t bytes, void* to) const {
  const uint8_t* from = at(offset, bytes);
  struct stat status;
  if (fstat(descriptor_, &status) != 0 || static_cast<uint64_t>(status.st_size) < offset + bytes)
    throw Error("E_FILE", path_ + ": the file was cut while it was open; it had " + std::to_string(size_) + " bytes");
  if (bytes) std::memcpy(to, from, bytes);
}

#else
#error "mapped_file.cc: this platform has no port yet"
#endif

const uint8_t* MappedFile::at(uint64_t offset, uint64_t bytes) const {
  if (offset > size_ || bytes > size_ - offset)
    throw Error("E_FILE", path_ + ": expected bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes) + ", but the file ends at " +
                              std::to_string(size_));
  return data_ + offset;
}

}  // namespace anymal
