// What the kernels share: rounded arithmetic, types of weights, and rows cut into tiles that warps read and write 16
// bytes a thread at a time.
//
// Symbols: w_j, g_j, v_j  weights, gradient and local velocity of learner j = 0..k-1, rows of (k, ld) arrays
//          z, e           central average model and its velocity (its last increment), (n,)
//          γ α μ μ_l λ    learning rate, strength of the correction, central and local momentum, weight decay
// Types:   T  of weights and gradients: float, double, __half, __nv_bfloat16
//          A  of everything else and of all arithmetic: double for double, else float
//
// Every floating-point operation is spelled out as one correctly rounded instruction, so no compiler contracts or
// reorders it: a GPU, an emulation on a CPU, and the fused and the split kernels agree to the bit.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

constexpr int kWarp = 32;
constexpr int kOwn = 8;              // elements of a tile that one thread handles
constexpr int kTile = kWarp * kOwn;  // elements that one warp handles at a time
constexpr int kPacketBytes = 16;     // widest access of a thread

// Blocks of 256 threads that an SM must be able to hold when every thread keeps several arrays of kOwn: at most 80
// registers, or 128 for double. Without such a bound, and with more blocks, the compiler spills.
template <typename T>
constexpr int kResident = sizeof(T) == 8 ? 2 : 3;

template <typename T>
struct Arithmetic {
  using type = float;
};
template <>
struct Arithmetic<double> {
  using type = double;
};
template <typename T>
using Wide = typename Arithmetic<T>::type;

// ---- arithmetic: one rounding each, to nearest even -------------------------------------------------------------

