#include "cpu/threads.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace anymal::cpu {
namespace {

// The first line of a file; empty where there is none.
std::string line_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// quota / period; 0 for "max", -1 and what is no number.
double share(const std::string& quota, const std::string& period) {
  const double of = std::strtod(quota.c_str(), nullptr), all = std::strtod(period.c_str(), nullptr);
  return of > 0 && all > 0 ? of / all : 0;
}

// Version 2: "<quota|max> <period>" in one file. Version 1: a file each.
double limit_in(const std::string& folder, bool second) {
  if (!second) return share(line_of(folder + "/cpu.cfs_quota_us"), line_of(folder + "/cpu.cfs_period_us"));
  std::istringstream line(line_of(folder + "/cpu.max"));
  std::string quota, period;
  line >> quota >> period;
  return share(quota, period);
}

// The least limit of a group and those around it. In a container the path may be the host's and lead nowhere: then the mount's own root counts.
double least_limit(const std::string& mount, std::string group, bool second) {
  double least = 0;
  for (;;) {
    while (!group.empty() && group.back() == '/') group.pop_back();
    const double here = limit_in(mount + group, second);
    if (here > 0 && (least == 0 || here < least)) least = here;
    if (group.empty()) return least;
    group.erase(std::min(group.rfind('/'), group.size()));
  }
}

bool names_cpu(const std::string& controllers) {
  std::istringstream list(controllers);
  for (std::string one; std::getline(list, one, ',');)
    if (one == "cpu") return true;
  return false;
}

}  // namespace

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int c = 0; c < CPU_SETSIZE; ++c)
      if (CPU_ISSET(c, &set)) cpus.push_back(c);
#endif
  return cpus;
}

double quota_of(const std::string& root) {
  double least = 0;
  const auto take = [&](double limit) {
    if (limit > 0 && (least == 0 || limit < least)) least = limit;
  };
  std::ifstream groups(root + "/proc/self/cgroup");
  const std::string mounts = root + "/sys/fs/cgroup";
  for (std::string line; std::getline(groups, line);) {  // "<number>:<controllers>:<path>", without controllers for version 2
    const size_t first = line.find(':'), second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
    if (controllers.empty()) {
      for (const char* mount : {"", "/unified"}) take(least_limit(mounts + mount, group, true));
    } else if (names_cpu(controllers)) {
      for (const std::string& mount : {std::string("cpu"), controllers}) take(least_limit(mounts + "/" + mount, group, false));
    }
  }
  return least;
}

int cores_of(const std::vector<int>& cpus, const std::string& root) {
  std::set<std::string> cores;
  for (const int cpu : cpus) {
    const std::string siblings = line_of(root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    cores.insert(siblings.empty() ? "cpu " + std::to_string(cpu) : siblings);
  }
  return static_cast<int>(cores.size());
}

DefaultThreads default_threads(const std::vector<int>& cpus, const std::string& root) {
  if (cpus.empty()) return {std::max(1, static_cast<int>(std::thread::hardware_concurrency())), ""};
  const int all = static_cast<int>(cpus.size()), cores = cores_of(cpus, root);
  const double quota = quota_of(root);
  const std::string of = " of " + std::to_string(all) + " CPUs: ";
  if (quota > 0 && std::ceil(quota) < cores) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", quota);
    const int count = std::max(1, static_cast<int>(std::ceil(quota)));
    return {count, std::to_string(count) + of + "the control group allows " + text};
  }
  if (cores < all) return {cores, std::to_string(cores) + of + "the others share their cores"};
  return {all, ""};
}

}  // namespace anymal::cpu
