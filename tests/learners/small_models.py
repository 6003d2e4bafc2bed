"""Models as people write them: each has something that an executor could get wrong. All take images (2, 8, 8)."""

from collections.abc import Callable

import torch
from small_training import N_CLASSES
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 6


class Model(nn.Module):
    """Layers given by name, and a forward pass given as a function of (model, input)."""

    def __init__(self, run: Callable[["Model", Tensor], Tensor], **layers: object) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """Run the function."""
        return self.run(self, x)


def conv(**settings: object) -> nn.Conv2d:
    """Return a convolution of 2 to ``HIDDEN`` channels."""
    return nn.Conv2d(2, HIDDEN, 3, **settings)


def after_conv(*layers: nn.Module, n_features: int = HIDDEN * 36) -> nn.Module:
    """Return a convolution (to 6 x 6 maps), some layers, and a linear layer."""
    return nn.Sequential(conv(), *layers, nn.Flatten(), nn.Linear(n_features, N_CLASSES))


def after_linear(*layers: nn.Module) -> nn.Module:
    """Return a linear layer, some layers that keep its width of 8, and a linear layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 8), *layers, nn.Linear(8, N_CLASSES))


def functional_dropout() -> nn.Module:
    """Call dropout as a function, by position and by name, twice in one forward pass."""

    def run(model: Model, x: Tensor) -> Tensor:
        x = functional.dropout(functional.relu(model.first(x.flatten(1))), 0.3, model.training)
        return model.last(functional.dropout(x, p=0.2, training=model.training, inplace=True))

    return Model(run, first=nn.Linear(128, 8), last=nn.Linear(8, N_CLASSES))


def residual() -> nn.Module:
    """Return a shortcut around a convolution, with functions instead of layers."""

    def run(model: Model, x: Tensor) -> Tensor:
        x = functional.relu(model.first(x))
        x = functional.relu(model.second(x) + x)
        return model.last(x.mean((2, 3)))

    second = nn.Conv2d(HIDDEN, HIDDEN, 3, padding=1)
    return Model(run, first=conv(), second=second, last=nn.Linear(HIDDEN, N_CLASSES))


def viewed() -> nn.Module:
    """Flatten in the old way, which asks for the batch size."""

    def run(model: Model, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(model.first(x)), 2)
        return model.last(x.view(x.size(0), -1))

    return Model(run, first=conv(), last=nn.Linear(HIDDEN * 9, N_CLASSES))


def positions() -> nn.Module:
    """Use a tensor made from the input's shape, the same for every learner."""

    def run(model: Model, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return model.last(x * torch.arange(x.shape[1], dtype=x.dtype) / 100)

    return Model(run, last=nn.Linear(128, N_CLASSES))


def functional_layers(*, by_name: bool) -> nn.Module:
    """Use bare parameters and torch's functions."""

    def run(model: Model, x: Tensor) -> Tensor:
        if by_name:
            x = functional.conv2d(input=x, weight=model.kernel, bias=model.shift)
            x = functional.max_pool2d(x, kernel_size=2)
            return functional.linear(input=x.flatten(1), weight=model.matrix)
        x = functional.max_pool2d(functional.conv2d(x, model.kernel, model.shift), 2)
        return functional.linear(x.flatten(1), model.matrix)

    return Model(
        run,
        kernel=nn.Parameter(torch.randn(HIDDEN, 2, 3, 3) / 4),
        shift=nn.Parameter(torch.randn(HIDDEN)),
        matrix=nn.Parameter(torch.randn(N_CLASSES, HIDDEN * 9) / 8),
    )


def tied_weights() -> nn.Module:
    """Give two layers one weight, and use it a third time."""

    def run(model: Model, x: Tensor) -> Tensor:
        x = torch.tanh(model.first(x.flatten(1)))
        x = torch.tanh(model.again(torch.tanh(model.square(x))))
        return model.last(x @ model.square.weight)

    square, again = nn.Linear(8, 8), nn.Linear(8, 8)
    again.weight = square.weight
    return Model(run, first=nn.Linear(128, 8), square=square, again=again, last=nn.Linear(8, N_CLASSES))


def tied_layers() -> nn.Module:
    """Use one layer under two names."""
    layer = nn.Linear(8, 8)
    return after_linear(layer, nn.Tanh(), layer, nn.Tanh())


def frozen(model: nn.Module, *names: str) -> nn.Module:
    """Freeze some parameters of a model."""
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    return model


def unused_parameter() -> nn.Module:
    """Hold a parameter that the forward pass never uses, and one without dimensions."""
    return Model(
        lambda model, x: model.last(x.flatten(1)) * model.scale,
        last=nn.Linear(128, N_CLASSES),
        scale=nn.Parameter(torch.tensor(1.5)),
        unused=nn.Parameter(torch.ones(3)),
    )


def in_place() -> nn.Module:
    """Use operators that write to their argument."""

    def run(model: Model, x: Tensor) -> Tensor:
        x = model.first(x.flatten(1)).add_(1.0).mul_(2.0)
        return model.last(functional.relu(x, inplace=True))

    return Model(run, first=nn.Linear(128, 8), last=nn.Linear(8, N_CLASSES))


def several_results() -> nn.Module:
    """Use operators with more than one result."""

    def run(model: Model, x: Tensor) -> Tensor:
        values, gates = model.first(x.flatten(1)).chunk(2, dim=1)
        largest, _ = torch.max(values * torch.sigmoid(gates), dim=1, keepdim=True)
        return model.last(torch.cat([values, largest], dim=1))

    return Model(run, first=nn.Linear(128, 16), last=nn.Linear(9, N_CLASSES))


def running_mean(*, in_place: bool) -> nn.Module:
    """Update buffers in the forward pass: write to them, or replace them."""

    def run(model: Model, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if in_place:
            with torch.no_grad():
                model.mean.mul_(0.9).add_(0.1 * x.mean())
        else:
            model.mean = 0.9 * model.mean + 0.1 * model.last(x).mean()
        model.count += 1
        return model.last(x - model.mean)

    model = Model(run, last=nn.Linear(128, N_CLASSES))
    model.register_buffer("mean", torch.zeros(()))
    model.register_buffer("count", torch.zeros((), dtype=torch.int64))
    return model


def remembering() -> nn.Module:
    """Keep what the forward pass saw, for its owner to look at."""

    def run(model: Model, x: Tensor) -> Tensor:
        model.seen = model.first(x.flatten(1))
        return model.last(model.seen)

    return Model(run, first=nn.Linear(128, 8), last=nn.Linear(8, N_CLASSES))


def looping() -> nn.Module:
    """Loop over layers under a condition on a shape, which torch.fx can't trace; with dropout and batch norm."""

    def run(model: Model, x: Tensor) -> Tensor:
        x = model.first(x.flatten(1))
        for layer in model.layers:
            if x.shape[0] > 0:
                x = x + functional.dropout(torch.tanh(layer(x)), 0.2, model.training)
        return model.last(model.norm(x))

    layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
    last = nn.Linear(8, N_CLASSES)
    return Model(run, first=nn.Linear(128, 8), layers=layers, norm=nn.BatchNorm1d(8), last=last)


def deciding() -> nn.Module:
    """Decide by the data: only ``loop`` can run it."""

    def run(model: Model, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return model.last(x * 2 if x.sum() > 0 else x)

    return Model(run, last=nn.Linear(128, N_CLASSES))


OWN_MODELS: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: after_linear(nn.Dropout(0.2), nn.ReLU(), nn.Dropout(0.4)),
    "dropout in place": lambda: after_linear(nn.ReLU(inplace=True), nn.Dropout(0.4, inplace=True)),
    "functional dropout": functional_dropout,
    "dropout of channels": lambda: after_conv(nn.Dropout2d(0.4), nn.ReLU()),
    "batch norm 1d": lambda: after_linear(nn.BatchNorm1d(8), nn.ReLU()),
    "batch norm 2d": lambda: after_conv(nn.BatchNorm2d(HIDDEN), nn.ReLU(inplace=True)),
    "batch norm, frozen weight": lambda: frozen(after_conv(nn.BatchNorm2d(HIDDEN)), "1.weight"),
    "batch norm without parameters": lambda: after_conv(nn.BatchNorm2d(HIDDEN, affine=False)),
    "batch norm without statistics": lambda: after_conv(nn.BatchNorm2d(HIDDEN, track_running_stats=False)),
    "group norm": lambda: after_conv(nn.GroupNorm(3, HIDDEN), nn.ReLU()),
    "layer norm": lambda: after_linear(nn.LayerNorm(8), nn.GELU()),
    "residual": residual,
    "view": viewed,
    "positions": positions,
    "functional layers": lambda: functional_layers(by_name=False),
    "functional layers by name": lambda: functional_layers(by_name=True),
    "tied weights": tied_weights,
    "tied layers": tied_layers,
    "frozen weight": lambda: frozen(after_linear(nn.ReLU()), "1.weight"),
    "frozen convolution": lambda: frozen(after_conv(nn.ReLU()), "0.weight", "0.bias"),
    "frozen biases": lambda: frozen(after_conv(nn.ReLU()), "0.bias", "3.bias"),
    "frozen biases beside batch norm": lambda: frozen(after_conv(nn.BatchNorm2d(HIDDEN)), "1.bias", "3.bias"),
    "unused parameter": unused_parameter,
    "groups, stride, dilation, same padding": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, padding="same", dilation=2, groups=2),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, N_CLASSES),
    ),
    "padding modes": lambda: after_conv(nn.Conv2d(HIDDEN, 4, 3, padding=1, padding_mode="circular"), n_features=4 * 36),
    "transposed convolution": lambda: after_conv(nn.ConvTranspose2d(HIDDEN, 2, 3), n_features=128),
    "average pools": lambda: after_conv(
        nn.ReLU(), nn.AvgPool2d(3, stride=1, padding=1), nn.AdaptiveAvgPool2d((2, 3)), n_features=HIDDEN * 6
    ),
    "linear layer on sequences": lambda: nn.Sequential(nn.Linear(8, 3), nn.Flatten(), nn.Linear(48, N_CLASSES)),
    "in place": in_place,
    "several results": several_results,
    "running mean in place": lambda: running_mean(in_place=True),
    "running mean replaced": lambda: running_mean(in_place=False),
    "remembering": remembering,
    "looping": looping,
}
