// The learners' own SGD steps between synchronisations (τ > 1); the central average model rests:
//
//   w_j = w_j − γ (g_j + λ w_j)        or with local momentum        v_j = μ_l v_j − γ (g_j + λ w_j),  w_j = w_j + v_j
//
// Arrays (T, A: see lanes.cuh)
//   w        T (k, ld)  weights, rows ld apart; read and written
//   g        T (k, ld)  gradients
//   v        A (k, ld)  local velocities, read and written; null without local momentum
//   scalars  A (8)      [γ, ., ., μ_l, λ, 0, 0, 0], read on the device
//
// Traffic a parameter, sizes in bytes: k (3 T + 2 A if local momentum); float: 12 k.
// Launch: blocks of at most 256 threads, a multiple of 32; a warp for every tile of every row, or fewer. Rows 16-byte
// aligned, ld a multiple of 8, n <= ld; columns from n on are left alone. Nothing depends on the grid.
// Reference: crossbow_lab.averaging.reference.sma between synchronisations.
#include "lanes.cuh"

template <typename T, bool kLocalMomentum>
__global__ void __launch_bounds__(256, 2)
    sgd_update(T *__restrict__ w, const T *__restrict__ g, Wide<T> *__restrict__ v, const Wide<T> *__restrict__ scalars,
               long long n, long long ld, int k) {
  const Scalars<Wide<T>> s(scalars);
  for_each_tile<T>(n, k, [&](long long j, const auto &place) {
    auto weights = load(w + j * ld, place);
    const auto gradient = load(g + j * ld, place);
    Own<Wide<T>> velocity = {};
    if constexpr (kLocalMomentum) velocity = load(v + j * ld, place);
#pragma unroll
    for (int i = 0; i < kOwn; ++i)
      narrow(descend<kLocalMomentum>(widen(weights.at[i]), widen(gradient.at[i]), velocity.at[i], s), weights.at[i]);
    store(w + j * ld, place, weights);
    if constexpr (kLocalMomentum) store(v + j * ld, place, velocity);
  });
}
