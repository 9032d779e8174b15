// Reports, the names of kernels, and the log of launched ones.
#include "reports.h"

#include <fcntl.h>
#include <link.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "scheduler.h"

namespace emu {

void end_process() {
  fflush(stdout);
  _exit(3);  // no destructors: other host threads may be anywhere
}

void fail(const char* format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "\nEMU: ");
  vfprintf(stderr, format, args);
  va_end(args);
  if (self)
    fprintf(stderr, "\n  in %s, block (%u,%u,%u) thread (%u,%u,%u), seed %lu", running_kernel(), self->block->idx.x, self->block->idx.y,
            self->block->idx.z, self->idx.x, self->idx.y, self->idx.z, static_cast<unsigned long>(settings.seed));
  fprintf(stderr, "\n");
  end_process();
}

std::string where(const Loc& at) {
  const bool before = std::exchange(in_runtime, true);  // the linker may have taken the kernels' copy of what strings call
  const char* slash = strrchr(at.file_name(), '/');
  std::string text = std::string(slash ? slash + 1 : at.file_name()) + ":" + std::to_string(at.line());
  in_runtime = before;
  return text;
}

const Image& image() {
  static const Image found = [] {
    Image i{};
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* out) {
          Image i{reinterpret_cast<const char*>(UINTPTR_MAX), nullptr, info->dlpi_addr, info->dlpi_name};
          for (int h = 0; h < info->dlpi_phnum; ++h) {
            if (info->dlpi_phdr[h].p_type != PT_LOAD) continue;
            auto begin = reinterpret_cast<const char*>(info->dlpi_addr + info->dlpi_phdr[h].p_vaddr);
            i.begin = std::min(i.begin, begin);
            i.end = std::max(i.end, begin + info->dlpi_phdr[h].p_memsz);
          }
          auto here = reinterpret_cast<const char*>(&image);
          if (here < i.begin || here >= i.end) return 0;
          *static_cast<Image*>(out) = i;
          return 1;
        },
        &i);
    // The path may be relative, and the process may go elsewhere before there is something to report.
    if (char* path = realpath(i.path.empty() ? "/proc/self/exe" : i.path.c_str(), nullptr)) {
      i.path = path;
      free(path);
    }
    return i;
  }();
  return found;
}
static const Image& seen_at_start [[maybe_unused]] = image();

std::string code_at(const void* pc) {
  char command[4608], buffer[512];
  // A return address belongs to the instruction behind the call.
  snprintf(command, sizeof command, "addr2line -Cifpe '%s' 0x%zx 2>/dev/null", image().path.c_str(),
           static_cast<size_t>(reinterpret_cast<uintptr_t>(pc) - image().base - 1));
  std::string out;
  if (FILE* f = popen(command, "r")) {
    while (fgets(buffer, sizeof buffer, f)) out += std::string("      ") + buffer;
    pclose(f);
  }
  return out.empty() ? "      ? (addr2line is not installed)\n" : out;
}

// A kernel's name in the text ends with the entry or the list. Never destroyed, as the texts below: the statistics are written when the library's
// statics go.
const std::string& kernel_name(const char* text) {
  static auto& names = *new std::map<const char*, std::string>;
  const auto [it, fresh] = names.try_emplace(text, text);
  if (!fresh) return it->second;
  std::string& name = it->second;
  for (const char* key : {"Kernel = ", "(P ...) = "})
    if (const size_t at = name.rfind(key); at != std::string::npos) {
      const size_t begin = at + strlen(key), end = std::min(name.find(';', begin), name.rfind(']'));
      return name = name.substr(begin, end - begin);
    }
  return name;
}

static std::vector<const char*>& known_texts() {  // filled while the library's statics are made
  static auto& texts = *new std::vector<const char*>;
  return texts;
}
bool know_kernel(const char* text) {
  known_texts().push_back(text);
  return true;
}

namespace {
// Kernel and launches, appended in one write at the end: processes side by side share the file.
struct Log {
  std::map<std::string, uint64_t> launches;
  ~Log() {
    if (!settings.stats || launches.empty()) return;
    for (const char* text : known_texts()) launches.try_emplace(kernel_name(text), 0);
    std::string text;
    for (const auto& [kernel, n] : launches) text += kernel + "\t" + std::to_string(n) + "\n";
    const int file = open(settings.stats, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0) return;
    if (write(file, text.data(), text.size()) < 0) perror("EMU_STATS");
    close(file);
  }
} launch_log;
}  // namespace

void log_launch(const char* kernel) {
  if (settings.stats) ++launch_log.launches[kernel];
}

}  // namespace emu
