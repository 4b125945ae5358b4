# mypy: ignore-errors
"""A graph for onnxruntime; it asks for as many threads as it is told, or else would pin them, which it may not."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper


class Multiply:
    def __init__(self):
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 4], (np.eye(4) * 3).astype("f4").ravel())
        graph = helper.make_graph([node], "multiply", [x], [y], [weights])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 2
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, x):
        return {"y": self.session.run(None, {"x": x})[0]}
