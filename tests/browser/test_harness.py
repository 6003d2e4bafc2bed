"""The harness sees what it is to see: a widget's callbacks, console errors, and requests to other hosts."""

SLIDER = """
import ipywidgets
slider, seen = ipywidgets.IntSlider(description="learners"), []
slider.observe(lambda change: seen.append(change["new"]), "value")
slider
"""


def test_harness_sees_callbacks_messages_errors_and_other_hosts(open_cells):
    """A key on a slider is a message whose callback runs in the kernel; a request and its error are found."""
    html = "<img src='http://example.invalid/a.png'>"
    notebook = open_cells(SLIDER, f'from IPython.display import HTML, display\ndisplay(HTML("{html}"))')
    notebook.run_all()
    notebook.page.locator(".noUi-handle").wait_for()
    sent, received = notebook.wire.sent_bytes, notebook.wire.received

    notebook.page.locator(".noUi-handle").press("ArrowRight")
    notebook.page.locator(".widget-readout", has_text="1").wait_for()

    assert notebook.ask("seen") == [1]
    assert notebook.wire.sent_bytes > sent
    assert notebook.wire.received > received
    notebook.page.wait_for_selector("img[src*=invalid]", state="attached")
    notebook.page.wait_for_timeout(300)
    assert notebook.wire.strangers == ["example.invalid"]
    assert any("example.invalid" in error for error in notebook.wire.errors)
    notebook.wire.errors.clear()
    notebook.wire.addresses.clear()
