// __nv_bfloat16 for the emulator: storage and the two conversions, as the GPU rounds them.
#pragma once
#include "cuda_emulator.h"

struct __nv_bfloat16 {
  unsigned short bits;
};

EMULATED_NAME(__nv_bfloat16, "bf16");

inline float __bfloat162float(__nv_bfloat16 value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float wide;
  memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// To nearest, ties to even; NaN becomes 0x7fff as on the GPU.
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffff) > 0x7f800000) return {0x7fff};
  return {static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
