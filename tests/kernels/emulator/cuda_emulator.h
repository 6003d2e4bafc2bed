// Runs the source of a CUDA C++ kernel, unchanged, on the CPU: for tests only.
//
// Every CUDA thread of a block is a fiber with a stack of its own. The scheduler resumes fibers in a chosen order and
// completes barriers and warp exchanges when CUDA's rules allow it and only then; whatever breaks a rule ends the
// launch with a message that names the source line. Blocks run one after the other. It all happens on one OS thread.
//
// What it shows: wrong results, out-of-bounds accesses (arrays end at unmapped pages), misaligned accesses and integer
// overflow (with the sanitizer), barriers that not all threads reach, exchanges with lanes that take no part, missing
// barriers (results depend on the order of threads), reads of shared memory that nobody wrote (it holds NaN).
// What it can't show: weak memory ordering, blocks that run at the same time, speed, and anything in the GPU's own
// compiler or driver. NaNs don't carry the GPU's bits.
//
// x86-64 and a compiler with GNU extensions.
#pragma once

#include <cmath>
#include <type_traits>

#include "fibers.h"

#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __shared__ static thread_local  // see Shared

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

// ---- kernels by number: their C++ signature, and a call with the addresses of the arguments

namespace emulator {

template <class T>
struct Name;

template <class P>
void describe(char *text) {
  using Pointee = std::remove_pointer_t<P>;
  if (*text) strcat(text, ",");
  if (std::is_pointer<P>::value && std::is_const<Pointee>::value) strcat(text, "const ");
  strcat(text, Name<std::remove_cv_t<Pointee>>::value);
  if (std::is_pointer<P>::value) strcat(text, "*");
}

template <class... P>
const char *signature(void (*)(P...)) {
  static char text[64 * (sizeof...(P) + 1)];
  text[0] = 0;
  (describe<P>(text), ...);
  return text;
}

template <class... P>
struct Call {
  void (*kernel)(P...);
  void **arguments;

  template <size_t... i>
  void with(std::index_sequence<i...>) {
    kernel(*static_cast<P *>(arguments[i])...);
  }
  static void run(void *self) { static_cast<Call *>(self)->with(std::index_sequence_for<P...>{}); }
};

template <class... P>
int call(void (*kernel)(P...), void **arguments, const unsigned *grid, const unsigned *block,
         const Schedule *schedule) {
  Call<P...> self{kernel, arguments};
  return launch(&Call<P...>::run, &self, grid, block, *schedule);
}

}  // namespace emulator

// What signatures call a type.
#define EMULATED_NAME(type, name)              \
  template <>                                  \
  struct emulator::Name<type> {                \
    static constexpr const char *value = name; \
  }

EMULATED_NAME(float, "f32");
EMULATED_NAME(double, "f64");
EMULATED_NAME(signed char, "i8");
EMULATED_NAME(unsigned char, "u8");
EMULATED_NAME(int, "i32");
EMULATED_NAME(unsigned, "u32");
EMULATED_NAME(long long, "i64");
EMULATED_NAME(unsigned long long, "u64");

#define EMULATE(number, ...)                                                                               \
  extern "C" __attribute__((visibility("default"))) int emulated_launch_##number(                          \
      void **arguments, const unsigned *grid, const unsigned *block, const emulator::Schedule *schedule) { \
    return emulator::call(&__VA_ARGS__, arguments, grid, block, schedule);                                 \
  }                                                                                                        \
  extern "C" __attribute__((visibility("default"))) const char *emulated_signature_##number() {            \
    return emulator::signature(&__VA_ARGS__);                                                              \
  }

extern "C" __attribute__((visibility("default"))) const char *emulated_failure() { return emulator::failure; }

// ---- the names that kernels use

#define threadIdx (emulator::thread_index)
#define blockIdx (emulator::block_index)
#define blockDim (emulator::block_size)
#define gridDim (emulator::grid_size)
#define __syncthreads() emulator::wait_for_block(__LINE__)
#define __syncwarp() emulator::wait_for_warp("__syncwarp", __LINE__, 0xffffffffu, 0)
#define __shfl_xor_sync(...) emulator::shuffle_xor(__LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) emulator::shuffle_down(__LINE__, __VA_ARGS__)
#define __shfl_sync(...) emulator::shuffle(__LINE__, __VA_ARGS__)

// Compiled without contraction, + - * / are the rounded operations themselves.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }

// The angle is reduced exactly before it is multiplied by π.
inline void sincospi(double a, double *sine, double *cosine) {
  const double angle = M_PI * (a - 2.0 * std::rint(a / 2.0));
  *sine = std::sin(angle);
  *cosine = std::cos(angle);
}
inline void sincospif(float a, float *sine, float *cosine) {
  double s, c;
  sincospi(double(a), &s, &c);
  *sine = float(s);
  *cosine = float(c);
}
