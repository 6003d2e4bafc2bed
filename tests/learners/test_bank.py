"""The bank: learners as rows of contiguous arrays, and modules that see views of them."""

import copy

import pytest
import torch
from small_models import OWN_MODELS
from small_training import images, prepared
from torch import nn

from crossbow_lab.averaging import easgd_step, local_step, restart, sma_step, ssgd_step
from crossbow_lab.errors import ModelError
from crossbow_lab.learners import admit, bind, make_bank


def small_model(dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a model of 43 parameters, one of them without dimensions, and with buffers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 4), nn.BatchNorm1d(4), nn.PReLU())
    model.register_parameter("scale", nn.Parameter(torch.tensor(2.0)))
    model.register_parameter("matrix", nn.Parameter(torch.rand(1, 1)))
    return model.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_bank_starts_every_row_at_a_multiple_of_256_bytes(dtype):
    """From the first row, for any size of element."""
    model = small_model(dtype)
    bank = make_bank(model, max_learners=5)
    row_bytes = {2: 256, 4: 256, 8: 512}[dtype.itemsize]

    assert bank.n_parameters == sum(parameter.numel() for parameter in model.parameters()) == 43
    for rows in (bank.weights, bank.gradients, bank.local_velocity):
        assert rows.shape == (5, row_bytes // dtype.itemsize)
        assert rows.is_contiguous()
        assert all((rows[j].data_ptr() - rows.data_ptr()) % 256 == 0 for j in range(5))
    assert bank.centre.shape == bank.centre_velocity.shape == (row_bytes // dtype.itemsize,)


def test_bank_holds_the_models_weights_by_name_and_shape():
    """Views of the centre are the parameters, in their order, without gaps."""
    model = small_model()
    bank = make_bank(model, max_learners=2)
    views = bank.views(bank.centre)

    assert list(views) == [name for name, _ in model.named_parameters()]
    assert all(torch.equal(views[name], parameter) for name, parameter in model.named_parameters())
    assert [slot.start for slot in bank.slots] == [sum(s.size for s in bank.slots[:i]) for i in range(len(bank.slots))]
    assert not bank.centre_velocity.any()
    assert bank.max_learners == 2


def test_bank_views_alias_the_rows():
    """Writing to a view writes to the row, and the other way round."""
    bank = make_bank(small_model(), max_learners=3)
    views = bank.views(bank.weights)
    bank.weights.zero_()

    views["0.weight"][1, 2, 3] = 5.0
    views["scale"][2] = 6.0
    start = next(slot.start for slot in bank.slots if slot.name == "0.weight")
    bank.weights[0, start] = 7.0

    assert bank.weights[1, start + 2 * 7 + 3] == 5.0
    assert float(bank.weights[2].sum()) == 6.0
    assert views["0.weight"][0, 0, 0] == 7.0
    assert views["0.weight"].shape == (3, 4, 7)
    assert views["scale"].shape == (3,)


def test_admit_starts_learners_at_z_with_the_models_buffers():
    """Only those rows change."""
    model = small_model()
    bank = make_bank(model, max_learners=4)
    for rows in (bank.weights, bank.gradients, bank.local_velocity):
        rows.fill_(9.0)
    bank.centre.add_(1.0)
    model[1].running_mean.fill_(3.0)

    admit(bank, 1, 3, model, local_momentum=True)

    assert torch.equal(bank.weights[1:3], bank.centre.expand(2, -1))
    assert not bank.gradients[1:3, bank.n_parameters :].any()
    assert not bank.local_velocity[1:3].any()
    assert all((rows[[0, 3]] == 9.0).all() for rows in (bank.weights, bank.gradients, bank.local_velocity))
    assert torch.equal(bank.buffers["1.running_mean"], torch.tensor([0.0, 3.0, 3.0, 0.0])[:, None].expand(4, 4))


@pytest.mark.parametrize("executor", ["loop", "fused"])
def test_every_gradient_is_written_before_it_is_read(executor):
    """What memory held before a learner joined never reaches an update, an unused parameter's place included."""
    torch.manual_seed(0)
    learners = prepared(OWN_MODELS["unused parameter"](), images(2, 8, 8), executor)
    bank = learners.bank
    bank.gradients.fill_(float("nan"))
    admit(bank, 0, 2, learners.work.model, local_momentum=False)

    learners.step(*learners.batches.take(0, 6), 0)

    assert bank.gradients[:2].isfinite().all()


@pytest.mark.parametrize("executor", ["loop", "fused"])
def test_padding_stays_zero(executor):
    """Executors and every update rule leave it so, whatever their chunks."""
    torch.manual_seed(0)
    learners = prepared(OWN_MODELS["batch norm 2d"](), images(2, 8, 8), executor)
    bank, n = learners.bank, learners.bank.n_parameters
    assert bank.weights.shape[1] > n
    admit(bank, 0, 2, learners.work.model, local_momentum=True)
    settings = {"learning_rate": 0.1, "weight_decay": 0.01}
    local = {"local_velocity_kn": bank.local_velocity, "local_momentum": 0.5, **settings}

    for iteration in range(3):
        learners.gradients(iteration)
        sma_step(bank.weights, bank.gradients, bank.centre, bank.centre_velocity, alpha=0.3, momentum=0.9, **local)
        local_step(bank.weights, bank.gradients, **local)
        easgd_step(bank.weights, bank.gradients, bank.centre, alpha=0.3, **local)
        ssgd_step(bank.weights[:1], bank.gradients[:1], bank.centre, bank.centre_velocity, momentum=0.9, **settings)
        restart(bank.weights, bank.centre, bank.centre_velocity, bank.local_velocity)

    for rows in (bank.weights, bank.gradients, bank.local_velocity, bank.centre, bank.centre_velocity):
        assert not rows[..., n:].any()


def test_bind_makes_a_module_use_views():
    """Its parameters and buffers are the bank's memory; it computes with them and writes to them."""
    model = small_model()
    bank = make_bank(model, max_learners=2)
    admit(bank, 0, 2, model, local_momentum=False)
    module = bind(
        copy.deepcopy(model),
        {name: view[1] for name, view in bank.views(bank.weights).items()},
        {name: rows[1] for name, rows in bank.buffers.items()},
    )
    bank.weights[1] *= 2

    module(torch.randn(3, 7))

    assert torch.equal(module[0].weight, 2 * model[0].weight)
    assert module[0].weight.requires_grad
    assert bank.buffers["1.num_batches_tracked"].tolist() == [0, 1]


def test_bind_keeps_tied_parameters_tied_and_frozen_ones_its_own():
    """Every place that held a parameter holds its view."""
    torch.manual_seed(0)
    model = OWN_MODELS["tied weights"]()
    model.last.bias.requires_grad_(False)
    bank = make_bank(model, max_learners=1)
    module = bind(copy.deepcopy(model), bank.views(bank.centre), {})

    names = [slot.name for slot in bank.slots]
    assert names == ["first.weight", "first.bias", "square.weight", "square.bias", "again.bias", "last.weight"]
    assert module.again.weight is module.square.weight
    assert module.square.weight.data_ptr() == bank.views(bank.centre)["square.weight"].data_ptr()
    assert module.last.bias.data_ptr() not in (bank.centre.data_ptr(), model.last.bias.data_ptr())


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Linear(2, 2).requires_grad_(False)])
def test_make_bank_refuses_a_model_with_nothing_to_train(model):
    """No parameters, or all of them frozen."""
    with pytest.raises(ModelError, match=r"(ReLU|Linear) has no parameter that requires a gradient; .* Give a model"):
        make_bank(model, max_learners=1)


def test_make_bank_refuses_mixed_dtypes():
    """Rows have one type."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())

    with pytest.raises(ModelError, match=r"torch.float32 on cpu, torch.float64 on cpu; all must be of one real dtype"):
        make_bank(model, max_learners=1)


def test_make_bank_refuses_complex_parameters():
    """Averaging is defined for real ones."""
    with pytest.raises(ModelError, match=r"are torch.complex64 on cpu; all must be of one real dtype"):
        make_bank(nn.Linear(2, 2, dtype=torch.complex64), max_learners=1)
