"""The harness sees what it is to see: a widget's callbacks, console errors, and requests to other hosts."""

SLIDER = """
import ipywidgets
slider, seen = ipywidgets.IntSlider(description="learners"), []
slider.observe(lambda change: seen.append(change["new"]), "value")
slider
"""


def test_harness_counts_what_goes_over_the_wire_and_executes_in_the_kernel(open_cells):
    """A key pressed on a slider is a message to the kernel, whose callback sees the new value."""
    notebook = open_cells(SLIDER)
    notebook.run_all()
    sent, received = notebook.wire.sent_bytes, notebook.wire.received

    notebook.page.locator(".noUi-handle").press("ArrowRight")
    notebook.page.locator(".widget-readout", has_text="1").wait_for()

    assert notebook.ask("seen") == [1]
    assert notebook.wire.sent_bytes > sent
    assert notebook.wire.received > received


def test_harness_sees_console_errors_and_other_hosts(open_cells):
    """An error and a request that a notebook's own HTML makes are found."""
    html = "<img src='http://example.invalid/a.png' onerror='console.error(42)'>"
    notebook = open_cells(f'from IPython.display import HTML, display\ndisplay(HTML("{html}"))')
    notebook.run_all()
    notebook.page.wait_for_selector("img[src*=invalid]", state="attached")
    notebook.page.wait_for_timeout(500)

    assert notebook.wire.strangers == ["example.invalid"]
    assert any("example.invalid" in error for error in notebook.wire.errors)
    notebook.wire.errors.clear()
    notebook.wire.addresses.clear()
