"use strict";
// The page is loaded again while something is under way, unless the reader holds it.
(() => {
  const box = document.getElementById("again");
  if (!box) return;
  const key = "srbench-hold";
  const seconds = Number(box.dataset.seconds);
  try {
    box.checked = sessionStorage.getItem(key) !== "yes";
  } catch {
    // no storage: it is loaded again
  }
  box.addEventListener("change", () => {
    try {
      sessionStorage.setItem(key, box.checked ? "no" : "yes");
    } catch {
      // it holds for this page alone
    }
  });
  setInterval(() => {
    if (box.checked && !document.hidden) location.reload();
  }, 1000 * seconds);
})();
