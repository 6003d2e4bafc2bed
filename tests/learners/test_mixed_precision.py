"""Passes in bfloat16, weights and gradients in float32."""

import pytest
import torch
from small_training import CPU, images

from crossbow_lab.averaging import SMA
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.learners import Batches, Work, admit, make_bank, make_step
from crossbow_lab.session import Recipe, Session
from crossbow_lab.workloads import build_model

K, B = 3, 4


def gradients(executor: str, *, amp: bool, name: str = "digits-cnn") -> tuple[torch.Tensor, torch.Tensor]:
    """Return losses and gradients of one iteration of a model of the zoo."""
    data = images(1, 8, 8)
    model = build_model(name, input_shape=(1, 8, 8), n_classes=4, seed=0).train()
    bank = make_bank(model, max_learners=K)
    admit(bank, 0, K, model, local_momentum=False)
    batches = Batches(data, 0, augment=False, device=CPU, dtype=torch.float32)
    work = Work(model, bank, "cross_entropy", 0, has_dropout=False, amp=amp)
    inputs, targets = batches.take(0, K * B)
    losses = make_step(work, executor, K, B, inputs, targets)(inputs, targets, 0)
    return losses.clone(), bank.gradients[:, : bank.n_parameters].clone()


@pytest.mark.parametrize("name", ["digits-cnn", "mlp", "resnet-8"])
def test_executors_agree_to_the_precision_of_bfloat16(name: str) -> None:
    """Fused is as near to loop as bfloat16 is to float32, and both give float32 gradients."""
    exact = gradients("loop", amp=False, name=name)
    found = {executor: gradients(executor, amp=True, name=name) for executor in ("loop", "fused")}
    for losses, rows in found.values():
        assert losses.dtype == rows.dtype == torch.float32
        torch.testing.assert_close(losses, exact[0], rtol=0.03, atol=0.03)
        error = (rows - exact[1]).norm() / exact[1].norm()
        assert 1e-5 < error < 0.2  # something must differ; batch norm over few samples makes it the largest


def test_a_session_trains_with_mixed_precision() -> None:
    """It learns, its recipe says so, and a replay gives the same bits."""
    session = Session("mlp", "digits", SMA(), learners=2, batch_size=8, executor="fused", amp=True, threads=1)
    session.run(epochs=3)
    assert session.recipe.amp
    assert session.history["test_accuracy"].iloc[-1] > 0.8
    assert {p.dtype for p in session.central_model().parameters()} == {torch.float32}
    again = Session(Recipe.from_json(session.recipe.to_json()))
    again.run()
    assert again.fingerprint() == session.fingerprint()


def test_double_precision_can_not_be_mixed() -> None:
    """Autocast would leave it as it is."""
    with pytest.raises(ConfigurationError, match="True needs float32"):
        Recipe("mlp", "digits", dtype="float64", amp=True)
