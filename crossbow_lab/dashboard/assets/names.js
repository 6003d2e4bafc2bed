// Names for the handles of sliders, which ipywidgets leaves without one.

/** Name the handles and the number fields of all sliders under an element by their labels. */
function nameSliders(root) {
  for (const slider of root.querySelectorAll(".widget-slider")) {
    const name = slider.querySelector(".widget-label")?.textContent ?? "";
    slider.querySelector(".noUi-handle")?.setAttribute("aria-label", name);
    const number = slider.querySelector(".widget-readout");
    number?.setAttribute("role", "textbox");
    number?.setAttribute("aria-label", `${name}, as a number`);
  }
}

/** Name sliders now and whenever some come later; return a function that ends it. */
function keepNamed(el) {
  let observer = null;
  const begin = () => {
    const root = el.closest(".cb-dashboard");
    if (!root) return false;
    nameSliders(root);
    observer = new MutationObserver(() => nameSliders(root));
    observer.observe(root, { childList: true, subtree: true });
    return true;
  };
  const timer = setInterval(() => begin() && clearInterval(timer), 100); // el is put into the page later
  return () => {
    clearInterval(timer);
    observer?.disconnect();
  };
}