__device__ __forceinline__ float add_rn(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float sub_rn(float a, float b) { return __fsub_rn(a, b); }
__device__ __forceinline__ float mul_rn(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float div_rn(float a, float b) { return __fdiv_rn(a, b); }
__device__ __forceinline__ float sqrt_rn(float a) { return __fsqrt_rn(a); }
__device__ __forceinline__ float fma_rn(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ double add_rn(double a, double b) { return __dadd_rn(a, b); }
__device__ __forceinline__ double sub_rn(double a, double b) { return __dsub_rn(a, b); }
__device__ __forceinline__ double mul_rn(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ double div_rn(double a, double b) { return __ddiv_rn(a, b); }
__device__ __forceinline__ double sqrt_rn(double a) { return __dsqrt_rn(a); }
__device__ __forceinline__ double fma_rn(double a, double b, double c) { return __fma_rn(a, b, c); }

__device__ __forceinline__ float widen(float value) { return value; }
__device__ __forceinline__ double widen(double value) { return value; }
__device__ __forceinline__ float widen(__half value) { return __half2float(value); }
__device__ __forceinline__ float widen(__nv_bfloat16 value) { return __bfloat162float(value); }

__device__ __forceinline__ void narrow(float value, float &to) { to = value; }
__device__ __forceinline__ void narrow(double value, double &to) { to = value; }
__device__ __forceinline__ void narrow(float value, __half &to) { to = __float2half_rn(value); }
__device__ __forceinline__ void narrow(float value, __nv_bfloat16 &to) { to = __float2bfloat16_rn(value); }

// ---- tiles: 256 consecutive elements of a row, a warp to each, 8 to a thread --------------------------------------

// What one thread holds of a tile.
template <typename X>
struct alignas(kPacketBytes) Own {
  X at[kOwn];
};

// Where a thread's elements of a tile lie, in a row of weights T and in all rows beside it. A thread owns runs of 16
// bytes of weights; the runs of a warp's threads follow each other, so that each access of a warp is one whole stretch
// of 512 bytes. Only the last tile of a row may not be whole: it ends at n.
template <typename T, bool kWhole>
struct Place {
  static constexpr int kRun = kPacketBytes / sizeof(T);
  long long tile, n, first;
  int left;  // elements from the first one to n

  __device__ __forceinline__ Place(long long tile, long long n)
      : tile(tile), n(n), first(tile * kTile + threadIdx.x % kWarp * kRun), left(static_cast<int>(n - first)) {}

  __device__ __forceinline__ static int offset(int i) { return i / kRun * (kWarp * kRun) + i % kRun; }
};

// Reads a thread's elements; those beyond n are zero.
template <typename T, bool kWhole, typename X>
__device__ __forceinline__ Own<X> load(const X *row, const Place<T, kWhole> &place) {
  constexpr int kPacket = kPacketBytes / sizeof(X);
  Own<X> own;
  if constexpr (kWhole) {
#pragma unroll
    for (int i = 0; i < kOwn; i += kPacket)
      *reinterpret_cast<uint4 *>(&own.at[i]) = *reinterpret_cast<const uint4 *>(row + place.first + place.offset(i));
  } else {
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      narrow(Wide<X>(0), own.at[i]);
      if (place.offset(i) < place.left) own.at[i] = row[place.first + place.offset(i)];
    }
  }
  return own;
}

// Writes a thread's elements; what lies beyond n stays as it is.
template <typename T, bool kWhole, typename X>
__device__ __forceinline__ void store(X *row, const Place<T, kWhole> &place, const Own<X> &own) {
  constexpr int kPacket = kPacketBytes / sizeof(X);
  if constexpr (kWhole) {
#pragma unroll
    for (int i = 0; i < kOwn; i += kPacket)
      *reinterpret_cast<uint4 *>(row + place.first + place.offset(i)) = *reinterpret_cast<const uint4 *>(&own.at[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kOwn; ++i)
      if (place.offset(i) < place.left) row[place.first + place.offset(i)] = own.at[i];
  }
}

__device__ __forceinline__ long long n_tiles(long long n) { return (n + kTile - 1) / kTile; }

// Gives the warps of the grid one tile after the other of `rows` rows: work(row, place).
template <typename T, typename Work>
__device__ __forceinline__ void for_each_tile(long long n, int rows, const Work &work) {
  const long long n_warps = static_cast<long long>(gridDim.x) * blockDim.x / kWarp;
  const long long warp = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
  for (long long item = warp; item < n_tiles(n) * rows; item += n_warps) {
    const long long row = rows == 1 ? 0 : item / n_tiles(n), tile = item - row * n_tiles(n);
    if ((tile + 1) * kTile <= n)
      work(row, Place<T, true>(tile, n));
    else
      work(row, Place<T, false>(tile, n));
  }
}

// The sum over a warp's lanes, in a fixed order; every lane gets it.
template <typename A>
__device__ __forceinline__ A warp_sum(A value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value = add_rn(value, __shfl_xor_sync(0xffffffffu, value, distance));
  return value;
}

// Adds up what a warp's threads found in their tile, into the tile's column of partials (rows, tiles).
template <typename T, typename A, bool kWhole>
__device__ __forceinline__ void write_sum(A *partials, int row, const Place<T, kWhole> &place, A value) {
  value = warp_sum(value);
  if (threadIdx.x % kWarp == 0) partials[row * n_tiles(place.n) + place.tile] = value;
}

// ---- random numbers --------------------------------------------------------------------------------------------

// SplitMix64's output mix (Steele, Lea, Flood, OOPSLA 2014).
__device__ __forceinline__ unsigned long long mix(unsigned long long value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}

// The counter-th 64 random bits of stream `key`: crossbow_lab.random.random_bits.
__device__ __forceinline__ unsigned long long random_bits(long long key, long long counter) {
  const unsigned long long golden = 0x9E3779B97F4A7C15ull;
  return mix(mix((unsigned long long)counter * golden + (unsigned long long)key) + golden);
}

// ---- what learners do, whatever the algorithm ---------------------------------------------------------------------

// Read from device memory, so that a captured graph sees new values: [γ, α, μ, μ_l, λ, 0, 0, 0].
template <typename A>
struct Scalars {
  A learning_rate, alpha, momentum, local_momentum, weight_decay;

  __device__ __forceinline__ explicit Scalars(const A *values)
      : learning_rate(values[0]),
        alpha(values[1]),
        momentum(values[2]),
        local_momentum(values[3]),
        weight_decay(values[4]) {}
};

// g' = λ w + g;  v = momentum v − γ g';  w + v
template <typename A>
__device__ __forceinline__ A descend_with_momentum(A w, A g, A &v, A momentum, const Scalars<A> &s) {
  v = fma_rn(momentum, v, -mul_rn(s.learning_rate, fma_rn(s.weight_decay, w, g)));
  return add_rn(w, v);
}

// A learner's own step. Without local momentum: g' = λ w + g;  w − γ g'
template <bool kLocalMomentum, typename A>
__device__ __forceinline__ A descend(A w, A g, A &v, const Scalars<A> &s) {
  if constexpr (kLocalMomentum) return descend_with_momentum(w, g, v, s.local_momentum, s);
  return fma_rn(-s.learning_rate, fma_rn(s.weight_decay, w, g), w);
}

// One tile of all learners, j ascending: own step and correction of each (w written). Returns Σ_j d_j, d_j = w_j − z
// with w_j as it was. Norms go to partials (2k + 1, tiles): Σ d_j² to row j, Σ g_j² to row k + j, Σ (Σ_j g_j)² to row 2k.
template <bool kLocalMomentum, bool kNorms, typename T, typename A, bool kWhole>
__device__ __forceinline__ Own<A> correct_learners(T *w, const T *g, A *v, const Own<A> &z, A *partials,
                                                   const Scalars<A> &s, const Place<T, kWhole> &place, long long ld,
                                                   int k) {
  Own<A> total = {}, gradient = {}, v_j = {};
  for (int j = 0; j < k; ++j) {
    Own<T> w_j = load(w, place);
    const Own<T> g_j = load(g, place);
    if constexpr (kLocalMomentum) v_j = load(v, place);
    A d_squares = 0, g_squares = 0;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const A w_i = widen(w_j.at[i]), g_i = widen(g_j.at[i]), d = sub_rn(w_i, z.at[i]);
      narrow(fma_rn(-s.alpha, d, descend<kLocalMomentum>(w_i, g_i, v_j.at[i], s)), w_j.at[i]);
      total.at[i] = add_rn(total.at[i], d);
      if constexpr (kNorms) {
        d_squares = fma_rn(d, d, d_squares);
        g_squares = fma_rn(g_i, g_i, g_squares);
        gradient.at[i] = add_rn(gradient.at[i], g_i);
      }
    }
    store(w, place, w_j);
    w += ld;
    g += ld;
    if constexpr (kLocalMomentum) {
      store(v, place, v_j);
      v += ld;
    }
    if constexpr (kNorms) {
      write_sum(partials, j, place, d_squares);
      write_sum(partials, k + j, place, g_squares);
    }
  }
  if constexpr (kNorms) {
    A squares = 0;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) squares = fma_rn(gradient.at[i], gradient.at[i], squares);
    write_sum(partials, 2 * k, place, squares);
  }
  return total;
}

// Σ_j d_j over the rows of d, j ascending: what correct_learners returns, from differences that are known already.
template <typename A, bool kWhole>
__device__ __forceinline__ Own<A> sum_of_rows(const A *d, const Place<A, kWhole> &place, long long ld, int k) {
  Own<A> total = {};
#pragma unroll 2
  for (int j = 0; j < k; ++j, d += ld) {
    const Own<A> d_j = load(d, place);
#pragma unroll
    for (int i = 0; i < kOwn; ++i) total.at[i] = add_rn(total.at[i], d_j.at[i]);
  }
  return total;
}
