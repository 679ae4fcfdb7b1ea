for (const box of document.querySelectorAll(".explorer:not(.ready)")) {
  box.classList.add("ready");
  const questions = [...box.querySelectorAll(".question")];
  const panel = box.querySelector(".choose");
  const pick = panel.querySelector("select");
  const slide = panel.querySelector("input");
  const said = panel.querySelector("output");
  questions.forEach((each) => pick.add(new Option(each.dataset.label)));
  const show = () => {
    const steps = [...questions[pick.selectedIndex].querySelectorAll(".step")];
    slide.max = steps.length - 1;
    questions.forEach((each, index) => { each.hidden = index !== pick.selectedIndex; });
    steps.forEach((each, index) => { each.hidden = index !== Number(slide.value); });
    said.textContent = steps[slide.value].dataset.resolution;
    slide.setAttribute("aria-valuetext", said.textContent);
  };
  pick.addEventListener("change", show);
  slide.addEventListener("input", show);
  panel.hidden = false;
  show();
}
