// Synchronous SGD, one iteration of the one replica that trains on the whole aggregate batch:
//
//   e = μ e − γ (g + λ w)        w = w + e        z = w
//
// z gets w as it is before it is rounded to T.
//
// Arrays (T, A: see lanes.cuh)
//   w        T (n)  weights, read and written
//   g        T (n)  gradient of the mean loss over the aggregate batch
//   z        A (n)  central average model, written
//   e        A (n)  velocity, read and written
//   scalars  A (8)  [γ, ., μ, ., λ, 0, 0, 0], read on the device
//
// Traffic a parameter, sizes in bytes: 3 T + 3 A; float: 24.
// Launch: blocks of at most 256 threads, a multiple of 32; a warp for every tile, or fewer. Arrays 16-byte aligned;
// elements from n on are left alone. Nothing depends on the grid. Reference: crossbow_lab.averaging.reference.ssgd.
#include "lanes.cuh"

template <typename T>
__global__ void __launch_bounds__(256, 2)
    ssgd_update(T *__restrict__ w, const T *__restrict__ g, Wide<T> *__restrict__ z, Wide<T> *__restrict__ e,
                const Wide<T> *__restrict__ scalars, long long n) {
  const Scalars<Wide<T>> s(scalars);
  for_each_tile<T>(n, 1, [&](long long, const auto &place) {
    auto weights = load(w, place);
    const auto gradient = load(g, place);
    auto velocity = load(e, place);
    Own<Wide<T>> centre;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const Wide<T> w_i = widen(weights.at[i]), g_i = widen(gradient.at[i]);
      centre.at[i] = descend_with_momentum(w_i, g_i, velocity.at[i], s.momentum, s);
      narrow(centre.at[i], weights.at[i]);
    }
    store(w, place, weights);
    store(e, place, velocity);
    store(z, place, centre);
  });
}
