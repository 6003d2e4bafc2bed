// The button that copies the recipe.

let asked = 0;

/** Put a text on the clipboard, which pages from elsewhere than this machine may not; tell whether it worked. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

function render({ model, el }) {
  const button = document.createElement("button");
  button.className = "jupyter-widgets jupyter-button widget-button cb-copy-recipe";
  button.textContent = "copy recipe";
  button.title = "All that is needed to run this session again, as JSON";
  const told = document.createElement("span");
  told.setAttribute("role", "status");
  told.className = "cb-told";
  const text = document.createElement("textarea");
  Object.assign(text, { readOnly: true, rows: 8, hidden: true, className: "cb-recipe-text" });
  text.setAttribute("aria-label", "recipe of this session, as JSON");
  el.append(button, told, text);
  let mine = 0; // several views of one widget hear every answer

  const answer = async (content) => {
    if (content.recipe === undefined || content.asked !== mine) return;
    Object.assign(text, { value: content.recipe, hidden: false });
    el.classList.add("cb-has-text");
    if (await copy(content.recipe)) {
      told.textContent = "copied";
    } else {
      text.select();
      told.textContent = "selected: copy it with your keyboard";
    }
  };
  button.addEventListener("click", () => {
    mine = `${Date.now()}-${asked++}`;
    told.textContent = "";
    model.send({ type: "recipe", asked: mine });
  });
  model.on("msg:custom", answer);
  const endNames = keepNamed(el);
  return () => {
    endNames();
    model.off("msg:custom", answer);
  };
}

export default { render };
