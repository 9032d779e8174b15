// Conformance of each wrapper of cuda/ptx.cuh and of the shuffles, on the emulator and on a card alike:
//   nvcc -std=c++20 -arch=native -Inative -Icuda -Itest/native test/cuda-emulator/ptx_test.cu -o ptx_test && ./ptx_test
// Expected layouts are written the way CuTe writes them (strides of thread and value into a column-major tile), independently of ptx.cc.
#include "test_support.h"

namespace ptx = anymal::cuda::ptx;

namespace {

__global__ void ldmatrix_kernel(const uint16_t* in, uint32_t* out) {  // in: 32 rows of 8
  SHARED_ARRAY(uint16_t, s, [32][8]);
  const int l = threadIdx.x;
  for (int i = 0; i < 8; ++i) s[l][i] = in[l * 8 + i];
  __syncwarp();
  uint32_t r[4], t[4];
  ptx::ldmatrix_x4(r, ptx::shared_address(&s[l][0]));
  ptx::ldmatrix_x4_trans(t, ptx::shared_address(&s[l][0]));
  for (int i = 0; i < 4; ++i) {
    out[l * 8 + i] = r[i];
    out[l * 8 + 4 + i] = t[i];
  }
}

__global__ void mma_kernel(const uint32_t* a, const uint32_t* b, const float* c, float* d) {
  const int l = threadIdx.x;
  uint32_t ra[4], rb[2];
  float rd[4];
  for (int i = 0; i < 4; ++i) ra[i] = a[l * 4 + i];
  for (int i = 0; i < 4; ++i) rd[i] = c[l * 4 + i];
  for (int i = 0; i < 2; ++i) rb[i] = b[l * 2 + i];
  ptx::mma_m16n8k16(rd, ra, rb);
  for (int i = 0; i < 4; ++i) d[l * 4 + i] = rd[i];
}

__global__ void integer_mma_kernel(const uint32_t* a, const uint32_t* b, const int* c, int* d) {
  const int l = threadIdx.x;
  uint32_t ra[4], rb[2];
  int rd[4];
  for (int i = 0; i < 4; ++i) ra[i] = a[l * 4 + i], rd[i] = c[l * 4 + i];
  for (int i = 0; i < 2; ++i) rb[i] = b[l * 2 + i];
  ptx::mma_m16n8k32_s8(rd, ra, rb);
  for (int i = 0; i < 4; ++i) d[l * 4 + i] = rd[i];
}

__global__ void scalars_kernel(const float* x, uint32_t* out) {
  const int l = threadIdx.x;
  out[64 + l] = ptx::sub_bf16x2(ptx::cvt_bf16x2(x[l * 2], 1.5f), ptx::cvt_bf16x2(x[l * 2 + 1], -2.0f));
  out[l * 2] = ptx::cvt_bf16x2(x[l * 2], x[l * 2 + 1]);
  out[l * 2 + 1] = __byte_perm(0x44332211u + l, 0x88776655u, 0x7351u ^ (l & 8));
}

__global__ void shuffles_kernel(int* out) {
  const int l = threadIdx.x;
  out[l * 4] = __shfl_sync(~0u, l, l + 5, 8);
  out[l * 4 + 1] = __shfl_up_sync(~0u, l, 3, 16);
  out[l * 4 + 2] = __shfl_down_sync(~0u, l, 3, 16);
  out[l * 4 + 3] = __shfl_xor_sync(~0u, l, 9, 32);
}

__global__ void votes_kernel(unsigned* out) {
  const int l = threadIdx.x;
  const unsigned odd = __ballot_sync(~0u, l % 2), any = __any_sync(~0u, l == 7), all = __all_sync(~0u, l < 31);
  out[l] = odd == 0xAAAAAAAAu && any && !all;
}

__global__ void copies_kernel(const uint32_t* in, uint32_t* out) {  // the second half is out of bounds: zeros
  SHARED_ARRAY(uint4, s, [32]);
  const int l = threadIdx.x;
  ptx::cp_async16(ptx::shared_address(&s[l]), in + (l < 16 ? l * 4 : 0), l < 16);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  out[l * 4] = s[l].x;
  out[l * 4 + 1] = s[l].y;
  out[l * 4 + 2] = s[l].z;
  out[l * 4 + 3] = s[l].w;
}

uint32_t pair(uint16_t low, uint16_t high) { return low | static_cast<uint32_t>(high) << 16; }
float from_bf16(uint16_t b) {
  const uint32_t u = static_cast<uint32_t>(b) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
uint16_t to_bf16(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return static_cast<uint16_t>((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

void test_ldmatrix() {
  std::vector<uint16_t> in(256);
  for (size_t i = 0; i < 256; ++i) in[i] = static_cast<uint16_t>(i);
  Device<uint16_t> device_in(in);
  Device<uint32_t> out(256);
  launch<ldmatrix_kernel>(1, 32, static_cast<uint16_t*>(device_in), static_cast<uint32_t*>(out));
  const std::vector<uint32_t> got = out.get();
  for (int l = 0; l < 32; ++l)
    for (int i = 0; i < 4; ++i) {
      const int plain = i * 64 + l * 2;  // lane l: elements 2l and 2l + 1 of matrix i
      const int transposed = i * 64 + l % 4 * 16 + l / 4;
      CHECK(got[static_cast<size_t>(l * 8 + i)] == pair(static_cast<uint16_t>(plain), static_cast<uint16_t>(plain + 1)));
      CHECK(got[static_cast<size_t>(l * 8 + 4 + i)] == pair(static_cast<uint16_t>(transposed), static_cast<uint16_t>(transposed + 8)));
    }
}

void test_mma() {
  std::vector<float> A(16 * 16), B(8 * 16), C(16 * 8);  // column-major: m + 16 k, n + 8 k, m + 16 n
  for (float& v : A) v = from_bf16(to_bf16(normal()));
  for (float& v : B) v = from_bf16(to_bf16(normal()));
  for (float& v : C) v = normal();
  const auto at = [](int t, int stride0, int stride1) { return static_cast<size_t>(t % 4 * stride0 + t / 4 * stride1); };
  std::vector<uint32_t> a(128), b(64);
  std::vector<float> c(128);
  for (int t = 0; t < 32; ++t)
    for (int r = 0; r < 4; ++r) {
      const auto i = static_cast<size_t>(t * 4 + r);
      const size_t x = at(t, 32, 1) + static_cast<size_t>(r % 2 * 8 + r / 2 * 128);
      a[i] = pair(to_bf16(A[x]), to_bf16(A[x + 16]));
      if (const size_t y = at(t, 16, 1) + static_cast<size_t>(r * 64); r < 2)
        b[static_cast<size_t>(t * 2 + r)] = pair(to_bf16(B[y]), to_bf16(B[y + 8]));
      c[i] = C[at(t, 32, 1) + static_cast<size_t>(r % 2 * 16 + r / 2 * 8)];
    }
  Device<uint32_t> device_a(a), device_b(b);
  Device<float> device_c(c), device_d(128);
  launch<mma_kernel>(1, 32, static_cast<uint32_t*>(device_a), static_cast<uint32_t*>(device_b), static_cast<float*>(device_c),
                     static_cast<float*>(device_d));
  const std::vector<float> d = device_d.get();
  for (int t = 0; t < 32; ++t)
    for (int r = 0; r < 4; ++r) {
      const size_t x = at(t, 32, 1) + static_cast<size_t>(r % 2 * 16 + r / 2 * 8), m = x % 16, n = x / 16;
      double want = C[x], most = std::abs(C[x]);
      for (size_t k = 0; k < 16; ++k) {
        const double p = static_cast<double>(A[m + 16 * k]) * B[n + 8 * k];
        want += p;
        most += std::abs(p);
      }
      CHECK(std::abs(d[static_cast<size_t>(t * 4 + r)] - want) <= 1e-6 * most);
    }
}

void test_integer_mma() {
  std::vector<int8_t> A(16 * 32), B(8 * 32);  // rows of k
  for (int8_t& v : A) v = static_cast<int8_t>(numbers()());
  for (int8_t& v : B) v = static_cast<int8_t>(numbers()());
  std::vector<int> c(128);
  for (int& v : c) v = static_cast<int>(numbers()() % 1000);
  std::vector<uint32_t> a(128), b(64);
  for (size_t lane = 0; lane < 32; ++lane) {
    const size_t g = lane / 4, k = lane % 4 * 4;
    const auto four = [](const int8_t* from) {
      uint32_t v;
      std::memcpy(&v, from, 4);
      return v;
    };
    for (size_t r = 0; r < 4; ++r) a[lane * 4 + r] = four(&A[(g + r % 2 * 8) * 32 + k + r / 2 * 16]);
    for (size_t r = 0; r < 2; ++r) b[lane * 2 + r] = four(&B[g * 32 + k + r * 16]);
  }
  Device<uint32_t> device_a(a), device_b(b);
  Device<int> device_c(c), device_d(128);
  launch<integer_mma_kernel>(1, 32, static_cast<uint32_t*>(device_a), static_cast<uint32_t*>(device_b), static_cast<int*>(device_c),
                             static_cast<int*>(device_d));
  const std::vector<int> d = device_d.get();
  for (size_t lane = 0; lane < 32; ++lane)
    for (size_t r = 0; r < 4; ++r) {
      const size_t m = lane / 4 + r / 2 * 8, n = lane % 4 * 2 + r % 2;
      int want = c[lane * 4 + r];
      for (size_t k = 0; k < 32; ++k) want += A[m * 32 + k] * B[n * 32 + k];
      CHECK(d[lane * 4 + r] == want);
    }
}

void test_scalars() {
  std::vector<float> x(64);
  for (float& v : x) v = normal() * 1e3f;
  x[0] = 1.00390625f, x[1] = 1.01171875f;  // ties go to even
  x[2] = INFINITY, x[3] = -0.0f;
  Device<float> device_x(x);
  Device<uint32_t> out(96);
  launch<scalars_kernel>(1, 32, static_cast<float*>(device_x), static_cast<uint32_t*>(out));
  const std::vector<uint32_t> got = out.get();
  for (uint32_t l = 0; l < 32; ++l) {
    CHECK(got[l * 2] == pair(to_bf16(x[l * 2]), to_bf16(x[l * 2 + 1])));
    CHECK(got[64 + l] == pair(to_bf16(from_bf16(to_bf16(x[l * 2])) - from_bf16(to_bf16(x[l * 2 + 1]))), to_bf16(3.5f)));
    uint32_t want = 0;
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t selector = (0x7351u ^ (l & 8)) >> 4 * i & 15, source = selector & 4 ? 0x88776655u : 0x44332211u + l;
      const uint32_t byte = source >> (selector & 3) * 8 & 255;
      want |= (selector & 8 ? (byte & 128 ? 255u : 0u) : byte) << 8 * i;
    }
    CHECK(got[l * 2 + 1] == want);
  }
}

void test_shuffles() {
  Device<int> out(128);
  launch<shuffles_kernel>(1, 32, static_cast<int*>(out));
  const std::vector<int> got = out.get();
  for (int l = 0; l < 32; ++l) {
    const auto i = static_cast<size_t>(l) * 4;
    CHECK(got[i] == l / 8 * 8 + (l + 5) % 8);
    CHECK(got[i + 1] == (l % 16 >= 3 ? l - 3 : l));
    CHECK(got[i + 2] == (l % 16 + 3 < 16 ? l + 3 : l));
    CHECK(got[i + 3] == (l ^ 9));
  }
  Device<unsigned> votes(32);
  launch<votes_kernel>(1, 32, static_cast<unsigned*>(votes));
  for (unsigned v : votes.get()) CHECK(v == 1);
}

void test_copies() {
  std::vector<uint32_t> in(64);
  for (uint32_t& v : in) v = numbers()();
  Device<uint32_t> device_in(in), out(128);
  launch<copies_kernel>(1, 32, static_cast<uint32_t*>(device_in), static_cast<uint32_t*>(out));
  const std::vector<uint32_t> got = out.get();
  for (size_t i = 0; i < 128; ++i) CHECK(got[i] == (i < 64 ? in[i] : 0));
}

}  // namespace

__attribute__((visibility("default"))) int main() {
  test_ldmatrix();
  test_mma();
  test_integer_mma();
  test_scalars();
  test_shuffles();
  test_copies();
  return check::finish();
}
