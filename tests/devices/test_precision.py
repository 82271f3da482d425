"""Which precision a recipe means, by the machine and the network."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.devices import precision

BIG, SMALL = 10**9, 10**5


def test_a_processor_without_bfloat16_stays_in_float32():
    policy, why = precision.for_cpu({"avx2", "avx512f"}, BIG)
    assert policy == "float32"
    assert "no bfloat16" in why


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_a_processor_with_bfloat16_takes_it_where_there_is_much_to_compute(flag):
    assert precision.for_cpu({flag}, BIG)[0] == "mixed_bfloat16"
    assert flag in precision.for_cpu({flag}, BIG)[1]
    assert precision.for_cpu({flag}, SMALL)[0] == "float32"


@pytest.mark.parametrize(
    ("capability", "policy"),
    [
        ((6, 1), "float32"),
        ((7, 5), "mixed_float16"),
        ((8, 0), "mixed_bfloat16"),
        ((12, 0), "mixed_bfloat16"),
    ],
)
def test_a_gpu_by_its_compute_capability(capability, policy):
    assert precision.for_gpu(capability)[0] == policy


def test_what_is_named_is_taken_and_nothing_is_float32():
    assert precision.resolve(None, BIG, None) == ("float32", "")
    assert precision.resolve("mixed_bfloat16", SMALL, None) == ("mixed_bfloat16", "")
    assert precision.resolve("auto", SMALL, None) == precision.automatic(SMALL)


def test_a_model_of_ones_own_keeps_its_precision():
    assert precision.resolve(None, BIG, "mixed_bfloat16") == ("mixed_bfloat16", "")
    with pytest.raises(kcnn.InputError, match=r"built in float32 .* received precision='auto'"):
        precision.resolve("auto", BIG, "float32")


@pytest.mark.parametrize("flags", [set(), {"avx512_bf16"}])
def test_auto_in_a_training_is_resolved_recorded_and_said(tmp_path, capsys, monkeypatch, flags):
    monkeypatch.setattr(precision, "_flags", lambda: flags)
    monkeypatch.setattr(precision, "_WORTH", 0)
    recipe = kcnn.Recipe(model="mlp", epochs=1, precision="auto", logs=str(tmp_path))
    pixels = np.arange(60 * 64).reshape(60, 8, 8, 1) % 256
    run = kcnn.train(recipe, data=(pixels.astype("uint8"), np.arange(60) % 2))
    expected, why = precision.for_cpu(flags, BIG)
    assert run.recipe.precision == expected
    assert kcnn.load_run(run.directory).recipe.precision == expected
    assert run.model.layers[2].dtype_policy.name == expected
    assert why in " ".join(capsys.readouterr().out.split())
    assert keras.config.dtype_policy().name == "float32"
