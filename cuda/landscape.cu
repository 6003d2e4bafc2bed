// Learners on a loss surface over two parameters, for teaching: thousands of iterations a launch.
//
//   g_j = ∇f(w_j) + σ n_j                               n_j: two standard normal numbers, σ = noise / sqrt(b)
//   SMA      c_j = α (w_j − z);  w_j = w_j − γ g_j − c_j;  e = μ e + Σ_j c_j;  z = z + e
//   EA-SGD   c_j = α (w_j − z);  w_j = w_j − γ g_j − c_j;  e = Σ_j c_j;  z = z + e
//   S-SGD    g = mean_j g_j, each at z;  e = μ e − γ g;  z = z + e;  w_j = z
//
// with w_j before its gradient step and z before this iteration's update. Corrections come every sync_period-th
// iteration, in between learners take their gradient step alone. With velocities a learner's step is
// v_j = μ_l v_j − γ g_j; w_j = w_j + v_j. n_j is a function of (key, j, iteration) alone.
//
// A is float or double, Surface a struct below. P populations, independent of each other:
//
//   learners, velocities        A (P, k, 2): w_j, v_j, updated in place; velocities null without local momentum
//   centres, centre_velocities  A (P, 2): z, e, updated in place
//   trail       A (P, records, 6): z, mean_j w_j, f(z), mean_j f(w_j) after every record_every-th iteration, counted
//               from iteration 0; records = (start + iterations) / record_every − start / record_every
//   positions   A (P, records, k, 2): w_j then; null to record none
//   scalars     A (P, 8): γ, α, μ, μ_l, σ, 0, 0, 0
//   keys        long long (P,): the stream of random numbers of each population
//   sync_periods int (P,): τ
//
// A launch continues from the state at iteration `start`: ten launches of 100 equal one of 1000, bit for bit.
//
// Work: one population a block and learners j, j + blockDim.x, ... a thread, so that the sum over learners needs no
// more than one barrier an iteration. The state fits into the L1 cache, so log and sincospi of the noise bound it.
// Launch: 32 to 512 threads, a multiple of 32; any 1-D grid. Sums are made thread by thread in ascending j, then by
// butterfly, then warp by warp: their rounding depends on blockDim.x, which is to be a function of k, not on the grid.
// log and sincospi are CUDA's, accurate to 1 or 2 units in the last place, not to the bit of another library.
// Reference: crossbow_lab.landscape.reference.simulate; surfaces: crossbow_lab.landscape.surfaces.
#include "lanes.cuh"

enum Algorithm { kSma, kEasgd, kSsgd };

constexpr int kMostWarps = 16;
constexpr int kScalars = 8;
constexpr int kTrail = 6;

// Two parameters, or the two parts of a gradient.
template <typename A>
struct Pair {
  A x, y;
};

template <typename A>
__device__ __forceinline__ Pair<A> read_pair(const A *from, long long index) {
  return {from[2 * index], from[2 * index + 1]};
}

template <typename A>
__device__ __forceinline__ void write_pair(A *to, long long index, Pair<A> a) {
  to[2 * index] = a.x;
  to[2 * index + 1] = a.y;
}

template <typename A>
__device__ __forceinline__ Pair<A> add_rn(Pair<A> a, Pair<A> b) {
  return {add_rn(a.x, b.x), add_rn(a.y, b.y)};
}

template <typename A>
__device__ __forceinline__ Pair<A> sub_rn(Pair<A> a, Pair<A> b) {
  return {sub_rn(a.x, b.x), sub_rn(a.y, b.y)};
}

template <typename A>
__device__ __forceinline__ Pair<A> mul_rn(A factor, Pair<A> a) {
  return {mul_rn(factor, a.x), mul_rn(factor, a.y)};
}

template <typename A>
__device__ __forceinline__ Pair<A> fma_rn(A factor, Pair<A> a, Pair<A> b) {
  return {fma_rn(factor, a.x, b.x), fma_rn(factor, a.y, b.y)};
}

