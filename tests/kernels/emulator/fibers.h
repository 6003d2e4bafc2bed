// CUDA threads as fibers: barriers, exchanges, and the scheduler that runs one block after the other.
#pragma once

#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <link.h>
#include <sys/mman.h>
#include <utility>

struct uint3 {
  unsigned x, y, z;
};

extern "C" void emulator_switch(void **save_stack_pointer, void *load_stack_pointer)
    __attribute__((visibility("hidden")));

// Saves the callee-saved registers on the running stack and restores those of the other one.
asm(R"(
.text
.hidden emulator_switch
.globl emulator_switch
.type emulator_switch,@function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_switch,.-emulator_switch
)");

namespace emulator {

constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kWarp = 32;
constexpr size_t kStackBytes = 64 << 10;

enum class State { ready, at_barrier, at_exchange, done };

struct Fiber {
  void *stack_pointer;
  State state;
  const char *operation;  // what it waits at, and on which line
  int line;
  unsigned mask;
  uint64_t value;
  unsigned thread;
};

// Mirrored in emulated.py.
struct Schedule {
  int threads;  // 0 ascending, 1 descending, 2 shuffled: a warp runs until it must wait; 3 scattered; 4 lockstep
  int blocks;   // 0 ascending, 1 descending, 2 shuffled
  unsigned seed;
  int flush_denormals;
  long long first_block, last_block;  // only these of the grid
};

struct Failed {};

inline Fiber fibers[kMaxThreads];
inline uint64_t exchanged[kMaxThreads];
inline char *stacks;
inline unsigned n_threads;
inline Fiber *running;  // null while the scheduler runs
inline void *scheduler_stack_pointer;
inline void (*body)(void *);
inline void *body_argument;
inline uint64_t random_state;
inline char failure[512];
inline uint3 thread_index, block_index, block_size, grid_size;

inline uint64_t random_bits() {
  uint64_t mixed = random_state += 0x9e3779b97f4a7c15ull;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
  return mixed ^ (mixed >> 31);
}

inline void to_scheduler() { emulator_switch(&running->stack_pointer, scheduler_stack_pointer); }

// Ends the launch: from the scheduler's stack by an exception; a fiber is left where it is and never resumed.
[[noreturn]] inline void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(failure, sizeof failure, format, arguments);
  va_end(arguments);
  if (running == nullptr) throw Failed{};
  to_scheduler();
  __builtin_unreachable();
}

inline void fiber_main() {
  body(body_argument);
  running->state = State::done;
  to_scheduler();
  __builtin_unreachable();
}

inline void start(unsigned thread) {
  void **top = reinterpret_cast<void **>(stacks + kStackBytes * (thread + 1));
  *--top = nullptr;  // where fiber_main would return to; keeps the alignment that a call has
  *--top = reinterpret_cast<void *>(&fiber_main);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  fibers[thread] = Fiber{top, State::ready, "", 0, 0, 0, thread};
}

inline void resume(unsigned thread) {
  running = &fibers[thread];
  const unsigned x = thread % block_size.x, rest = thread / block_size.x;
  thread_index = {x, rest % block_size.y, rest / block_size.y};
  emulator_switch(&scheduler_stack_pointer, running->stack_pointer);
  running = nullptr;
  if (failure[0]) throw Failed{};
}

// Faults of kernel code arrive on the fiber's own stack, which can therefore be left like any other.
inline void on_fault(int number, siginfo_t *information, void *) {
  if (running == nullptr) {
    signal(number, SIG_DFL);
    return;
  }
  const unsigned thread = running->thread, block = block_index.x;
  if (number == SIGILL)
    fail("undefined behaviour (misaligned access, overflow, ...) in thread %u of block %u", thread, block);
  if (number == SIGFPE) fail("integer division by zero in thread %u of block %u", thread, block);
  fail("thread %u of block %u touches memory at %p that is in none of its arrays, or misaligned", thread, block,
       information->si_addr);
}

// ---- barriers and exchanges, called by kernels

inline void wait(State state, const char *operation, int line, unsigned mask, uint64_t value) {
  Fiber &fiber = *running;
  fiber.state = state;
  fiber.operation = operation;
  fiber.line = line;
  fiber.mask = mask;
  fiber.value = value;
  to_scheduler();
}

inline void wait_for_block(int line) { wait(State::at_barrier, "__syncthreads", line, 0, 0); }

inline void wait_for_warp(const char *operation, int line, unsigned mask, uint64_t value) {
  const unsigned lane = running->thread % kWarp;
  if (!(mask >> lane & 1))
    fail("%s at line %d: lane %u calls it but is not in mask 0x%08x", operation, line, lane, mask);
  wait(State::at_exchange, operation, line, mask, value);
}

