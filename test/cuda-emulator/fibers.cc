// The context switch by hand: ucontext would make a system call per switch, and a kernel switches millions of times.
#include "fibers.h"

#include <sys/mman.h>

#include "reports.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/common_interface_defs.h>
#define EMU_ASAN 1
#endif

// Saves the registers that a call preserves, and takes those of the other stack.
extern "C" void emu_switch(void** save_sp, void* load_sp);
#if defined(__x86_64__)
asm(".text\n.globl emu_switch\n.hidden emu_switch\n.type emu_switch,@function\nemu_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
    ".size emu_switch,.-emu_switch\n");
static void* first_frame(char* top, void (*entry)()) {
  void** p = reinterpret_cast<void**>(top) - 8;
  std::fill(p, p + 8, nullptr);
  p[6] = reinterpret_cast<void*>(entry);
  return p;
}
#elif defined(__aarch64__)  // written by the manual; has not run yet
asm(".text\n.globl emu_switch\n.hidden emu_switch\n.type emu_switch,%function\nemu_switch:\n"
    "sub sp,sp,#160\nstp x19,x20,[sp]\nstp x21,x22,[sp,#16]\nstp x23,x24,[sp,#32]\nstp x25,x26,[sp,#48]\n"
    "stp x27,x28,[sp,#64]\nstp x29,x30,[sp,#80]\nstp d8,d9,[sp,#96]\nstp d10,d11,[sp,#112]\nstp d12,d13,[sp,#128]\nstp d14,d15,[sp,#144]\n"
    "mov x9,sp\nstr x9,[x0]\nmov sp,x1\n"
    "ldp x19,x20,[sp]\nldp x21,x22,[sp,#16]\nldp x23,x24,[sp,#32]\nldp x25,x26,[sp,#48]\n"
    "ldp x27,x28,[sp,#64]\nldp x29,x30,[sp,#80]\nldp d8,d9,[sp,#96]\nldp d10,d11,[sp,#112]\nldp d12,d13,[sp,#128]\nldp d14,d15,[sp,#144]\n"
    "add sp,sp,#160\nret\n"
    ".size emu_switch,.-emu_switch\n");
static void* first_frame(char* top, void (*entry)()) {
  void** p = reinterpret_cast<void**>(top - 160);
  std::fill(p, p + 20, nullptr);
  p[11] = reinterpret_cast<void*>(entry);  // x30
  return p;
}
#else
#error "add a context switch for this CPU"
#endif

namespace emu {

__thread Thread* self = nullptr;
__thread bool in_runtime = false;

namespace {

#ifdef EMU_ASAN
constexpr size_t kStack = 256 * 1024;  // its red zones around every variable need room
#else
constexpr size_t kStack = 64 * 1024;
#endif
constexpr size_t kGuard = 4096;

std::vector<char*> free_stacks;  // kept: a launch of the same shape finds them warm
void* host_sp = nullptr;
#ifdef EMU_ASAN
const void* host_stack = nullptr;
size_t host_stack_bytes = 0;
void* host_fake_stack = nullptr;
#endif

void leaving([[maybe_unused]] Thread* from, [[maybe_unused]] Thread* to, [[maybe_unused]] bool from_ends) {
#ifdef EMU_ASAN
  void** fake = from_ends ? nullptr : from ? &from->asan_fake_stack : &host_fake_stack;
  __sanitizer_start_switch_fiber(fake, to ? to->stack : host_stack, to ? kStack : host_stack_bytes);
#endif
}
void arrived([[maybe_unused]] Thread* me) {
#ifdef EMU_ASAN
  const void* old_stack;
  size_t old_bytes;
  __sanitizer_finish_switch_fiber(me ? me->asan_fake_stack : host_fake_stack, &old_stack, &old_bytes);
  if (!host_stack) host_stack = old_stack, host_stack_bytes = old_bytes;  // the first switch of a launch comes from there
#endif
}

}  // namespace

void fiber_make(Thread& t, void (*entry)()) {
  if (free_stacks.empty()) {
    void* p = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) fail("out of stacks for threads");
    mprotect(p, kGuard, PROT_NONE);
    free_stacks.push_back(static_cast<char*>(p) + kGuard);
  }
  t.stack = free_stacks.back();
  free_stacks.pop_back();
  t.sp = first_frame(t.stack + kStack, entry);
}
void fiber_recycle(Thread& t) { free_stacks.push_back(t.stack); }
bool on_stack_of(const Thread& t, const char* p) { return p >= t.stack && p < t.stack + kStack; }

void fibers_begin() {
#ifdef EMU_ASAN
  host_stack = nullptr;
#endif
}
void fiber_switch(Thread* from, Thread* to, bool from_ends) {
  leaving(from, to, from_ends);
  self = to;
  if (to) {
    threadIdx = to->idx;
    blockIdx = to->block->idx;
  }
  emu_switch(from ? &from->sp : &host_sp, to ? to->sp : host_sp);
  arrived(from);
}
void fiber_entered(Thread* me) { arrived(me); }

}  // namespace emu