// What the two types of arithmetic call differently.
__device__ __forceinline__ float logarithm(float a) { return logf(a); }
__device__ __forceinline__ double logarithm(double a) { return log(a); }
__device__ __forceinline__ void sine_and_cosine_of_pi(float a, float &s, float &c) { sincospif(a, &s, &c); }
__device__ __forceinline__ void sine_and_cosine_of_pi(double a, double &s, double &c) { sincospi(a, &s, &c); }

// 20 + x² − 10 cos 2πx + y² − 10 cos 2πy
struct Rastrigin {
  template <typename A>
  static __device__ A loss(Pair<A> w) {
    A sine, cosine_x, cosine_y;
    sine_and_cosine_of_pi(mul_rn(A(2), w.x), sine, cosine_x);
    sine_and_cosine_of_pi(mul_rn(A(2), w.y), sine, cosine_y);
    return add_rn(A(20), fma_rn(A(-10), add_rn(cosine_x, cosine_y), fma_rn(w.x, w.x, mul_rn(w.y, w.y))));
  }

  template <typename A>
  static __device__ Pair<A> gradient(Pair<A> w) {
    const A twenty_pi = A(62.831853071795864769);
    A sine_x, sine_y, cosine;
    sine_and_cosine_of_pi(mul_rn(A(2), w.x), sine_x, cosine);
    sine_and_cosine_of_pi(mul_rn(A(2), w.y), sine_y, cosine);
    return {fma_rn(A(2), w.x, mul_rn(twenty_pi, sine_x)), fma_rn(A(2), w.y, mul_rn(twenty_pi, sine_y))};
  }
};

// (1 − x)² + 100 (y − x²)²
struct Rosenbrock {
  template <typename A>
  static __device__ A loss(Pair<A> w) {
    const A height = fma_rn(-w.x, w.x, w.y), rest = sub_rn(A(1), w.x);
    return fma_rn(mul_rn(A(100), height), height, mul_rn(rest, rest));
  }

  template <typename A>
  static __device__ Pair<A> gradient(Pair<A> w) {
    const A height = fma_rn(-w.x, w.x, w.y);
    return {fma_rn(mul_rn(A(-400), w.x), height, mul_rn(A(-2), sub_rn(A(1), w.x))), mul_rn(A(200), height)};
  }
};

// a² + b² with a = x² + y − 11 and b = x + y² − 7
struct Himmelblau {
  template <typename A>
  static __device__ Pair<A> parts(Pair<A> w) {
    return {sub_rn(fma_rn(w.x, w.x, w.y), A(11)), sub_rn(fma_rn(w.y, w.y, w.x), A(7))};
  }

  template <typename A>
  static __device__ A loss(Pair<A> w) {
    const Pair<A> ab = parts(w);
    return fma_rn(ab.x, ab.x, mul_rn(ab.y, ab.y));
  }

  template <typename A>
  static __device__ Pair<A> gradient(Pair<A> w) {
    const Pair<A> ab = parts(w);
    return {fma_rn(mul_rn(A(4), w.x), ab.x, mul_rn(A(2), ab.y)), fma_rn(mul_rn(A(4), w.y), ab.y, mul_rn(A(2), ab.x))};
  }
};

// x²/2 − y²/2 + y⁴/4
struct Saddle {
  template <typename A>
  static __device__ A loss(Pair<A> w) {
    const A squared = mul_rn(w.y, w.y);
    return fma_rn(mul_rn(A(0.5), w.x), w.x, mul_rn(squared, fma_rn(A(0.25), squared, A(-0.5))));
  }

  template <typename A>
  static __device__ Pair<A> gradient(Pair<A> w) {
    return {w.x, mul_rn(w.y, fma_rn(w.y, w.y, A(-1)))};
  }
};