template <class T>
T exchange(const char *operation, int line, unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "exchanges carry at most 64 bits");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  wait_for_warp(operation, line, mask, bits);
  const unsigned lane = running->thread % kWarp;
  if (source < 0 || source >= int(kWarp)) source = int(lane);  // CUDA: a source outside the warp gives one's own value
  if (!(mask >> source & 1))
    fail("%s at line %d: lane %u reads lane %d, which takes no part (mask 0x%08x)", operation, line, lane, source,
         mask);
  memcpy(&value, &exchanged[running->thread - lane + unsigned(source)], sizeof value);
  return value;
}

template <class T>
T shuffle_xor(int line, unsigned mask, T value, int distance) {
  return exchange("__shfl_xor_sync", line, mask, value, int(running->thread % kWarp) ^ distance);
}
template <class T>
T shuffle_down(int line, unsigned mask, T value, unsigned distance) {
  return exchange("__shfl_down_sync", line, mask, value, int(running->thread % kWarp + distance));
}
template <class T>
T shuffle(int line, unsigned mask, T value, int source) {
  return exchange("__shfl_sync", line, mask, value, int(unsigned(source) % kWarp));
}

// ---- the scheduler

// Checks one lane that another one waits for; returns whether it is there.
inline bool has_arrived(const Fiber &waiting, unsigned other) {
  const unsigned lane = other % kWarp;
  if (other >= n_threads)
    fail("%s at line %d: mask 0x%08x names lane %u, which does not exist", waiting.operation, waiting.line,
         waiting.mask, lane);
  const Fiber &fiber = fibers[other];
  if (fiber.state == State::ready) return false;
  if (fiber.state == State::done)
    fail("%s at line %d: mask 0x%08x names lane %u, which has exited", waiting.operation, waiting.line, waiting.mask,
         lane);
  if (fiber.state == State::at_barrier || fiber.line != waiting.line || fiber.mask != waiting.mask ||
      strcmp(fiber.operation, waiting.operation) != 0)
    fail("thread %u waits at %s line %d mask 0x%08x for thread %u, which waits at %s line %d mask 0x%08x",
         waiting.thread, waiting.operation, waiting.line, waiting.mask, other, fiber.operation, fiber.line, fiber.mask);
  return true;
}

// Completes the exchanges of one warp whose lanes are all there; returns whether any was.
inline bool complete_exchanges(unsigned first) {
  bool any = false;
  for (unsigned thread = first; thread < first + kWarp && thread < n_threads; ++thread) {
    const Fiber &waiting = fibers[thread];
    if (waiting.state != State::at_exchange) continue;
    const unsigned mask = waiting.mask;
    bool complete = true;
    for (unsigned lane = 0; lane < kWarp; ++lane)
      if (mask >> lane & 1) complete = has_arrived(waiting, first + lane) && complete;
    if (!complete) continue;
    for (unsigned lane = 0; lane < kWarp; ++lane) {
      if (!(mask >> lane & 1)) continue;
      exchanged[first + lane] = fibers[first + lane].value;
      fibers[first + lane].state = State::ready;
    }
    any = true;
  }
  return any;
}

// Completes the block's barrier if all threads are there; returns false if all threads are done.
inline bool complete_barrier() {
  unsigned n_done = 0;
  const Fiber *first = nullptr;
  for (unsigned thread = 0; thread < n_threads; ++thread) {
    const Fiber &fiber = fibers[thread];
    if (fiber.state == State::at_exchange)
      fail("thread %u waits at %s line %d for ever: mask 0x%08x never assembles", thread, fiber.operation, fiber.line,
           fiber.mask);
    if (fiber.state == State::done)
      ++n_done;
    else if (first == nullptr)
      first = &fiber;
    else if (fiber.line != first->line)
      fail("thread %u waits at __syncthreads line %d, thread %u at line %d", first->thread, first->line, thread,
           fiber.line);
  }
  if (first == nullptr) return false;
  if (n_done) fail("__syncthreads at line %d: %u of %u threads have exited", first->line, n_done, n_threads);
  for (unsigned thread = 0; thread < n_threads; ++thread) fibers[thread].state = State::ready;
  return true;
}

inline void shuffle_order(unsigned *order, unsigned count) {
  for (; count > 1; --count) std::swap(order[count - 1], order[random_bits() % count]);
}

// Lets one warp after the other run until all its threads wait for the block or are done.
inline void run_warps(const Schedule &schedule) {
  const unsigned n_warps = (n_threads + kWarp - 1) / kWarp;
  unsigned warps[kMaxThreads / kWarp], lanes[kWarp];
  for (unsigned i = 0; i < n_warps; ++i) warps[i] = schedule.threads == 1 ? n_warps - 1 - i : i;
  for (unsigned i = 0; i < kWarp; ++i) lanes[i] = schedule.threads == 1 ? kWarp - 1 - i : i;
  if (schedule.threads == 2) shuffle_order(warps, n_warps);
  for (unsigned i = 0; i < n_warps; ++i) {
    const unsigned first = warps[i] * kWarp;
    do {
      if (schedule.threads == 2) shuffle_order(lanes, kWarp);
      for (unsigned lane : lanes)
        if (first + lane < n_threads && fibers[first + lane].state == State::ready) resume(first + lane);
    } while (complete_exchanges(first));
  }
}

