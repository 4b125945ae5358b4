// An operator for TensorFlow: exponential smoothing of each series, and the version of the headers that it was compiled
// with. Nothing in it is tied to a version: what keeps a compiled one from loading elsewhere is TensorFlow's own C++
// interface.

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/public/version.h"

namespace tf = tensorflow;

#if TF_MAJOR_VERSION < 2  // what later versions have another name for
#include <string>
using Text = std::string;
tf::Status ok() { return tf::Status::OK(); }
#else
using Text = tf::tstring;
auto ok() { return tf::OkStatus(); }
#endif

REGISTER_OP("IsopodSmooth")
    .Attr("keep: float")
    .Input("series: float")
    .Output("smoothed: float")
    .Output("built_for: string")
    .SetShapeFn([](tf::shape_inference::InferenceContext* context) {
      context->set_output(0, context->input(0));
      context->set_output(1, context->Scalar());
      return ok();
    });

class Smooth : public tf::OpKernel {
 public:
  explicit Smooth(tf::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("keep", &keep_));
  }

  void Compute(tf::OpKernelContext* context) override {
    const tf::Tensor& series = context->input(0);
    OP_REQUIRES(context, series.dims() == 2,
                tf::errors::InvalidArgument("smooth wants (series, steps), not ", series.dims(), " dimensions"));
    tf::Tensor* smoothed = nullptr;
    tf::Tensor* built_for = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, series.shape(), &smoothed));
    OP_REQUIRES_OK(context, context->allocate_output(1, tf::TensorShape({}), &built_for));
    auto from = series.matrix<float>();
    auto to = smoothed->matrix<float>();
    for (int64_t row = 0; row < series.dim_size(0); ++row)
      for (int64_t step = 0; step < series.dim_size(1); ++step)
        to(row, step) = step ? keep_ * to(row, step - 1) + (1 - keep_) * from(row, step) : from(row, step);
    built_for->scalar<Text>()() = TF_VERSION_STRING;
  }

 private:
  float keep_;
};

REGISTER_KERNEL_BUILDER(Name("IsopodSmooth").Device(tf::DEVICE_CPU), Smooth);