// x²/2 + 10 y²
struct NoisyQuadratic {
  template <typename A>
  static __device__ A loss(Pair<A> w) {
    return fma_rn(mul_rn(A(0.5), w.x), w.x, mul_rn(mul_rn(A(10), w.y), w.y));
  }

  template <typename A>
  static __device__ Pair<A> gradient(Pair<A> w) {
    return {w.x, mul_rn(A(20), w.y)};
  }
};

// One population's settings and centre; every thread holds the same.
template <typename A>
struct Population {
  A learning_rate, alpha, momentum, local_momentum, noise;
  long long key;
  int k;
  Pair<A> z, e;
};

// Two standard normal numbers for learner j in iteration t (Box and Muller), from 32 random bits each.
template <typename A>
__device__ __forceinline__ Pair<A> normal(long long key, long long t, int j) {
  const unsigned long long bits = random_bits(key, (long long)((unsigned long long)t << 32 | (unsigned)j));
  const A scale = A(1.0 / 4294967296.0);
  const A radius = sqrt_rn(mul_rn(A(-2), logarithm(mul_rn(add_rn(A((unsigned)(bits >> 32)), A(0.5)), scale))));
  A sine, cosine;
  sine_and_cosine_of_pi(mul_rn(A((unsigned)bits), mul_rn(A(2), scale)), sine, cosine);
  return {mul_rn(radius, cosine), mul_rn(radius, sine)};
}

template <typename Surface, typename A>
__device__ __forceinline__ Pair<A> noisy_gradient(Pair<A> w, const Population<A>& here, long long t, int j) {
  const Pair<A> g = Surface::gradient(w);
  return here.noise == A(0) ? g : fma_rn(here.noise, normal<A>(here.key, t, j), g);
}

// Sums over the block, in a fixed order; every thread gets the same bits. Callers alternate between two rooms: whoever
// writes a room again has passed the barrier of the other, behind which nobody still reads this one.
template <typename A, int kValues>
__device__ __forceinline__ void sum_over_block(A (&values)[kValues], A (&room)[3][kMostWarps]) {
  const int warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    values[i] = warp_sum(values[i]);
    if (threadIdx.x % kWarp == 0) room[i][warp] = values[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    values[i] = room[i][0];
    for (int other = 1; other < warps; ++other) values[i] = add_rn(values[i], room[i][other]);
  }
}

// Takes the gradient step of this thread's learners, corrects them if it is time, and adds up w_j − z; in S-SGD adds
// up the gradients at z.
template <typename Surface, Algorithm kAlgorithm, typename A>
__device__ __forceinline__ void move_learners(A *learners, A *velocities, const Population<A>& here, long long t,
                                              bool synchronises, A (&sum)[2]) {
  Pair<A> total{A(0), A(0)};
  for (int j = threadIdx.x; j < here.k; j += blockDim.x) {
    if constexpr (kAlgorithm == kSsgd) {
      total = add_rn(total, noisy_gradient<Surface>(here.z, here, t, j));
      continue;
    }
    const Pair<A> w = read_pair(learners, j);
    const Pair<A> g = noisy_gradient<Surface>(w, here, t, j);
    const Pair<A> d = sub_rn(w, here.z);
    Pair<A> moved;
    if (velocities) {
      const Pair<A> step = mul_rn(here.learning_rate, g);
      const Pair<A> v = fma_rn(here.local_momentum, read_pair(velocities, j), Pair<A>{-step.x, -step.y});
      write_pair(velocities, j, v);
      moved = add_rn(w, v);
    } else {
      moved = fma_rn(-here.learning_rate, g, w);
    }
    if (synchronises) {
      moved = fma_rn(-here.alpha, d, moved);
      total = add_rn(total, d);
    }
    write_pair(learners, j, moved);
  }
  sum[0] = total.x;
  sum[1] = total.y;
}