// Lets random threads run, one step each, until nobody can.
inline void run_scattered() {
  unsigned ready[kMaxThreads];
  for (;;) {
    unsigned count = 0;
    for (unsigned thread = 0; thread < n_threads; ++thread)
      if (fibers[thread].state == State::ready) ready[count++] = thread;
    if (count == 0) return;
    const unsigned thread = ready[random_bits() % count];
    resume(thread);
    complete_exchanges(thread - thread % kWarp);
  }
}

// Lets every thread take one step, then all again, until nobody can.
inline void run_lockstep() {
  for (bool any = true; any;) {
    any = false;
    for (unsigned thread = 0; thread < n_threads; ++thread)
      if (fibers[thread].state == State::ready) resume(thread), any = true;
    for (unsigned first = 0; first < n_threads; first += kWarp) complete_exchanges(first);
  }
}

// Shared variables are thread-local ones, because these lie together, those of templates too: in the library's block of
// thread-local memory, which the dynamic loader knows.
struct Shared {
  char *start;
  size_t n_bytes;
};
inline thread_local volatile char in_shared;
inline Shared shared;

inline int find_shared(dl_phdr_info *library, size_t, void *) {
  in_shared = 0;  // the block is allocated when it is first used
  const char *wanted = const_cast<char *>(&in_shared);
  char *start = static_cast<char *>(library->dlpi_tls_data);
  for (int i = 0; i < library->dlpi_phnum; ++i) {
    const size_t n_bytes = library->dlpi_phdr[i].p_memsz;
    if (library->dlpi_phdr[i].p_type != PT_TLS || wanted < start || wanted >= start + n_bytes) continue;
    shared = {start, n_bytes};
    return 1;
  }
  return 0;
}

inline void run_block(const Schedule &schedule) {
  memset(shared.start, 0xff, shared.n_bytes);  // NaN
  for (unsigned thread = 0; thread < n_threads; ++thread) start(thread);
  do {
    if (schedule.threads == 3)
      run_scattered();
    else if (schedule.threads == 4)
      run_lockstep();
    else
      run_warps(schedule);
  } while (complete_barrier());
}

inline void run_grid(const Schedule &schedule, uint64_t n_blocks) {
  constexpr uint64_t kPrime = 1000003;
  const uint64_t first = uint64_t(schedule.first_block);
  const uint64_t count = (schedule.last_block < 0 ? n_blocks : uint64_t(schedule.last_block)) - first;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t block = i;
    if (schedule.blocks == 1) block = count - 1 - i;
    if (schedule.blocks == 2 && count % kPrime) block = (i * kPrime + schedule.seed) % count;
    block += first;
    block_index = {unsigned(block % grid_size.x), unsigned(block / grid_size.x % grid_size.y),
                   unsigned(block / grid_size.x / grid_size.y)};
    run_block(schedule);
  }
}

inline int launch(void (*kernel)(void *), void *arguments, const unsigned *grid, const unsigned *block,
                  const Schedule &schedule) {
  constexpr unsigned kFlush = 0x8040;  // flush to zero, denormals are zero
  const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  failure[0] = 0;
  if (block[0] * block[1] * block[2] - 1 >= kMaxThreads || grid[0] - 1 >= 0x7fffffffu)
    return snprintf(failure, sizeof failure, "no GPU takes %u blocks of %u threads", grid[0], block[0]);
  grid_size = {grid[0], grid[1], grid[2]};
  block_size = {block[0], block[1], block[2]};
  n_threads = block[0] * block[1] * block[2];
  body = kernel;
  body_argument = arguments;
  dl_iterate_phdr(find_shared, nullptr);
  random_state = schedule.seed;
  if (stacks == nullptr) {
    void *mapped = mmap(nullptr, kStackBytes * kMaxThreads, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED)
      return snprintf(failure, sizeof failure, "no memory for the stacks of %u threads", kMaxThreads);
    stacks = static_cast<char *>(mapped);
  }
  struct sigaction ours = {}, before[4];
  ours.sa_sigaction = on_fault;
  ours.sa_flags = SA_SIGINFO | SA_NODEFER;
  for (int i = 0; i < 4; ++i) sigaction(faults[i], &ours, &before[i]);
  const unsigned control = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(schedule.flush_denormals ? control | kFlush : control & ~kFlush);
  try {
    run_grid(schedule, uint64_t(grid[0]) * grid[1] * grid[2]);
  } catch (const Failed &) {
  }
  __builtin_ia32_ldmxcsr(control);
  for (int i = 0; i < 4; ++i) sigaction(faults[i], &before[i], nullptr);
  return failure[0] != 0;
}

}  // namespace emulator
