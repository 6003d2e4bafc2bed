// Elastic averaging SGD, one synchronising iteration for all learners of a device (Zhang et al., NIPS 2015): SMA
// without central momentum.
//
//   d_j = w_j − z        w_j = w_j − γ (g_j + λ w_j) − α d_j        z = z + α Σ_j d_j
//
// with w_j before its gradient step and z before this iteration's update. Local momentum as in sma.cu. Learners on
// streams of their own use sma_correct (sma.cu), then easgd_average; the result is the same to the bit.
//
// Arrays (T, A: see lanes.cuh)
//   w         T (k, ld)         weights, rows ld apart; read and written
//   g         T (k, ld)         gradients
//   v         A (k, ld)         local velocities, read and written; null without local momentum
//   z         A (n)             centre, read and written
//   d         A (k, ld)         differences, from sma_correct
//   partials  A (2k + 1, tiles) as in sma.cu
//   scalars   A (8)             [γ, α, ., μ_l, λ, 0, 0, 0], read on the device
//
// Traffic a parameter, sizes in bytes: k (3 T + 2 A if local momentum) + 2 A; float: 12 k + 8.
// Launch: blocks of at most 256 threads, a multiple of 32; a warp for every tile, or fewer. Rows 16-byte aligned, ld a
// multiple of 8, n <= ld; columns from n on are left alone. Nothing depends on the grid.
// Reference: crossbow_lab.averaging.reference.easgd.
#include "lanes.cuh"

// z = z + α Σ_j d_j
template <typename A>
__device__ __forceinline__ void move_centre(Own<A> &z, const Own<A> &total, const Scalars<A> &s) {
#pragma unroll
  for (int i = 0; i < kOwn; ++i) z.at[i] = fma_rn(s.alpha, total.at[i], z.at[i]);
}

template <typename T, bool kLocalMomentum, bool kNorms>
__global__ void __launch_bounds__(256, kResident<T>)
    easgd_update(T *__restrict__ w, const T *__restrict__ g, Wide<T> *__restrict__ v, Wide<T> *__restrict__ z,
                 Wide<T> *__restrict__ partials, const Wide<T> *__restrict__ scalars, long long n, long long ld,
                 int k) {
  const Scalars<Wide<T>> s(scalars);
  for_each_tile<T>(n, 1, [&](long long, const auto &place) {
    auto centre = load(z, place);
    move_centre(centre, correct_learners<kLocalMomentum, kNorms>(w, g, v, centre, partials, s, place, ld, k), s);
    store(z, place, centre);
  });
}

template <typename A>
__global__ void __launch_bounds__(256, 2)
    easgd_average(A *__restrict__ z, const A *__restrict__ d, const A *__restrict__ scalars, long long n, long long ld,
                  int k) {
  const Scalars<A> s(scalars);
  for_each_tile<A>(n, 1, [&](long long, const auto &place) {
    auto centre = load(z, place);
    move_centre(centre, sum_of_rows(d, place, ld, k), s);
    store(z, place, centre);
  });
}
