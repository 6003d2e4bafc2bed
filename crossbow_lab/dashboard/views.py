"""Which plots a dashboard has, and what is on them."""

from crossbow_lab.dashboard.plots import Line, Plot

EFFICIENCY = "Hardware against statistical efficiency"
_GREY = "#888888"


def plots(max_learners: int, *, has_accuracy: bool) -> tuple[Plot, ...]:
    """Return the plots of a session's dashboard, over the tables of `crossbow_lab.dashboard.feed.tables`.

    Parameters
    ----------
    max_learners : learners that have lines of their own.
    has_accuracy : whether there is a test accuracy; without one there is no target either.
    """
    accuracy = Plot(
        "Test accuracy of z",
        "test accuracy (%)",
        (Line("test_accuracy", "z", "test", mode="lines+markers"),),
        target_line=True,
        y_percent=True,
    )
    efficiency = Plot(
        EFFICIENCY, "epochs to the target", kind="points", x_title="throughput (samples/s)", from_zero=True
    )
    throughput = Plot(
        "Throughput",
        "samples/s",
        (
            Line("samples_per_s_now", "now", "train", colour=_GREY, faint=True),
            Line("samples_per_s", "smoothed over 1 s", "train"),
        ),
        from_zero=True,
    )
    loss = Plot(
        "Loss",
        "loss",
        (
            Line("train_loss", "training, mean of the learners", "train"),
            Line("test_loss", "test, of z", "test", mode="lines+markers"),
        ),
    )
    learners = range(1, max_learners + 1)
    losses = tuple(Line(f"loss_{number}", str(number), "learners") for number in learners)
    distances = tuple(Line(f"distance_{number}", str(number), "learners") for number in learners)
    mean = Line("divergence", "mean", "train", colour=_GREY, dash="dash")
    return (
        throughput,
        *((accuracy,) if has_accuracy else ()),
        loss,
        Plot("Loss of each learner", "loss", losses, kind="per_learner"),
        Plot("Divergence", "distance to z, ‖w_j − z‖", (*distances, mean), kind="per_learner", from_zero=True),
        *((efficiency,) if has_accuracy else ()),
    )
