// Synchronous model averaging, one iteration for all learners of a device (Algorithm 1):
//
//   d_j = w_j − z        w_j = w_j − γ (g_j + λ w_j) − α d_j        e = μ e + α Σ_j d_j        z = z + e
//
// with w_j before its gradient step and z before this iteration's update. With local momentum v_j = μ_l v_j − γ (g_j +
// λ w_j) takes the place of −γ (g_j + λ w_j).
//
// sma_update does it in one pass. For learners on streams of their own it is split: sma_correct, once a learner, leaves
// d_j, and sma_average joins them; the result is the same to the bit. square_sums adds up the partial sums of norms.
//
// Arrays (T, A: see lanes.cuh)
//   w          T (k, ld)         weights, rows ld apart; read and written
//   g          T (k, ld)         gradients
//   v          A (k, ld)         local velocities, read and written; null without local momentum
//   z, e       A (n)             centre and its velocity, read and written
//   d          A (k, ld)         differences; d_out is one row of it
//   partials   A (2k + 1, tiles) written with norms, else null; row j: Σ d_j², row k + j: Σ g_j², row 2k: Σ (Σ_j g_j)²,
//                                each over one tile of 256 elements; tiles = ceil(n / 256)
//   scalars    A (8)             [γ, α, μ, μ_l, λ, 0, 0, 0], read on the device
//
// Traffic a parameter, sizes in bytes: k (3 T + 2 A if local momentum) + 4 A; float: 12 k + 16. Norms add 1/128 of it.
// Launch: blocks of at most 256 threads, a multiple of 32; a warp for every tile, or fewer. Rows 16-byte aligned, ld a
// multiple of 8, n <= ld; columns from n on are left alone. square_sums: a block of 256 threads for every row. Nothing
// depends on the grid. Reference: crossbow_lab.averaging.reference.sma.
#include "lanes.cuh"

// e = μ e + α Σ_j d_j;  z = z + e
template <typename A>
__device__ __forceinline__ void move_centre(Own<A> &z, Own<A> &e, const Own<A> &total, const Scalars<A> &s) {
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    e.at[i] = fma_rn(s.momentum, e.at[i], mul_rn(s.alpha, total.at[i]));
    z.at[i] = add_rn(z.at[i], e.at[i]);
  }
}

template <typename T, bool kLocalMomentum, bool kNorms>
__global__ void __launch_bounds__(256, kResident<T>)
    sma_update(T *__restrict__ w, const T *__restrict__ g, Wide<T> *__restrict__ v, Wide<T> *__restrict__ z,
               Wide<T> *__restrict__ e, Wide<T> *__restrict__ partials, const Wide<T> *__restrict__ scalars,
               long long n, long long ld, int k) {
  const Scalars<Wide<T>> s(scalars);
  for_each_tile<T>(n, 1, [&](long long, const auto &place) {
    auto centre = load(z, place);
    const auto total = correct_learners<kLocalMomentum, kNorms>(w, g, v, centre, partials, s, place, ld, k);
    auto velocity = load(e, place);  // not before: it would cost registers all along the learners
    move_centre(centre, velocity, total, s);
    store(e, place, velocity);
    store(z, place, centre);
  });
}

template <typename T, bool kLocalMomentum>
__global__ void __launch_bounds__(256, 2)
    sma_correct(T *__restrict__ w, const T *__restrict__ g, Wide<T> *__restrict__ v, const Wide<T> *__restrict__ z,
                Wide<T> *__restrict__ d_out, const Wide<T> *__restrict__ scalars, long long n) {
  const Scalars<Wide<T>> s(scalars);
  for_each_tile<T>(n, 1, [&](long long, const auto &place) {
    auto weights = load(w, place);
    const auto gradient = load(g, place);
    auto difference = load(z, place);
    Own<Wide<T>> velocity = {};
    if constexpr (kLocalMomentum) velocity = load(v, place);
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const Wide<T> w_i = widen(weights.at[i]), g_i = widen(gradient.at[i]), d = sub_rn(w_i, difference.at[i]);
      narrow(fma_rn(-s.alpha, d, descend<kLocalMomentum>(w_i, g_i, velocity.at[i], s)), weights.at[i]);
      difference.at[i] = d;
    }
    store(w, place, weights);
    store(d_out, place, difference);
    if constexpr (kLocalMomentum) store(v, place, velocity);
  });
}

template <typename A>
__global__ void __launch_bounds__(256, 2) sma_average(A *__restrict__ z, A *__restrict__ e, const A *__restrict__ d,
                                                      const A *__restrict__ scalars, long long n, long long ld, int k) {
  const Scalars<A> s(scalars);
  for_each_tile<A>(n, 1, [&](long long, const auto &place) {
    auto centre = load(z, place), velocity = load(e, place);
    move_centre(centre, velocity, sum_of_rows(d, place, ld, k), s);
    store(e, place, velocity);
    store(z, place, centre);
  });
}

// out[row] = Σ partials[row, :], one block of 256 threads a row, in double and in a fixed order.
template <typename A>
__global__ void __launch_bounds__(256)
    square_sums(const A *__restrict__ partials, double *__restrict__ out, long long tiles) {
  __shared__ double sums[256 / kWarp];
  const A *row = partials + blockIdx.x * tiles;
  double sum = 0;
  for (long long tile = threadIdx.x; tile < tiles; tile += blockDim.x) sum = add_rn(sum, double(row[tile]));
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  sum = 0;
  for (double part : sums) sum = add_rn(sum, part);
  out[blockIdx.x] = sum;
}
