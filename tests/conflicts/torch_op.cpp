// An operator for Torch: exponential smoothing of each series, and the version of the headers that it was compiled with.
// Nothing in it is tied to a version: what keeps a compiled one from loading elsewhere is Torch's own C++ interface.

#include <ATen/ATen.h>
#include <torch/library.h>
#include <torch/version.h>

namespace {

at::Tensor smooth(const at::Tensor& series, double keep) {
  TORCH_CHECK(series.dim() == 2, "smooth wants (series, steps), not ", series.dim(), " dimensions");
  TORCH_CHECK(series.scalar_type() == at::kFloat, "smooth wants float32");
  at::Tensor out = series.contiguous().clone();
  for (int64_t number = 0; number < out.size(0); ++number) {
    float* row = out.data_ptr<float>() + number * out.size(1);
    for (int64_t step = 1; step < out.size(1); ++step)
      row[step] = float(keep) * row[step - 1] + float(1 - keep) * row[step];
  }
  return out;
}

std::string built_for() { return TORCH_VERSION; }

}  // namespace

TORCH_LIBRARY(isopod_conflicts, library) {
  library.def("smooth(Tensor series, float keep) -> Tensor", smooth);
  library.def("built_for() -> str", built_for);
}
