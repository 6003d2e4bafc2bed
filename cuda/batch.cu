// Batches from a data set that lives on the device: gather, normalise, crop, mirror, and write in the model's layout.
//
//   p            = cursor[0] + offset + i            position of sample i of this launch in the stream of samples
//   row          = order[e % ring, p % N]            e = p / N: its epoch; N = epoch_samples
//   out[i, c, y, x] = raw[row, c, y', x'] * scale[c] + shift[c]
//   y' = y + top - pad,  x' = (mirrored ? width - 1 - x : x) + left - pad,  raw = 0 outside the image
//
// top, left in 0 .. 2 pad and mirrored in 0 .. 1 are the p-th numbers of three counter-based streams, so a sample is
// varied by its position alone, whatever k, b, the launch or the grid. Two roundings, as on the CPU, and the same bits,
// but that CuPy's -ftz=true flushes what is too small for a normal float.
//
//   samples      Raw (N, channels, height, width), contiguous      Raw: unsigned char, float, double
//   order        int (ring, N): the orders of `ring` consecutive epochs, that of epoch e in row e % ring
//   cursor       long long (2,): position in the stream, iteration; read from the device, so a captured graph moves on
//   scale, shift T (channels,) with step 1, or (1,) with step 0; null: raw values as they are     T: float, double
//   out          T, element strides stride_* for sample, channel, row, column: any layout, elements apart
//   targets      E (N, width), contiguous; their out (count, width)          E: long long, float, double
//
// Bytes moved: sizeof(Raw) + sizeof(T) for each element of a batch. No reuse, so bandwidth is the bound, or, for the
// small batches this is made for, the latency of three dependent loads (cursor, order, sample).
//
// Launch: blocks of up to 256 threads, a multiple of 32; any 1-D grid. A warp takes a tile of 256 elements of a sample,
// in raw order, or channels innermost where `out` has them so: stores coalesce in channels-last memory as well.
// Reference: crossbow_lab.learners.batches (Batches.take, Preparation, augmented); crossbow_lab.random.random_below.
#include "lanes.cuh"

// Extent of one sample.
struct Extent {
  int channels, height, width;
};

// One element of a sample.
struct Pixel {
  int channel, row, column;
};

// Where a crop begins in the padded image, and whether it is mirrored.
struct Crop {
  int top, left;
  bool is_mirrored;
};

// The counter-th number of stream `key`, as a whole number below `bound`.
__device__ __forceinline__ int random_below(long long key, long long counter, int bound) {
  return (int)(((random_bits(key, counter) >> 33) * (unsigned long long)bound) >> 31);
}

// The data set's row of the sample at position p of the stream.
__device__ __forceinline__ long long row_at(const int *__restrict__ order, long long p, long long epoch_samples,
                                            int ring) {
  const long long epoch = p / epoch_samples;
  return order[(epoch % ring) * epoch_samples + (p - epoch * epoch_samples)];
}

// The pixel of element number `element`, counted in raw order or with channels innermost.
__device__ __forceinline__ Pixel pixel_of(int element, const Extent &extent, bool channels_innermost) {
  if (channels_innermost) {
    const int pixel = element / extent.channels;
    const int row = pixel / extent.width;
    return {element - pixel * extent.channels, row, pixel - row * extent.width};
  }
  const int line = element / extent.width;
  const int channel = line / extent.height;
  return {channel, line - channel * extent.height, element - line * extent.width};
}

// The raw value that the crop has at a pixel; zero in the padding.
template <typename Raw>
__device__ __forceinline__ Raw cropped(const Raw *__restrict__ sample, const Pixel &pixel, const Extent &extent,
                                       const Crop &crop, int pad) {
  const int row = pixel.row + crop.top - pad;
  const int column = (crop.is_mirrored ? extent.width - 1 - pixel.column : pixel.column) + crop.left - pad;
  const bool is_inside = row >= 0 && row < extent.height && column >= 0 && column < extent.width;
  return is_inside ? sample[(pixel.channel * extent.height + row) * extent.width + column] : Raw(0);
}

template <typename Raw, typename T>
__global__ void __launch_bounds__(256, 2)
gather_inputs(const Raw *__restrict__ samples, const int *__restrict__ order, const long long *__restrict__ cursor,
              const T *__restrict__ scale, const T *__restrict__ shift, T *__restrict__ out, long long offset,
              int count, long long epoch_samples, int ring, int channels, int height, int width, int scale_step,
              int shift_step, int pad, int flip, long long key_top, long long key_left, long long key_flip,
              long long stride_sample, long long stride_channel, long long stride_row, long long stride_column) {
  const Extent extent{channels, height, width};
  const int elements = channels * height * width;
  const long long slices = n_tiles(elements);
  const bool channels_innermost = stride_channel < stride_column;
  const long long warps = (long long)gridDim.x * blockDim.x / kWarp;

  for (long long item = ((long long)blockIdx.x * blockDim.x + threadIdx.x) / kWarp; item < count * slices;
       item += warps) {
    const long long i = item / slices;
    const int first = (int)(item - i * slices) * kTile + threadIdx.x % kWarp;
    const long long p = cursor[0] + offset + i;
    const Raw *const sample = samples + row_at(order, p, epoch_samples, ring) * elements;
    Crop crop{0, 0, false};
    if (pad > 0) {
      crop.top = random_below(key_top, p, 2 * pad + 1);
      crop.left = random_below(key_left, p, 2 * pad + 1);
    }
    if (flip) crop.is_mirrored = random_below(key_flip, p, 2) != 0;

    Pixel pixel[kOwn];
    Raw raw[kOwn];  // all on their way before the first one is waited for
#pragma unroll
    for (int own = 0; own < kOwn; ++own) {
      if (first + own * kWarp >= elements) continue;
      pixel[own] = pixel_of(first + own * kWarp, extent, channels_innermost);
      raw[own] = cropped(sample, pixel[own], extent, crop, pad);
    }
#pragma unroll
    for (int own = 0; own < kOwn; ++own) {
      if (first + own * kWarp >= elements) continue;
      const int c = pixel[own].channel;
      T value = T(raw[own]);
      if (scale) value = add_rn(mul_rn(value, scale[c * scale_step]), shift[c * shift_step]);
      out[i * stride_sample + c * stride_channel + pixel[own].row * stride_row + pixel[own].column * stride_column] =
          value;
    }
  }
}

template <typename E>
__global__ void __launch_bounds__(256, 2)
gather_targets(const E *__restrict__ targets, const int *__restrict__ order, const long long *__restrict__ cursor,
               E *__restrict__ out, long long offset, int count, long long epoch_samples, int ring, int width) {
  const long long threads = (long long)gridDim.x * blockDim.x;
  for (long long element = (long long)blockIdx.x * blockDim.x + threadIdx.x; element < (long long)count * width;
       element += threads) {
    const long long i = element / width;
    const long long row = row_at(order, cursor[0] + offset + i, epoch_samples, ring);
    out[element] = targets[row * width + (element - i * width)];
  }
}

// Moves the cursor behind an iteration's samples: one thread, after every gather of the iteration.
__global__ void advance(long long *__restrict__ cursor, long long samples, long long iterations) {
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    cursor[0] += samples;
    cursor[1] += iterations;
  }
}
