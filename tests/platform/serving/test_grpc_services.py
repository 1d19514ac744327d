"""Both gRPC services through the official stubs, as in TensorFlow Serving's own clients."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def predictions(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict_request(name="half_plus_three", signature="", **tensors):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in tensors.items():
        request.inputs[key].CopyFrom(value if hasattr(value, "dtype") and not hasattr(value, "ndim") else tensor(value))
    return request


def tensor(value, dtype=tf.float32):
    return tf.make_tensor_proto(value, dtype=dtype)


def example(**features):
    made = tf.train.Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def refusal(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, 20)
    return caught.value.code(), caught.value.details()


def test_predict_answers_in_the_typed_field_and_says_who_answered(predictions):
    response = predictions.Predict(predict_request(x=[1.0, 2.0, 5.0]), 20)
    assert list(response.outputs["y"].float_val) == [3.5, 4.0, 5.5]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("half_plus_three", 123, "serving_default")


def test_predict_takes_raw_bytes_and_typed_values_alike(predictions):
    raw = tf.make_tensor_proto(np.array([1.0, 2.0], np.float32))
    assert raw.tensor_content
    typed = tf.make_tensor_proto([1.0, 2.0])
    typed.ClearField("tensor_content")
    typed.float_val.extend([1.0, 2.0])
    for given in (raw, typed):
        assert list(predictions.Predict(predict_request(x=given), 20).outputs["y"].float_val) == [3.5, 4.0]


def test_output_filter_chooses_outputs(predictions):
    request = predict_request(
        signature="named",
        tag=tensor(["foo"], tf.string),
        signal=tensor([[1, 2, 3, 4, 5]]),
        sensor=tensor([[[1, 2], [3, 4]]], tf.int32),
    )
    assert set(predictions.Predict(request, 20).outputs) == {"tag", "total"}
    request.output_filter.append("total")
    response = predictions.Predict(request, 20)
    assert {name: list(value.float_val) for name, value in response.outputs.items()} == {"total": [25.0]}
    request.output_filter.append("none")
    assert refusal(predictions.Predict, request)[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_version_and_label_choose_the_version(predictions):
    request = predict_request("half_plus", x=[2.0])
    assert list(predictions.Predict(request, 20).outputs["y"].float_val) == [3.0]
    request.model_spec.version.value = 1
    assert list(predictions.Predict(request, 20).outputs["y"].float_val) == [2.0]
    request.model_spec.version_label = "canary"
    assert list(predictions.Predict(request, 20).outputs["y"].float_val) == [3.0]


def test_classify_and_regress(predictions):
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name, classify.model_spec.signature_name = "half_plus_three", "classify_x_to_y"
    classify.input.example_list.examples.extend([example(x=1.0), example(x=2.0)])
    rows = predictions.Classify(classify, 20).result.classifications
    assert [[(entry.label, entry.score) for entry in row.classes] for row in rows] == [
        [("low", -2.5), ("high", 3.5)],
        [("low", -3.0), ("high", 4.0)],
    ]
    regress = regression_pb2.RegressionRequest()
    regress.model_spec.name, regress.model_spec.signature_name = "half_plus_three", "tensorflow/serving/regress"
    regress.input.example_list_with_context.context.CopyFrom(example(x=4.0))
    regress.input.example_list_with_context.examples.extend([tf.train.Example(), example(x=2.0)])
    # A feature of the example is stronger than the one of the context.
    assert [entry.value for entry in predictions.Regress(regress, 20).result.regressions] == [5.0, 4.0]


def multi_inference(*tasks):
    request = inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.append(example(x=1.0))
    for signature, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "half_plus_three", signature
    return request


REGRESS, CLASSIFY = ("tensorflow/serving/regress", "regress"), ("classify_x_to_y", "classify")


def test_multi_inference_asks_several_signatures_at_once(predictions):
    response = predictions.MultiInference(multi_inference(REGRESS, CLASSIFY), 20)
    regressed, classified = response.results
    assert regressed.regression_result.regressions[0].value == 3.5
    assert [entry.label for entry in classified.classification_result.classifications[0].classes] == ["low", "high"]
    assert regressed.model_spec.version.value == 123


@pytest.mark.parametrize(
    ("tasks", "code"),
    [
        ([REGRESS, REGRESS], grpc.StatusCode.INVALID_ARGUMENT),
        ([("serving_default", "predict")], grpc.StatusCode.UNIMPLEMENTED),
        ([("none", "regress")], grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_multi_inference_refuses(predictions, tasks, code):
    assert refusal(predictions.MultiInference, multi_inference(*tasks))[0] is code


def test_metadata_and_status(channel, predictions):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "half_plus_three"
    found = get_model_metadata_pb2.SignatureDefMap()
    predictions.GetModelMetadata(request, 20).metadata["signature_def"].Unpack(found)
    assert found.signature_def["serving_default"].inputs["x"].dtype == 1
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "half_plus"
    response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, 20)
    assert [(entry.version, entry.state) for entry in response.model_version_status] == [(2, 30), (1, 30)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda r: setattr(r.model_spec, "name", "half"), grpc.StatusCode.NOT_FOUND),
        (lambda r: setattr(r.model_spec, "name", ""), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda r: setattr(r.model_spec, "signature_name", "none"), grpc.StatusCode.FAILED_PRECONDITION),
        (lambda r: r.inputs.clear(), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda r: r.inputs["more"].CopyFrom(tensor([1.0])), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda r: r.inputs["x"].CopyFrom(tensor([1.0], tf.float64)), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda r: r.inputs["x"].CopyFrom(tensor([[1.0]])), grpc.StatusCode.INVALID_ARGUMENT),
    ],
    ids=["no such model", "no model", "no such signature", "no input", "one too many", "another type", "another rank"],
)
def test_predict_refuses(predictions, change, code):
    request = predict_request(x=[1.0])
    change(request)
    assert refusal(predictions.Predict, request)[0] is code


def test_one_value_for_a_shape_of_billions_is_refused(embedded, predictions):
    bomb = tensor([1.0])
    bomb.tensor_shape.dim[0].size = 1 << 33
    assert refusal(predictions.Predict, predict_request(x=bomb))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("sizes", [[-1], [2], [3, 5]], ids=["open", "too few bytes", "too few bytes of a matrix"])
def test_shapes_that_do_not_fit_the_values_are_refused(embedded, predictions, sizes):
    broken = tf.make_tensor_proto(np.array([1.0], np.float32))
    broken.ClearField("float_val")
    broken.tensor_content = np.array([1.0], np.float32).tobytes()
    del broken.tensor_shape.dim[:]
    for size in sizes:
        broken.tensor_shape.dim.add().size = size
    assert refusal(predictions.Predict, predict_request(x=broken))[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_beyond_the_limit_is_refused(embedded, predictions):
    large = predict_request(x=np.zeros(5 << 20, np.float32))
    assert refusal(predictions.Predict, large)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
