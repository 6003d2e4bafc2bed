"""Three models and Algorithm 1 in plain JAX, ``jit(vmap(grad))``: a peer to measure against, if it is there.

JAX is no dependency: nothing imports it unless `why_not` finds it. A whole iteration is one compiled function
with donated buffers; the host draws the order of samples and waits only at the end of a burst.
"""

import importlib.util
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from crossbow_lab.bench.baselines import Problem, Training, sample_order

Forward = Callable[[list[Any], Any], Any]
State = tuple[list[Any], list[Any], list[Any]]
"""Weights (k, ...), centre and central velocity (...), each a list over the parameters."""

MODELS = ("mlp", "digits-cnn", "lenet")


def why_not(model: str) -> str | None:
    """Say why the JAX baseline can't run, or None when it can.

    Parameters
    ----------
    model : str
        The model's name.
    """
    if model not in MODELS:
        return f"the JAX baseline has no {model!r}, only {', '.join(MODELS)}"
    missing = [name for name in ("jax", "jaxlib") if importlib.util.find_spec(name) is None]
    return f"{' and '.join(missing)} not installed" if missing else None


def jax_sma(problem: Problem, model: str) -> Training:
    """Train k stacked models with SMA, one compiled function an iteration.

    Parameters
    ----------
    problem : Problem
        What to train; the weights of ``problem.model`` are w_0.
    model : str
        One of `MODELS`: which forward pass those weights belong to.

    Returns
    -------
    Training
        Its weights are JAX arrays on JAX's default device.
    """
    import jax
    import jax.numpy as jnp

    k = problem.n_learners
    iteration = jax.jit(_iteration(problem, _FORWARDS[model]), donate_argnums=0)
    start = [p.detach().numpy() for p in problem.model.parameters()]
    # Every buffer is its own: a donated one must not be given twice.
    state = (
        [jnp.array(np.stack([p] * k)) for p in start],
        [jnp.array(p) for p in start],
        [jnp.zeros(p.shape, p.dtype) for p in start],
    )
    inputs, targets = jnp.array(problem.inputs.numpy()), jnp.array(problem.targets.numpy().astype(np.int32))
    order = sample_order(len(problem.inputs), problem.aggregate_batch, problem.seed)

    def run(n_iterations: int) -> None:
        nonlocal state
        for _ in range(n_iterations):
            batch_kb = next(order).numpy().astype(np.int32).reshape(k, problem.batch_size)
            state = iteration(state, inputs, targets, batch_kb)
        jax.block_until_ready(state)

    def copies() -> tuple[np.ndarray, np.ndarray]:
        weights, centre, _ = state
        return np.stack([_flat([w[j] for w in weights]) for j in range(k)]), _flat(centre)

    return Training(run, copies)


def _iteration(problem: Problem, forward: Forward) -> Callable[[State, Any, Any, Any], State]:
    """Return one iteration of Algorithm 1 as a pure function of (state, inputs, targets, samples (k, b))."""
    import jax
    import jax.numpy as jnp

    def loss(weights: list[Any], inputs: Any, targets: Any) -> Any:
        log_probabilities = jax.nn.log_softmax(forward(weights, inputs))
        return -jnp.take_along_axis(log_probabilities, targets[:, None], axis=1).mean()

    def iteration(state: State, inputs: Any, targets: Any, batch_kb: Any) -> State:
        weights, centre, velocity = state
        gradients = jax.vmap(jax.grad(loss))(weights, inputs[batch_kb], targets[batch_kb])
        corrections = [problem.alpha * (w - z) for w, z in zip(weights, centre, strict=True)]
        weights = [w - problem.learning_rate * g - c for w, g, c in zip(weights, gradients, corrections, strict=True)]
        velocity = [problem.momentum * v + c.sum(0) for v, c in zip(velocity, corrections, strict=True)]
        return weights, [z + v for z, v in zip(centre, velocity, strict=True)], velocity

    return iteration


def _flat(arrays: Sequence[Any]) -> np.ndarray:
    """Return copies of arrays, end to end, as one NumPy vector."""
    return np.concatenate([np.asarray(array).ravel() for array in arrays])


def _linear(weight: Any, bias: Any, x: Any) -> Any:
    """Return x Wᵀ + bias, with torch's layout of W."""
    return x @ weight.T + bias


def _convolution(weight: Any, bias: Any, x: Any, *, padding: int) -> Any:
    """Return a convolution in torch's layouts (NCHW, OIHW)."""
    from jax import lax

    y = lax.conv_general_dilated(
        x, weight, (1, 1), [(padding, padding)] * 2, dimension_numbers=("NCHW", "OIHW", "NCHW")
    )
    return y + bias[None, :, None, None]


def _pool(x: Any) -> Any:
    """Return the maximum over 2x2 windows, stride 2."""
    from jax import lax

    return lax.reduce_window(x, -math.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def _mlp(weights: list[Any], x: Any) -> Any:
    """Return the logits of three linear layers with ReLU between them."""
    from jax.nn import relu

    w1, b1, w2, b2, w3, b3 = weights
    x = relu(_linear(w1, b1, x.reshape(x.shape[0], -1)))
    return _linear(w3, b3, relu(_linear(w2, b2, x)))


def _digits_cnn(weights: list[Any], x: Any) -> Any:
    """Return the logits of two padded convolutions, each pooled, and a linear layer."""
    from jax.nn import relu

    w1, b1, w2, b2, w3, b3 = weights
    x = _pool(relu(_convolution(w1, b1, x, padding=1)))
    x = _pool(relu(_convolution(w2, b2, x, padding=1)))
    return _linear(w3, b3, x.reshape(x.shape[0], -1))


def _lenet(weights: list[Any], x: Any) -> Any:
    """Return the logits of the paper's LeNet."""
    from jax.nn import relu

    w1, b1, w2, b2, w3, b3, w4, b4 = weights
    x = _pool(relu(_convolution(w1, b1, x, padding=0)))
    x = _pool(relu(_convolution(w2, b2, x, padding=0)))
    return _linear(w4, b4, relu(_linear(w3, b3, x.reshape(x.shape[0], -1))))


_FORWARDS: dict[str, Forward] = {
    "mlp": _mlp,
    "digits-cnn": _digits_cnn,
    "lenet": _lenet,
}
