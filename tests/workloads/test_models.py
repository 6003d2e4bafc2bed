"""The models by name."""

import copy

import pytest
import torch
from torch import nn

from crossbow_lab.errors import ConfigurationError, ModelError
from crossbow_lab.workloads.models import MODEL_NAMES, build_model

LARGE = {"resnet-50": (1, 33, 33), "vgg-16": (1, 32, 32)}
SMALL_SHAPES = {"lenet": (1, 16, 16), "lenet-caffe": (2, 16, 20), **LARGE}
ZOO = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in MODEL_NAMES]


def small(name: str, *, seed: int = 0) -> tuple[nn.Module, tuple[int, ...]]:
    """Build a model for the smallest inputs that every layer can work on, in float64, with its dropout off."""
    shape = SMALL_SHAPES.get(name, (1, 8, 8))
    model = build_model(name, input_shape=shape, n_classes=4, seed=seed).double()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    return model, shape


def random_batch(*shape: int) -> torch.Tensor:
    """Give normal numbers, always the same."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "input_shape", "n_parameters"),
    [
        ("logreg", (64,), 650),
        ("mlp", (1, 8, 8), 26_122),
        ("digits-cnn", (1, 8, 8), 6_090),
        ("digits-cnn", (3, 32, 32), 25_578),
        ("lenet", (1, 28, 28), 1_111_946),
        ("lenet-caffe", (1, 28, 28), 431_080),
        ("resnet-8", (3, 32, 32), 79_962),
        ("resnet-20", (3, 32, 32), 274_394),
        ("resnet-32", (3, 32, 32), 468_826),
        ("resnet-8", (1, 8, 8), 77_754),
        ("resnet-50", (3, 224, 224), 23_528_522),
        ("vgg-16", (3, 32, 32), 14_991_946),
    ],
)
def test_build_model_has_the_published_number_of_parameters(name, input_shape, n_parameters):
    """Layers, biases and shortcuts are those of the paper, counted."""
    model = build_model(name, input_shape=input_shape, n_classes=10, seed=0)

    assert n_parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "n_classes", "n_parameters"), [("vgg-16", 100, 15_038_116), ("resnet-50", 1000, 25_557_032)]
)
def test_build_model_has_as_many_parameters_as_the_paper_says(name, n_classes, n_parameters):
    """Table 1's model sizes: 57.37 MB on CIFAR-100, 97.49 MB on ImageNet, in units of 2**20 bytes."""
    shape = {"vgg-16": (3, 32, 32), "resnet-50": (3, 224, 224)}[name]
    model = build_model(name, input_shape=shape, n_classes=n_classes, seed=0)

    assert n_parameters == sum(p.numel() for p in model.parameters())
    assert {"vgg-16": 57.37, "resnet-50": 97.49}[name] == round(4 * n_parameters / 2**20, 2)


@pytest.mark.parametrize("name", ZOO)
def test_build_model_maps_a_batch_to_logits(name):
    """A batch (b, *shape) becomes (b, n_classes), for a batch of one too, which VGG-16 can only evaluate."""
    model, shape = small(name)

    assert model(random_batch(3, *shape)).shape == (3, 4)
    model.train(name != "vgg-16")
    assert model(random_batch(1, *shape)).shape == (1, 4)


@pytest.mark.parametrize("name", ZOO)
def test_build_model_can_be_traced(name):
    """torch.fx records the model, and the record computes the same."""
    model, shape = small(name)
    batch = random_batch(3, *shape)
    traced = torch.fx.symbolic_trace(model)

    assert torch.equal(copy.deepcopy(model)(batch), traced(batch))


@pytest.mark.parametrize("name", ZOO)
def test_build_model_runs_as_k_stacked_learners_in_train_mode(name):
    """Vmap over stacked weights and buffers gives each learner's logits, gradients and batch statistics."""
    models = [small(name, seed=seed)[0] for seed in range(2)]
    shape = small(name)[1]
    batch = random_batch(2, 3, *shape)
    weights, buffers = torch.func.stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")

    def loss(weights_of_one, buffers_of_one, inputs):
        logits = torch.func.functional_call(skeleton, (weights_of_one, buffers_of_one), (inputs,))
        return logits.square().sum(), logits

    gradients, logits = torch.func.vmap(torch.func.grad(loss, has_aux=True))(weights, buffers, batch)

    for learner, model in enumerate(models):
        expected = model(batch[learner])
        expected.square().sum().backward()
        torch.testing.assert_close(logits[learner], expected.detach(), rtol=1e-10, atol=1e-12)
        for key, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[key][learner], parameter.grad, rtol=1e-8, atol=1e-10)
        for key, buffer in model.named_buffers():
            torch.testing.assert_close(buffers[key][learner], buffer, rtol=1e-10, atol=1e-12)


def test_build_model_depends_on_the_seed_alone():
    """Equal seeds give equal weights whatever the global generator holds; other seeds give others."""
    first, _ = small("resnet-8", seed=3)
    torch.rand(5)
    again, _ = small("resnet-8", seed=3)
    other, _ = small("resnet-8", seed=4)

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_build_model_leaves_the_global_generator_alone():
    """Building draws nothing from torch's global generator and doesn't reseed it."""
    before = torch.random.get_rng_state()
    small("mlp", seed=3)

    assert torch.equal(before, torch.random.get_rng_state())


def test_build_model_ignores_the_default_device():
    """Weights are drawn on the CPU even where tensors are made elsewhere by default."""
    with torch.device("meta"):
        model, _ = small("mlp")

    assert {p.device.type for p in model.parameters()} == {"cpu"}


def test_build_model_names_the_nearest_model():
    """A misspelt name is answered with what was probably meant."""
    with pytest.raises(ConfigurationError, match=r"unknown model 'resnet32': did you mean 'resnet-32'\? Known: "):
        build_model("resnet32", input_shape=(3, 32, 32), n_classes=10, seed=0)


@pytest.mark.parametrize(
    ("name", "input_shape", "needed"),
    [
        (
            "lenet",
            (1, 8, 8),
            r"lenet needs images \(C, H, W\) with H and W of at least 16.*\(1, 8, 8\).*'mlp'",
        ),
        ("lenet-caffe", (64,), r"lenet-caffe needs images .*samples of shape \(64,\)"),
        ("digits-cnn", (1, 10, 8), r"H and W multiples of 4"),
        ("resnet-20", (3, 4, 32), r"resnet-20 needs .* at least 8"),
        ("vgg-16", (3, 28, 32), r"vgg-16 needs .* at least 32"),
        ("resnet-50", (3, 32, 31), r"resnet-50 needs .* at least 32"),
        ("mlp", (), r"input_shape must be the shape of one sample"),
        ("mlp", (3, 0), r"input_shape must be .* at least 1"),
        ("mlp", (3, True), r"input_shape must be"),
    ],
)
def test_build_model_says_which_shape_it_needs(name, input_shape, needed):
    """Inputs that a model can't take are refused before any layer is built."""
    with pytest.raises(ModelError, match=needed):
        build_model(name, input_shape=input_shape, n_classes=10, seed=0)


@pytest.mark.parametrize(("n_classes", "seed"), [(0, 0), (2.0, 0), (True, 0), (2, -1), (2, 2**63), (2, 1.5), (2, None)])
def test_build_model_refuses_what_is_no_count_or_seed(n_classes, seed):
    """Numbers outside their range, or of another type, are named with the range."""
    with pytest.raises(ConfigurationError, match="must be a whole number"):
        build_model("mlp", input_shape=(4,), n_classes=n_classes, seed=seed)
