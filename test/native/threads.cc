// How many threads a device takes by default, over files as Linux has them on machines of many kinds.
#include "cpu/threads.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>

#include "check.h"

using namespace anymal::cpu;
namespace fs = std::filesystem;

namespace {

// A root of made-up files, which goes with it.
struct Root {
  std::string path;
  explicit Root(const std::map<std::string, std::string>& files) {
    path = (fs::temp_directory_path() / ("anymal-threads-" + std::string(6, 'X'))).string();  // mkdtemp draws the last six
    if (!mkdtemp(path.data())) throw std::runtime_error("no folder for made-up files");
    for (const auto& [file, text] : files) {
      fs::create_directories(fs::path(path + file).parent_path());
      std::ofstream(path + file) << text << "\n";
    }
  }
  ~Root() { fs::remove_all(path); }
};

std::vector<int> first(int n) {
  std::vector<int> cpus;
  for (int i = 0; i < n; ++i) cpus.push_back(i);
  return cpus;
}
std::string siblings(int cpu) { return "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list"; }

void expect(const char* what, const std::vector<int>& cpus, const std::map<std::string, std::string>& files, int count, const std::string& why) {
  const Root root(files);
  const DefaultThreads got = default_threads(cpus, root.path);
  CHECK_SAY(got.count == count && got.why == why, std::string(what) + ": " + std::to_string(got.count) + ", \"" + got.why + "\"");
}

void cores() {
  expect("nothing is known but the mask", {3, 5, 9}, {}, 3, "");
  std::map<std::string, std::string> smt;
  for (int c = 0; c < 8; ++c) smt[siblings(c)] = std::to_string(c % 4) + "," + std::to_string(c % 4 + 4);
  expect("hyperthreads", first(8), smt, 4, "4 of 8 CPUs: the others share their cores");
  expect("one of each core", first(4), smt, 4, "");
  expect("both of one core", {1, 5}, smt, 1, "1 of 2 CPUs: the others share their cores");
  expect("cores of their own", {0, 1}, {{siblings(0), "0"}, {siblings(1), "1"}}, 2, "");
}

void quotas() {
  const std::string v2 = "/sys/fs/cgroup", self = "/proc/self/cgroup";
  expect("no quota", first(8), {{self, "0::/"}, {v2 + "/cpu.max", "max 100000"}}, 8, "");
  expect("a container's own root", first(8), {{self, "0::/"}, {v2 + "/cpu.max", "250000 100000"}}, 3, "3 of 8 CPUs: the control group allows 2.5");
  expect("less than a CPU", first(8), {{self, "0::/"}, {v2 + "/cpu.max", "20000 100000"}}, 1, "1 of 8 CPUs: the control group allows 0.2");
  expect("more than the cores", first(2), {{self, "0::/"}, {v2 + "/cpu.max", "800000 100000"}}, 2, "");
  expect("the group around has less", first(8),
         {{self, "0::/kubepods/pod1/c"}, {v2 + "/kubepods/pod1/c/cpu.max", "600000 100000"}, {v2 + "/kubepods/pod1/cpu.max", "400000 100000"}}, 4,
         "4 of 8 CPUs: the control group allows 4");
  expect("the host's path, which is not seen", first(8), {{self, "0::/docker/abc"}, {v2 + "/cpu.max", "100000 100000"}}, 1,
         "1 of 8 CPUs: the control group allows 1");
  const std::string v1 = "5:memory:/x\n4:cpu,cpuacct:/docker/abc\n0::/";
  expect("version 1", first(8),
         {{self, v1}, {v2 + "/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "150000"}, {v2 + "/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "50000"}}, 3,
         "3 of 8 CPUs: the control group allows 3");
  expect("version 1 without a quota", first(8), {{self, v1}, {v2 + "/cpu/cpu.cfs_quota_us", "-1"}, {v2 + "/cpu/cpu.cfs_period_us", "100000"}}, 8, "");
  expect("another controller's file", first(8), {{self, "3:cpuset:/a"}, {v2 + "/cpu/cpu.cfs_quota_us", "100000"}}, 8, "");
  expect("no sense in it", first(8), {{self, "nonsense\n:\n::\n0::"}, {v2 + "/cpu.max", "many 100000"}}, 8, "");
}

}  // namespace

int main() {
  cores();
  quotas();
  CHECK(!allowed_cpus().empty());
  CHECK(default_threads({}).count >= 1);
  return check::finish();
}
