#include "mapped_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "half.h"
#include "shapes.h"

#ifdef __unix__
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace anymal {

#ifdef __unix__

namespace {
constexpr uint64_t kAtOnce = uint64_t{1} << 30;  // systems read at most 2 GiB in one call
constexpr uint64_t kLarge = uint64_t{1} << 20;
constexpr off_t kAhead = off_t{64} << 20;
}  // namespace

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
  at(offset, bytes);
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t got = pread(descriptor_, static_cast<char*>(to) + done, std::min(bytes - done, kAtOnce), static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error("E_FILE", path_ + ": cannot read: " + std::strerror(errno));
    if (got == 0) throw Error("E_FILE", path_ + ": the file was cut while it was open; it had " + std::to_string(size_) + " bytes");
    done += static_cast<uint64_t>(got);
  }
  if (bytes >= kLarge) ask_for(offset + bytes);
}

// What comes next in the file is usually wanted next: the disk fetches it while the device works on this.
void MappedFile::ask_for(uint64_t offset) const {
  if (offset < size_) posix_fadvise(descriptor_, static_cast<off_t>(offset), kAhead, POSIX_FADV_WILLNEED);
}

#else
#error "mapped_file.cc: this platform has no port yet"
#endif

void MappedFile::read_half(uint64_t offset, uint64_t count, DType dtype, void* to) const {
  if (count > size_) at(offset, size_ + 1);  // the product below cannot wrap
  at(offset, 2 * count);
  constexpr uint64_t piece = 64 * 1024;
  std::vector<uint16_t> halves(std::min(count, piece));
  for (uint64_t done = 0; done < count; done += piece) {
    const uint64_t n = std::min(count - done, piece);
    read(offset + 2 * done, 2 * n, halves.data());
    if (dtype == DType::bf16) {
      uint16_t* out = static_cast<uint16_t*>(to) + done;
      for (uint64_t i = 0; i < n; ++i) out[i] = f32_bits_to_bf16(half_to_f32_bits(halves[i]));
    } else {
      uint32_t* out = static_cast<uint32_t*>(to) + done;
      for (uint64_t i = 0; i < n; ++i) out[i] = half_to_f32_bits(halves[i]);
    }
  }
  if (2 * count >= kLarge) ask_for(offset + 2 * count);
}

const uint8_t* MappedFile::at(uint64_t offset, uint64_t bytes) const {
  if (offset > size_ || bytes > size_ - offset)
    throw Error("E_FILE", path_ + ": expected bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes) + ", but the file ends at " +
                              std::to_string(size_));
  return data_ + offset;
}

}  // namespace anymal