// Moves z, given the sum over learners; in S-SGD takes the learners with it.
template <Algorithm kAlgorithm, typename A>
__device__ __forceinline__ void move_centre(A *learners, Population<A>& here, Pair<A> sum) {
  if constexpr (kAlgorithm == kEasgd) {
    here.e = mul_rn(here.alpha, sum);
    here.z = fma_rn(here.alpha, sum, here.z);
    return;
  }
  Pair<A> step = mul_rn(here.alpha, sum);
  if constexpr (kAlgorithm == kSsgd) {
    const A k = A(here.k);
    step = mul_rn(-here.learning_rate, Pair<A>{div_rn(sum.x, k), div_rn(sum.y, k)});
  }
  here.e = fma_rn(here.momentum, here.e, step);
  here.z = add_rn(here.z, here.e);
  if constexpr (kAlgorithm == kSsgd) {
    for (int j = threadIdx.x; j < here.k; j += blockDim.x) write_pair(learners, j, here.z);
  }
}

// Writes one row of the trail, and this thread's learners to `positions` if there is such.
template <typename Surface, typename A>
__device__ __forceinline__ void record(const A *learners, const Population<A>& here, A *row, A *positions,
                                       A (&room)[3][kMostWarps]) {
  A sum[3] = {A(0), A(0), A(0)};
  for (int j = threadIdx.x; j < here.k; j += blockDim.x) {
    const Pair<A> w = read_pair(learners, j);
    if (positions) write_pair(positions, j, w);
    sum[0] = add_rn(sum[0], w.x);
    sum[1] = add_rn(sum[1], w.y);
    sum[2] = add_rn(sum[2], Surface::loss(w));
  }
  sum_over_block(sum, room);
  if (threadIdx.x != 0) return;
  const A k = A(here.k);
  write_pair(row, 0, here.z);
  write_pair(row, 1, Pair<A>{div_rn(sum[0], k), div_rn(sum[1], k)});
  write_pair(row, 2, Pair<A>{Surface::loss(here.z), div_rn(sum[2], k)});
}

template <typename A, typename Surface, Algorithm kAlgorithm>
__global__ void __launch_bounds__(kWarp * kMostWarps, 1)
landscape_run(A *__restrict__ learners, A *__restrict__ velocities, A *__restrict__ centres,
              A *__restrict__ centre_velocities, A *__restrict__ trail, A *__restrict__ positions,
              const A *__restrict__ scalars, const long long *__restrict__ keys, const int *__restrict__ sync_periods,
              long long populations, int k, long long start, long long iterations, long long record_every) {
  __shared__ A rooms[2][3][kMostWarps];
  int room = 0;
  const long long end = start + iterations, first_record = start / record_every;
  const long long records = end / record_every - first_record;

  for (long long p = blockIdx.x; p < populations; p += gridDim.x) {
    const A *const own = scalars + p * kScalars;
    Population<A> here{own[0], own[1], own[2], own[3], own[4], keys[p], k};
    here.z = read_pair(centres, p);
    here.e = read_pair(centre_velocities, p);
    A *const w = learners + p * k * 2;
    A *const v = velocities ? velocities + p * k * 2 : nullptr;

    for (long long t = start; t < end; ++t) {
      const bool synchronises = kAlgorithm == kSsgd || (t + 1) % sync_periods[p] == 0;
      A sum[2];
      move_learners<Surface, kAlgorithm>(w, v, here, t, synchronises, sum);
      if (synchronises) {
        sum_over_block(sum, rooms[room]);
        room ^= 1;
        move_centre<kAlgorithm>(w, here, Pair<A>{sum[0], sum[1]});
      }
      if ((t + 1) % record_every == 0) {
        const long long row = p * records + (t + 1) / record_every - 1 - first_record;
        record<Surface>(w, here, trail + row * kTrail, positions ? positions + row * k * 2 : nullptr, rooms[room]);
        room ^= 1;
      }
    }
    if (threadIdx.x == 0) {
      write_pair(centres, p, here.z);
      write_pair(centre_velocities, p, here.e);
    }
  }
}
