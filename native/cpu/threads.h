// How many threads a device takes that was told no number: those that can run at once.
#pragma once
#include <string>
#include <vector>

namespace anymal::cpu {

struct DefaultThreads {
  int count = 1;
  std::string why;  // where that is fewer than the CPUs the process may run on: in words
};

/** The CPUs that the calling thread may run on; empty where the system does not say. */
std::vector<int> allowed_cpus();

/**
 * At most one per core (two hyperthreads share what multiplies), and no more than the quota of the control group, rounded up: threads beyond it would
 * be stopped for the rest of each period while others wait for them. Files are read under `root`, "" but for tests.
 */
DefaultThreads default_threads(const std::vector<int>& cpus, const std::string& root = "");

// The parts of it.
int cores_of(const std::vector<int>& cpus, const std::string& root);
double quota_of(const std::string& root);  // in CPUs; 0 where there is none

}  // namespace anymal::cpu
