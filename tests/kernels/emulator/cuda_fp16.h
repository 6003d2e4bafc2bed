// __half for the emulator: storage and the two conversions, as the GPU rounds them.
#pragma once
#include "cuda_emulator.h"

struct __half {
  unsigned short bits;
};

EMULATED_NAME(__half, "f16");

inline float __half2float(__half half) {
  const uint32_t sign = uint32_t(half.bits & 0x8000) << 16, magnitude = half.bits & 0x7fff;
  uint32_t bits = (magnitude << 13) + (112u << 23);                  // exponents are biased by 127, not 15
  if (magnitude >= 0x7c00) bits = (magnitude << 13) + (224u << 23);  // infinity and NaN keep all ones
  float value;
  memcpy(&value, &bits, sizeof value);
  if (magnitude < 0x0400) value = float(magnitude) * 0x1p-24f;  // zero and denormals
  return sign ? -value : value;
}

// To nearest, ties to even; NaN becomes 0x7fff as on the GPU.
inline __half __float2half_rn(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000;
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return {0x7fff};
  uint32_t dropped = 13, kept = bits - (112u << 23);
  if (bits >= 0x47800000) {  // 65536 and more: as if 65536, which is infinity
    kept = 0x1fu << 23;
  } else if (bits < 0x38800000) {  // below 2^-14: a denormal, the exponent goes into the shift
    const uint32_t exponent = bits >> 23;
    dropped = exponent < 101 ? 31 : 126 - exponent;
    kept = exponent < 101 ? 0 : (bits & 0x7fffff) | 0x800000;
  }
  const uint32_t odd = kept >> dropped & 1;
  return {static_cast<unsigned short>(sign | ((kept + (1u << (dropped - 1)) - 1 + odd) >> dropped))};
}
